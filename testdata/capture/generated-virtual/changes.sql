INSERT INTO t (id, a, note) VALUES (1, 1, 'n'); INSERT INTO listed (id, a) VALUES (1, 1);

ALTER PUBLICATION pub SET (publish_generated_columns = stored);

UPDATE t SET a = 5; UPDATE listed SET a = 5;

ALTER PUBLICATION pub ADD TABLE by_full;

INSERT INTO by_full (a) VALUES (1); UPDATE by_full SET a = 2;

ALTER TABLE t ALTER s SET EXPRESSION AS (a * 1000);

UPDATE t SET note = 'after';

ALTER PUBLICATION pub SET (publish_generated_columns = none);

DELETE FROM t; DELETE FROM listed; INSERT INTO by_full (a) VALUES (3);
