-- Queues beside the counters, under the same names (DESIGN section 7): kind 0 removed, 1 counter, 2 queue. The value of
-- a queue is the last ticket given; members: a line each, "TICKET PROCESS".
ALTER TABLE counter ADD COLUMN kind TINYINT UNSIGNED NOT NULL DEFAULT 1;
ALTER TABLE counter ADD COLUMN members MEDIUMBLOB NOT NULL DEFAULT ('');
UPDATE counter SET kind = present;
ALTER TABLE counter DROP COLUMN present;
