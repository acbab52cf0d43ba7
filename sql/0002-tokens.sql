-- API tokens: who has the text of one acts as its owner, within a role, a path and a time. The text itself is kept nowhere.

CREATE TABLE token (
  id CHAR(12) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,  -- its name in lists and records
  hash BINARY(32) NOT NULL,                  -- SHA-256 of the text
  principal VARBINARY(255) NOT NULL,         -- its owner
  label VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  role TINYINT UNSIGNED NOT NULL,            -- enum role: no more than this
  site VARBINARY(64) NOT NULL,               -- only there; '' for every site
  path VARBINARY(4096) NOT NULL,             -- only there and below
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT NOT NULL,                   -- 0: never
  used_from VARBINARY(64) NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,              -- of the installation's log
  UNIQUE KEY by_hash (hash),
  KEY by_principal (principal, created_at),
  KEY by_expiry (expires_at)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
