-- Pre-approvals by pattern of the name, largest size (bytes; 0: the site's limit) and end (0: for ever). Several for one
-- path, if their patterns differ.
ALTER TABLE preapproval ADD COLUMN pattern VARBINARY(255) NOT NULL DEFAULT '', ADD COLUMN largest BIGINT UNSIGNED NOT NULL DEFAULT 0,
  ADD COLUMN until BIGINT NOT NULL DEFAULT 0, DROP PRIMARY KEY, ADD PRIMARY KEY (site, path_hash, pattern);
