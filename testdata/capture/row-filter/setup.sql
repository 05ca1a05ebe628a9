-- since: 15
CREATE TABLE t (id int PRIMARY KEY, a int, hidden text);

CREATE PUBLICATION pub FOR TABLE t (id, a) WHERE (id > 0);
