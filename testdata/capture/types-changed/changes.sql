INSERT INTO t VALUES (1, 'ok', 1, '(1,2)', '{ok}', '{1}', '{"(1,2)"}');

ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok';

INSERT INTO t VALUES (2, 'new', 1, NULL, '{new,sad}');

ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';

UPDATE t SET m = 'blue' WHERE id = 2; DELETE FROM t WHERE id = 1;

BEGIN; ALTER TYPE mood RENAME TO mood_old; CREATE TYPE mood AS ENUM ('happy', 'new', 'blue'); ALTER TABLE t ALTER m TYPE mood USING m::text::mood; INSERT INTO t (id, m, am) VALUES (3, 'happy', '{new}'); COMMIT;

BEGIN; ALTER TABLE t DROP COLUMN am; DROP TYPE mood_old; ALTER TABLE t ADD COLUMN am mood[]; INSERT INTO t (id, m, am) VALUES (4, 'happy', '{happy}'); COMMIT;

ALTER TYPE pt ADD ATTRIBUTE z text CASCADE;

INSERT INTO t (id, p, ap) VALUES (5, '(1,2,three)', '{"(4,5,\"s i x\")"}');

ALTER TYPE pt DROP ATTRIBUTE x CASCADE;

UPDATE t SET d = 9 WHERE id = 5;

BEGIN; ALTER TABLE t ALTER d TYPE int, ALTER ad TYPE int[]; DROP DOMAIN pos; CREATE DOMAIN pos AS numeric(5, 2); ALTER TABLE t ALTER d TYPE pos; INSERT INTO t (id, d, ad) VALUES (6, 1.5, '{1}'); COMMIT;

BEGIN; ALTER TABLE t DROP COLUMN p, DROP COLUMN ap; DROP TYPE pt; CREATE TYPE pt AS ENUM ('now an enum'); ALTER TABLE t ADD COLUMN p pt; INSERT INTO t (id, p) VALUES (7, 'now an enum'); ROLLBACK;

BEGIN; INSERT INTO t (id, p) VALUES (8, '(1,x)'); ALTER TABLE t DROP COLUMN p, DROP COLUMN ap; DROP TYPE pt; CREATE TYPE pt AS ENUM ('now an enum'); ALTER TABLE t ADD COLUMN p pt; INSERT INTO t (id, p) VALUES (9, 'now an enum'); COMMIT;

CREATE SCHEMA s; ALTER TYPE pt SET SCHEMA s; ALTER TYPE mood RENAME TO feeling;

INSERT INTO t (id, p, m) VALUES (10, 'now an enum', 'happy');
