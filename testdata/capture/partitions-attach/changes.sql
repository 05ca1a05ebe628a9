INSERT INTO p VALUES (1, 'eu', 'a', repeat('x', 3000)), (2, 'us', 'b', repeat('y', 3000));

UPDATE p SET v = 'unchanged beside' WHERE id = 1;

UPDATE p SET region = 'us' WHERE id = 1;

UPDATE p_us SET region = 'us', v = 'by leaf' WHERE id = 2;

INSERT INTO p_as VALUES ('as', 'not yet attached', 2, NULL);

ALTER TABLE p ATTACH PARTITION p_as FOR VALUES IN ('as');

UPDATE p SET v = 'attached' WHERE region = 'as';

BEGIN; INSERT INTO p VALUES (3, 'us', 'before', NULL); ALTER TABLE p DETACH PARTITION p_us; INSERT INTO p_us VALUES (4, 'us', 'detached', NULL); ALTER TABLE p ATTACH PARTITION p_us FOR VALUES IN ('us'); INSERT INTO p VALUES (5, 'us', 'again', NULL); COMMIT;

ALTER TABLE p ADD COLUMN more int DEFAULT 7;

INSERT INTO p (id, region) VALUES (6, 'eu'), (6, 'us'), (6, 'as');

ALTER TABLE p DROP COLUMN v;

INSERT INTO p (id, region) VALUES (7, 'eu');

ALTER TABLE p DETACH PARTITION p_eu;

DELETE FROM p_eu;

DELETE FROM p WHERE id > 2;
