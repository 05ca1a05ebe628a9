INSERT INTO t VALUES (1, 'twin', NULL), (1, 'twin', NULL), (NULL, NULL, NULL), (2, 'big', repeat('x', 3000));

UPDATE t SET b = 'one of two' WHERE ctid = (SELECT min(ctid) FROM t);

UPDATE t SET a = a;

UPDATE t SET b = 'beside a large value' WHERE a = 2;

DELETE FROM t WHERE a IS NULL;

INSERT INTO empty DEFAULT VALUES; INSERT INTO empty DEFAULT VALUES;

DELETE FROM empty;

ALTER TABLE t ADD PRIMARY KEY (b);

DELETE FROM t WHERE b = 'twin';
