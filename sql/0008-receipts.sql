-- What receivers signed: that they hold a release. Kept with the runs.
CREATE TABLE receipt (
  site VARBINARY(64) NOT NULL,
  target VARBINARY(64) NOT NULL,
  number BIGINT UNSIGNED NOT NULL,
  run BIGINT UNSIGNED NOT NULL,              -- that brought it
  at BIGINT NOT NULL,                        -- by the receiver's clock
  receipt VARBINARY(4096) NOT NULL,
  signature VARBINARY(4096) NOT NULL,
  PRIMARY KEY (site, target, number, run)
) ENGINE=InnoDB;
-- grant SELECT, INSERT

-- What the receiver found last when it read every live file.
CREATE TABLE target_report (
  site VARBINARY(64) NOT NULL,
  target VARBINARY(64) NOT NULL,
  at BIGINT NOT NULL,                        -- by the receiver's clock
  number BIGINT UNSIGNED NOT NULL,           -- the release that it held
  bad BIGINT UNSIGNED NOT NULL,              -- differences
  body MEDIUMBLOB NOT NULL,                  -- as it was signed
  PRIMARY KEY (site, target)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
