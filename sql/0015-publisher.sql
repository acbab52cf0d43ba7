-- Servers that share a database: who stands in the queue publisher/<site> (table counter), and when he was last heard of.
CREATE TABLE publisher (
  site VARBINARY(64) NOT NULL,
  process VARBINARY(128) NOT NULL,           -- its name in the queue
  place BINARY(32) NOT NULL,                 -- the data directory that it has locked, on that machine since its start
  seen_at BIGINT NOT NULL,                   -- by the database's clock; 0: it has stopped
  PRIMARY KEY (site, process),
  KEY by_place (place)
) ENGINE=InnoDB;
-- grant SELECT, INSERT, UPDATE, DELETE
