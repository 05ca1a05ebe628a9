INSERT INTO unlogged VALUES (1);

INSERT INTO later_published VALUES (1);

CREATE TEMP TABLE temporary (id int); INSERT INTO temporary VALUES (1);

SELECT pg_current_xact_id();

UPDATE t SET id = 1 WHERE false;

INSERT INTO t VALUES (1);

ANALYZE t;

DELETE FROM later_published;
