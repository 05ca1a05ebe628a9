-- Version 14 does not notice that a table that it looked at before was attached or detached: so does its own
-- subscription. A new session does.
CREATE TABLE p (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);

CREATE TABLE p_2025 PARTITION OF p FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');

CREATE TABLE p_2026 (v text, dropped int, at date NOT NULL, id int NOT NULL); ALTER TABLE p_2026 DROP COLUMN dropped; ALTER TABLE p ATTACH PARTITION p_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');

CREATE TABLE p_2027 PARTITION OF p FOR VALUES FROM ('2027-01-01') TO ('2028-01-01') PARTITION BY LIST (id);

CREATE TABLE p_2027_1 PARTITION OF p_2027 FOR VALUES IN (1); CREATE TABLE p_2027_rest PARTITION OF p_2027 DEFAULT; ALTER TABLE p_2027_rest REPLICA IDENTITY FULL;

CREATE PUBLICATION pub FOR TABLE p WITH (publish_via_partition_root = false);
