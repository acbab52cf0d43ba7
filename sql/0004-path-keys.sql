-- Files are kept by a key that lets lie together what lies together in the tree: SHA-256 of the path alone spread the
-- files of one act over every page of the table, so that an act on 10,000 files cost reading and writing the whole site.
-- path_key: 4 bytes of SHA-256 of the directory at the top, 4 of SHA-256 of the directory, then SHA-256 of the path
-- (path_key() in core/path.c). The files of a record come in its own order, so that they are written one behind the other.

ALTER TABLE file_state ADD COLUMN path_key BINARY(40) NOT NULL AFTER site;
UPDATE file_state SET path_key = CONCAT(
  LEFT(UNHEX(SHA2(SUBSTRING_INDEX(LEFT(path, LENGTH(path) - LOCATE('/', REVERSE(path))), '/', 2), 256)), 4),
  LEFT(UNHEX(SHA2(LEFT(path, LENGTH(path) - LOCATE('/', REVERSE(path))), 256)), 4),
  UNHEX(SHA2(path, 256)));
ALTER TABLE file_state DROP PRIMARY KEY, ADD PRIMARY KEY (site, path_key), DROP COLUMN path_hash;

ALTER TABLE record_file ADD COLUMN path_key BINARY(40) NOT NULL AFTER ord;
UPDATE record_file SET path_key = CONCAT(
  LEFT(UNHEX(SHA2(SUBSTRING_INDEX(LEFT(path, LENGTH(path) - LOCATE('/', REVERSE(path))), '/', 2), 256)), 4),
  LEFT(UNHEX(SHA2(LEFT(path, LENGTH(path) - LOCATE('/', REVERSE(path))), 256)), 4),
  UNHEX(SHA2(path, 256)));
ALTER TABLE record_file DROP PRIMARY KEY, DROP KEY by_record, ADD PRIMARY KEY (site, node, seq, ord),
  ADD UNIQUE KEY by_path (site, path_key, node, seq), DROP COLUMN path_hash;
