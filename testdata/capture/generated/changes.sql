INSERT INTO t (id, a, note) VALUES (1, 1, 'n'); INSERT INTO by_full (a) VALUES (1), (2);

UPDATE t SET a = 5; UPDATE by_full SET a = a + 10;

ALTER TABLE t ALTER doubled DROP EXPRESSION;

UPDATE t SET doubled = 1;

ALTER TABLE t ADD COLUMN tripled int GENERATED ALWAYS AS (a * 3) STORED;

UPDATE t SET a = 6;

DELETE FROM t; DELETE FROM by_full;
