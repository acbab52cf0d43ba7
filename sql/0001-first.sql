-- The first schema. Site (and node) are part of every key. Paths are VARBINARY and keyed by SHA-256 of the path.
-- Times are microseconds since 1970 UTC. A "-- grant" line after a CREATE TABLE says what the program's account may do
-- with that table; a test compares. A statement ends with a semicolon at the end of a line.

CREATE TABLE site (
  site VARBINARY(64) NOT NULL PRIMARY KEY,   -- 'installation' holds the acts that belong to no site
  writer CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- the node that may write it
  rules_version BIGINT UNSIGNED NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE

CREATE TABLE log_head (
  site VARBINARY(64) NOT NULL,
  node CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  record_sha256 BINARY(32) NOT NULL,
  commit_id BINARY(20) NOT NULL,
  PRIMARY KEY (site, node)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE

CREATE TABLE record (
  site VARBINARY(64) NOT NULL,
  node CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  op BINARY(16) NOT NULL,
  act VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  at BIGINT NOT NULL,
  actor VARBINARY(255) NOT NULL,             -- 'own:alice'
  note TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  files_count BIGINT UNSIGNED NOT NULL,
  sha256 BINARY(32) NOT NULL,
  commit_id BINARY(20) NOT NULL,
  body MEDIUMBLOB NOT NULL,                  -- the stored bytes of `record`
  PRIMARY KEY (site, node, seq),
  UNIQUE KEY op (site, node, op),
  -- Lists are newest first by seq; each index holds what its list is filtered by.
  KEY by_actor (site, node, actor, seq, at, act),
  KEY by_act (site, node, act, seq, at),
  KEY by_time (site, node, at, seq)
) ENGINE=InnoDB;
-- grant SELECT, INSERT

CREATE TABLE record_file (
  site VARBINARY(64) NOT NULL,
  node CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  ord INT UNSIGNED NOT NULL,                 -- place in the record's list, from 0, in path order
  path_hash BINARY(32) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  md5 BINARY(16) NOT NULL,
  sha256 BINARY(32) NOT NULL,
  size BIGINT UNSIGNED NOT NULL,
  exec BOOLEAN NOT NULL,
  mtime BIGINT NOT NULL,
  blob_id BINARY(20) NOT NULL,
  replaces BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (site, path_hash, node, seq),
  UNIQUE KEY by_record (site, node, seq, ord)
) ENGINE=InnoDB;
-- grant SELECT, INSERT

-- For each act and each directory at or above one of its files: how many. The history of a directory asks here.
CREATE TABLE record_dir (
  site VARBINARY(64) NOT NULL,
  dir_hash BINARY(32) NOT NULL,
  node CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  files BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (site, dir_hash, node, seq)
) ENGINE=InnoDB;
-- grant SELECT, INSERT

-- The approved side of each path as it stands; derived from the records.
CREATE TABLE file_state (
  site VARBINARY(64) NOT NULL,
  path_hash BINARY(32) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  approval TINYINT UNSIGNED NOT NULL,        -- enum approval
  md5 BINARY(16) NOT NULL,
  sha256 BINARY(32) NOT NULL,
  size BIGINT UNSIGNED NOT NULL,
  exec BOOLEAN NOT NULL,
  blob_id BINARY(20) NOT NULL,
  node CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,              -- the record that put or took it; 0 with only a review
  at BIGINT NOT NULL,
  actor VARBINARY(255) NOT NULL,
  review_seq BIGINT UNSIGNED NOT NULL,       -- newest review; 0: none
  reviewed BINARY(32) NOT NULL,              -- the version it was of
  PRIMARY KEY (site, path_hash)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

CREATE TABLE rule (
  site VARBINARY(64) NOT NULL,
  principal VARBINARY(255) NOT NULL,
  path_hash BINARY(32) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  role TINYINT UNSIGNED NOT NULL,            -- enum role
  seq BIGINT UNSIGNED NOT NULL,              -- the record that set it
  PRIMARY KEY (site, principal, path_hash)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

CREATE TABLE preapproval (
  site VARBINARY(64) NOT NULL,
  path_hash BINARY(32) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  actor VARBINARY(255) NOT NULL,
  at BIGINT NOT NULL,
  note TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (site, path_hash)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

-- An act's id: the same request again gets the same answer, another request with that id is a conflict. Kept for ever,
-- like the record that it leads to.
CREATE TABLE act_id (
  site VARBINARY(64) NOT NULL,
  actor VARBINARY(255) NOT NULL,
  op BINARY(16) NOT NULL,
  request_sha256 BINARY(32) NOT NULL,
  node CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  at BIGINT NOT NULL,
  PRIMARY KEY (site, actor, op)
) ENGINE=InnoDB;
-- grant SELECT, INSERT

CREATE TABLE account (
  name VARBINARY(128) NOT NULL PRIMARY KEY,
  password VARBINARY(384) NOT NULL,          -- yescrypt
  display VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  enabled BOOLEAN NOT NULL,
  created_at BIGINT NOT NULL,
  seq BIGINT UNSIGNED NOT NULL               -- of the installation's log
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

CREATE TABLE own_group (
  name VARBINARY(128) NOT NULL PRIMARY KEY,  -- 'editors' (its principal is own:@editors)
  created_at BIGINT NOT NULL,
  seq BIGINT UNSIGNED NOT NULL
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

CREATE TABLE membership (
  name VARBINARY(128) NOT NULL,
  principal VARBINARY(255) NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (name, principal),
  KEY by_principal (principal)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

CREATE TABLE session (
  id_hash BINARY(32) NOT NULL PRIMARY KEY,
  principal VARBINARY(255) NOT NULL,
  created_at BIGINT NOT NULL,
  seen_at BIGINT NOT NULL,
  address VARBINARY(64) NOT NULL,
  agent VARBINARY(255) NOT NULL,
  KEY by_principal (principal),
  KEY by_seen (seen_at),
  KEY by_created (created_at)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

-- Logins, failures, refusals. Kept for a configured time; no secrets.
CREATE TABLE event (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  site VARBINARY(64) NOT NULL,
  at BIGINT NOT NULL,
  kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  principal VARBINARY(255) NOT NULL,
  address VARBINARY(64) NOT NULL,
  path VARBINARY(4096) NOT NULL,
  detail VARBINARY(1024) NOT NULL,
  KEY by_time (at)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, DELETE

-- The scheduler's times, one row a site. 0: none.
CREATE TABLE schedule (
  site VARBINARY(64) NOT NULL PRIMARY KEY,
  first_pending BIGINT NOT NULL,
  last_approval BIGINT NOT NULL,
  last_start BIGINT NOT NULL,
  forced_at BIGINT NOT NULL,
  forced_by VARBINARY(255) NOT NULL,
  forced_reason TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE

-- Counters (DESIGN section 7); the version never falls.
CREATE TABLE counter (
  id VARBINARY(128) NOT NULL PRIMARY KEY,
  value BIGINT UNSIGNED NOT NULL,
  version BIGINT UNSIGNED NOT NULL,
  present BOOLEAN NOT NULL
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE

CREATE TABLE release_ (
  site VARBINARY(64) NOT NULL,
  number BIGINT UNSIGNED NOT NULL,
  node CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,              -- the record that cut it
  at BIGINT NOT NULL,
  log_commit BINARY(20) NOT NULL,            -- whose site/ tree it is
  main_commit BINARY(20) NOT NULL,
  files_count BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (site, number)
) ENGINE=InnoDB;
-- grant SELECT, INSERT

CREATE TABLE run (
  site VARBINARY(64) NOT NULL,
  run BIGINT UNSIGNED NOT NULL,
  number BIGINT UNSIGNED NOT NULL,           -- the release it sent; 0: none was needed
  trigger_ VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- window_reason_name
  actor VARBINARY(255) NOT NULL,
  reason TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  started_at BIGINT NOT NULL,
  finished_at BIGINT NOT NULL,               -- 0: running, or ended by a crash
  state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- running, ok, nothing, failed, interrupted
  added BIGINT UNSIGNED NOT NULL,
  changed BIGINT UNSIGNED NOT NULL,
  removed BIGINT UNSIGNED NOT NULL,
  message VARBINARY(1024) NOT NULL,
  PRIMARY KEY (site, run)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

CREATE TABLE run_target (
  site VARBINARY(64) NOT NULL,
  run BIGINT UNSIGNED NOT NULL,
  target VARBINARY(64) NOT NULL,
  state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- running, sent, active, failed
  started_at BIGINT NOT NULL,
  finished_at BIGINT NOT NULL,
  exit_status INT NOT NULL,
  output MEDIUMBLOB NOT NULL,
  PRIMARY KEY (site, run, target)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE

-- Where each target stands.
CREATE TABLE target (
  site VARBINARY(64) NOT NULL,
  target VARBINARY(64) NOT NULL,
  number BIGINT UNSIGNED NOT NULL,           -- release it holds; 0: none known
  log_commit BINARY(20) NOT NULL,            -- of that release
  state VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- waiting, active, failed
  tries INT UNSIGNED NOT NULL,
  retry_at BIGINT NOT NULL,                  -- 0: no retry wanted
  changed_at BIGINT NOT NULL,
  PRIMARY KEY (site, target)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
