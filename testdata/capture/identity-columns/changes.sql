INSERT INTO always (v) VALUES ('a'); INSERT INTO by_default (v) VALUES ('a'); INSERT INTO serials (v) VALUES ('a'); INSERT INTO by_sequence (v) VALUES ('a');

INSERT INTO always OVERRIDING SYSTEM VALUE VALUES (100, 'given'); INSERT INTO by_default VALUES (1, 'given');

BEGIN; INSERT INTO always (v) VALUES ('rolled back'); INSERT INTO by_sequence (v) VALUES ('rolled back'); ROLLBACK;

SELECT setval('own', 1000); ALTER SEQUENCE serials_id_seq RESTART WITH 50;

INSERT INTO always (v) VALUES ('b'); INSERT INTO by_default (v) VALUES ('b'); INSERT INTO serials (v) VALUES ('b'); INSERT INTO by_sequence (v) VALUES ('b');

UPDATE always SET id = DEFAULT WHERE id = 100;

ALTER TABLE always ALTER id DROP IDENTITY;

INSERT INTO always VALUES (7, 'plain now');

TRUNCATE serials RESTART IDENTITY;
