INSERT INTO orders (id, n, amount, name, body) SELECT i, i * 10, i + 0.1234, 'order ' || i, repeat('long ', 1000) || i FROM generate_series(1, 20) i;

INSERT INTO notes SELECT i % 3, 'note ' || i % 3 FROM generate_series(1, 9) i;

INSERT INTO plain SELECT i, 'row ' || i FROM generate_series(1, 5) i;

INSERT INTO changed VALUES (1, 'one');

INSERT INTO emptied VALUES (1, 'one');
