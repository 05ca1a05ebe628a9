INSERT INTO t VALUES (1, 1, 'h'), (-1, 1, 'h');

UPDATE t SET a = 2;

UPDATE t SET id = 5 WHERE id = -1;

UPDATE t SET id = -2 WHERE id = 5;

DELETE FROM t;
