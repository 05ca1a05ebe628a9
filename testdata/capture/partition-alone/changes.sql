INSERT INTO p VALUES (1, 'low'), (101, 'high');

UPDATE p SET id = 102 WHERE id = 1;

UPDATE p SET id = 2 WHERE id = 101;

UPDATE p SET v = 'still low' WHERE id = 2;

DELETE FROM p;
