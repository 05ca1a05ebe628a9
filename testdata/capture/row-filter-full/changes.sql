INSERT INTO t VALUES (1, 'open', 1, repeat('x', 3000)), (2, 'closed', 2, NULL), (3, 'open', NULL, NULL), (4, NULL, 4, NULL), (5, 'closed', 5, repeat('y', 3000));

UPDATE t SET n = 10 WHERE id = 1;

UPDATE t SET state = 'closed' WHERE id = 1;

UPDATE t SET state = 'open' WHERE id = 5;

UPDATE t SET n = n + 1;

UPDATE t SET id = 50 WHERE id = 5;

UPDATE t SET n = 3 WHERE id = 3;

TRUNCATE t;
