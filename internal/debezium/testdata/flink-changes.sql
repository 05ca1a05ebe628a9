INSERT INTO orders (id, small, n, amount, free, price, rough, ok, name, code, u, j, bin, tz, tags, nums, h, body, d, t, t3, ts, ts3) VALUES
  (9223372036854775807, 32767, -2147483648, 9999999999999999.9999, 12345678901234567890.0123456789, 0.1, 1.5, true, E'quote " back \\ tab \t ünï 😀', 'ab', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b": [1, null, "x"], "a": 1e3}', '\x00ff10', '2026-11-22 12:34:56.123456+02', '{a,NULL,"b c",""}', '{1,NULL,-3}', 'a=>1, "b c"=>NULL', 'short', '2026-11-22', '12:34:56.5', '12:34:56.789', '2026-11-22 12:34:56.123456', '2026-11-22 12:34:56.789'),
  (-9223372036854775808, -32768, 2147483647, -0.0001, -0.0000000001, 'NaN', '-Infinity', false, '', '', NULL, 'null', '', '1969-12-31 23:59:59.999999+00', '{}', '{}', '', '', '1900-02-28', '00:00:00', '00:00:00', '1905-03-04 05:06:07.000001', '1969-12-31 23:59:59.999'),
  (101, 0, 0, 0, 0, 1e300, 3.4e38, NULL, 'NULL', 'null', '00000000-0000-0000-0000-000000000000', '[]', '\x', '2026-01-01 00:00:00+00', '{null,"NULL"}', '{0}', 'x=>"NULL"', NULL, '2000-02-29', '23:59:59.999999', '23:59:59.999', '2000-02-29 00:00:00', '2000-02-29 00:00:00'),
  (102, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

UPDATE orders SET n = n + 1, amount = amount * 2 WHERE id BETWEEN 2 AND 6;

UPDATE orders SET small = 7, ts = '2026-11-22 00:00:00', tags = '{new}' WHERE id > 100;

UPDATE orders SET body = body || ' more' WHERE id IN (7, 8);

UPDATE orders SET amount = NULL, name = NULL, body = NULL WHERE id = 9;

UPDATE orders SET n = NULL WHERE id = 102;

UPDATE orders SET id = id + 1000 WHERE id IN (10, 11);

UPDATE orders SET id = 10, n = 5, body = 'another' WHERE id = 1011;

DELETE FROM orders WHERE id IN (1, 12, 1010);

INSERT INTO orders (id, name) VALUES (12, 'again');

DO $$ BEGIN
  FOR i IN 1..5 LOOP
    UPDATE orders SET n = i, price = i / 3.0 WHERE id = 13;
  END LOOP;
  DELETE FROM orders WHERE id = 13;
  INSERT INTO orders (id, n) VALUES (13, 99);
  UPDATE orders SET id = 14 + 1000 WHERE id = 14;
  UPDATE orders SET id = 14 WHERE id = 13;
END $$;

INSERT INTO notes VALUES (NULL, NULL), (NULL, NULL), (7, 'seven');

UPDATE notes SET v = 'changed' WHERE a = 1;

DELETE FROM notes WHERE a = 2 OR a = 7;

DELETE FROM notes WHERE ctid = (SELECT min(ctid) FROM notes WHERE a IS NULL);

INSERT INTO plain VALUES (6, 'six'), (7, NULL);

DELETE FROM plain WHERE id IN (2, 7);

INSERT INTO changed VALUES (2, 'two');

UPDATE changed SET v = 'zwei' WHERE id = 2;

INSERT INTO emptied VALUES (2, 'two');

TRUNCATE emptied;

INSERT INTO emptied VALUES (3, 'three');
