-- Since when production differs, by the receiver's clock (0: it does not), whether the release before was made live by hand,
-- and the signature of the report.
ALTER TABLE target_report ADD COLUMN since BIGINT NOT NULL DEFAULT 0, ADD COLUMN rolled_back TINYINT NOT NULL DEFAULT 0,
  ADD COLUMN signature VARBINARY(4096) NOT NULL DEFAULT '';
