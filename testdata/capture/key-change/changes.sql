INSERT INTO single VALUES (1, repeat('x', 10000), 'n'); INSERT INTO pair VALUES (1, 'b', 'n');

UPDATE single SET id = 2;

UPDATE pair SET b = 'c' WHERE a = 1;

UPDATE pair SET a = a, note = 'key mentioned, not changed';

INSERT INTO single VALUES (3, 'small', NULL);

UPDATE single SET id = id + 10;
