-- Holds: syncs of a site ("/"), or of a path, stop until a time.
CREATE TABLE hold (
  site VARBINARY(64) NOT NULL,
  path_hash BINARY(32) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  actor VARBINARY(255) NOT NULL,             -- whose hold it is
  at BIGINT NOT NULL,
  until BIGINT NOT NULL,
  note TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (site, path_hash)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

-- The list of files that may go, which an admin confirmed; zeroes: none.
ALTER TABLE schedule ADD COLUMN removal BINARY(32) NOT NULL DEFAULT '';
