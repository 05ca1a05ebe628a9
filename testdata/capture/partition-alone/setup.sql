-- One leaf is published, as itself: a row that moves in or out is an insert or a delete.
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);

CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p_high PARTITION OF p FOR VALUES FROM (100) TO (200);

CREATE PUBLICATION pub FOR TABLE p_low;
