INSERT INTO orders VALUES (1, 'one', NULL), (2, '', 'two'), (3, 'three', '');

UPDATE orders SET name = 'uno' WHERE id = 1;

UPDATE orders SET name = NULL, note = '' WHERE id < 3;

DELETE FROM orders WHERE id = 3;

BEGIN; INSERT INTO orders VALUES (4, 'gone', NULL); ROLLBACK;

BEGIN; INSERT INTO orders VALUES (5, 'a', NULL); UPDATE orders SET name = 'b' WHERE id = 5; DELETE FROM orders WHERE id = 5; COMMIT;

SELECT 1;

UPDATE orders SET name = 'nobody' WHERE id = 99;

INSERT INTO orders VALUES (1, 'again', 'and again') ON CONFLICT (id) DO UPDATE SET name = excluded.name;
