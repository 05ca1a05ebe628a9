CREATE TABLE orders (id int PRIMARY KEY, name text, note text);
