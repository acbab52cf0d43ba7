-- What a receiver says that it holds, signed, and this server does not know: it is an older copy of itself.
CREATE TABLE target_held (
  site VARBINARY(64) NOT NULL,
  target VARBINARY(64) NOT NULL,
  at BIGINT NOT NULL,                        -- of the receipt, by the receiver's clock
  number BIGINT UNSIGNED NOT NULL,
  head BINARY(32) NOT NULL,                  -- digest of the release's head
  receipt VARBINARY(4096) NOT NULL,
  signature VARBINARY(4096) NOT NULL,
  PRIMARY KEY (site, target)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
