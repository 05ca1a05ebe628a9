CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t SELECT i, 'v' || i, i FROM generate_series(1, 5) i;

CREATE TABLE f (id int PRIMARY KEY, v text, n int); ALTER TABLE f REPLICA IDENTITY FULL; INSERT INTO f SELECT * FROM t;

CREATE PUBLICATION pub FOR TABLE t, f;
