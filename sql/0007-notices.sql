-- What people were told by mail or webhook: each channel's last word on the targets of a site.

CREATE TABLE notice (
  site VARBINARY(64) NOT NULL,
  channel BINARY(32) NOT NULL,               -- SHA-256 of where it goes
  failing VARBINARY(8192) NOT NULL,          -- targets that it was told are failing: names, sorted, a blank between
  told_at BIGINT NOT NULL,                   -- 0: nothing was sent yet
  tries INT UNSIGNED NOT NULL,               -- in a row that failed
  retry_at BIGINT NOT NULL,                  -- 0: nothing waits
  why VARBINARY(512) NOT NULL,               -- of the last try that failed, '' if it did not
  PRIMARY KEY (site, channel)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
