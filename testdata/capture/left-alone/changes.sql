INSERT INTO unlogged VALUES (1); UPDATE unlogged SET id = 2; INSERT INTO t VALUES (1, 'a'); REFRESH MATERIALIZED VIEW matview;

CREATE TEMP TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (2, 'temporary'); INSERT INTO public.t VALUES (3, 'real'); DROP TABLE pg_temp.t;

SELECT nextval('seq');

UPDATE view SET v = 'through the view' WHERE id = 1;

INSERT INTO parted VALUES (1), (11);

INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'c'); UPDATE parent SET id = id + 10;

CREATE TABLE made AS SELECT * FROM t; SELECT id INTO made_too FROM t;

CREATE UNIQUE INDEX ON matview (id);

REFRESH MATERIALIZED VIEW CONCURRENTLY matview;

TRUNCATE parent;
