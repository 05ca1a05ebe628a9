-- Version 14 does not notice that a table that it looked at before was attached or detached: so does its own
-- subscription. A new session does.
-- The default of create: through the root. Leaves have another order of columns and columns that were dropped.
CREATE TABLE p (id int, region text, v text, big text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
ALTER TABLE p ALTER big SET STORAGE EXTERNAL;

CREATE TABLE p_eu (gone int, big text, v text, region text NOT NULL, id int NOT NULL); ALTER TABLE p_eu ALTER big SET STORAGE EXTERNAL; ALTER TABLE p_eu DROP COLUMN gone; ALTER TABLE p ATTACH PARTITION p_eu FOR VALUES IN ('eu');

CREATE TABLE p_us PARTITION OF p FOR VALUES IN ('us');

CREATE TABLE p_as (region text NOT NULL, v text, id int NOT NULL, big text); INSERT INTO p_as VALUES ('as', 'was there', 1, NULL);

CREATE PUBLICATION pub FOR TABLE p WITH (publish_via_partition_root = true);
