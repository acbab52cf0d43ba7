-- What an admin asks for with an act on files, at a path and below it: core/field.h, struct field_def.

CREATE TABLE field (
  site VARBINARY(64) NOT NULL,
  path_hash BINARY(32) NOT NULL,
  name VARBINARY(64) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  label VARBINARY(200) NOT NULL,
  type VARBINARY(16) NOT NULL,               -- 'text', 'choice', 'checkbox', 'date'
  choices BLOB NOT NULL,                     -- a line each
  acts TINYINT UNSIGNED NOT NULL,            -- 1 sign, 2 review, 4 revoke
  required BOOLEAN NOT NULL,
  place INT UNSIGNED NOT NULL,
  version BIGINT UNSIGNED NOT NULL,          -- the record that set it, of this node
  node VARBINARY(64) NOT NULL,
  PRIMARY KEY (site, path_hash, name)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
