-- What a signature needs beside the role, at a path and below it: core/role.h, struct requirement.

CREATE TABLE requirement (
  site VARBINARY(64) NOT NULL,
  path_hash BINARY(32) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  reviews TINYINT UNSIGNED NOT NULL,
  not_alone BOOLEAN NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,              -- the record that set it
  PRIMARY KEY (site, path_hash)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
