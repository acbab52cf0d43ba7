-- What a forced run is to do: send that release and cut none (0: cut one), or exactly the plan with that digest (zeroes: any).
-- And a take-down, which goes ahead of everything else; down_at 0: none.
ALTER TABLE schedule ADD COLUMN forced_release BIGINT UNSIGNED NOT NULL DEFAULT 0, ADD COLUMN forced_plan BINARY(32) NOT NULL DEFAULT '',
  ADD COLUMN down_at BIGINT NOT NULL DEFAULT 0, ADD COLUMN down_by VARBINARY(255) NOT NULL DEFAULT '',
  ADD COLUMN down_reason TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';
