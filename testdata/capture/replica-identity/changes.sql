INSERT INTO by_default VALUES (1, 'a', NULL); INSERT INTO by_full VALUES (1, 'a', NULL); INSERT INTO full_keyless VALUES ('a', NULL), ('a', NULL); INSERT INTO by_index VALUES (1, 'code', NULL); INSERT INTO by_nothing VALUES (1, 'a');

UPDATE by_default SET a = 'A'; UPDATE by_full SET a = 'A'; UPDATE full_keyless SET a = 'A'; UPDATE by_index SET b = 'B';

UPDATE by_index SET code = 'edoc';

UPDATE by_index SET id = 2;

DELETE FROM by_default; DELETE FROM by_full; DELETE FROM full_keyless; DELETE FROM by_index;

ALTER TABLE by_index REPLICA IDENTITY DEFAULT;

INSERT INTO by_index VALUES (3, 'c', 'b');

UPDATE by_index SET id = 4;

DELETE FROM by_index;
