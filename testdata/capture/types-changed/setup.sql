CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN pos AS int CHECK (value > 0); CREATE TYPE pt AS (x int, y int);

CREATE TABLE t (id int PRIMARY KEY, m mood, d pos, p pt, am mood[], ad pos[], ap pt[]);
