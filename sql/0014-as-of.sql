-- The last record that a release has in it: the one before its own, or an earlier one if something was recorded meanwhile.
ALTER TABLE release_ ADD COLUMN as_of BIGINT UNSIGNED NOT NULL DEFAULT 0;
UPDATE release_ SET as_of = seq WHERE as_of = 0;
