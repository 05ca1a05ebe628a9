-- since: 15
-- publications: first second th,ird
CREATE TABLE t (id int PRIMARY KEY, a int); ALTER TABLE t REPLICA IDENTITY FULL;

CREATE TABLE only_second (id int PRIMARY KEY, a int, b int);

CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);

CREATE TABLE acts (id int PRIMARY KEY);

CREATE PUBLICATION first FOR TABLE t WHERE (a < 10), acts, p WITH (publish = 'insert', publish_via_partition_root = true); CREATE PUBLICATION second FOR TABLE t WHERE (a > 20), only_second (id, b); CREATE PUBLICATION "th,ird" FOR TABLE acts, p_1 WITH (publish = 'delete');
