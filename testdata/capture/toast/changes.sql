INSERT INTO by_default SELECT 1, 0, noise(10000000, 1), decode(noise(10000000, 2), 'hex'), to_jsonb(noise(10000000, 3)), ARRAY[noise(5000000, 4), NULL, noise(5000000, 5)];
INSERT INTO by_full SELECT * FROM by_default;

UPDATE by_default SET n = 1; UPDATE by_full SET n = 1;

UPDATE by_default SET t = 'short', b = NULL; UPDATE by_full SET t = 'short', b = NULL;

UPDATE by_default SET n = 2;

UPDATE by_default SET id = 2; UPDATE by_full SET id = 2;

DELETE FROM by_default;
