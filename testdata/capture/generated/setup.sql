CREATE TABLE t (id int PRIMARY KEY, a int, doubled int GENERATED ALWAYS AS (a * 2) STORED, note text);

CREATE TABLE by_full (a int, doubled int GENERATED ALWAYS AS (a * 2) STORED); ALTER TABLE by_full REPLICA IDENTITY FULL;
