INSERT INTO parent VALUES (1, 'a'), (2, 'b'); INSERT INTO child VALUES (1, 1), (2, 2); INSERT INTO orphan VALUES (1, 1);

UPDATE parent SET id = 10 WHERE id = 2;

DELETE FROM orphan; INSERT INTO orphan VALUES (2, 10);

DELETE FROM parent;

INSERT INTO ruled VALUES (-1), (1);

WITH moved AS (DELETE FROM orphan RETURNING *) INSERT INTO child SELECT id, NULL FROM moved;

INSERT INTO parent VALUES (3, 'c') ON CONFLICT DO NOTHING; INSERT INTO parent VALUES (3, 'd') ON CONFLICT DO NOTHING;

INSERT INTO parent VALUES (3, 'x'), (4, 'y') ON CONFLICT (id) DO UPDATE SET v = 'conflict ' || excluded.v;
