-- since: 18
CREATE TABLE t (id int PRIMARY KEY, a int, v int GENERATED ALWAYS AS (a * 2) VIRTUAL, s int GENERATED ALWAYS AS (a * 3) STORED, note text);

CREATE TABLE by_full (a int, s int GENERATED ALWAYS AS (a * 3) STORED); ALTER TABLE by_full REPLICA IDENTITY FULL;

CREATE TABLE listed (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 3) STORED, other int GENERATED ALWAYS AS (a * 4) STORED);

CREATE PUBLICATION pub FOR TABLE t, listed (id, s);
