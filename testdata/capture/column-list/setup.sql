-- since: 15
CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text);

CREATE TABLE u (id int PRIMARY KEY);

CREATE PUBLICATION pub FOR TABLE t (id, b);
