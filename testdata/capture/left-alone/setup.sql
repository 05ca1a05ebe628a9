-- include: public.*
-- With create, a publication of public.* must be made beside everything that cannot be published.
CREATE TABLE t (id int PRIMARY KEY, v text);

CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);

CREATE VIEW view AS SELECT * FROM t;

CREATE MATERIALIZED VIEW matview AS SELECT * FROM t;

CREATE SEQUENCE seq;

CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; CREATE FOREIGN TABLE abroad (id int) SERVER nowhere;

CREATE TYPE composite AS (a int);

CREATE UNLOGGED TABLE parted_unlogged (id int PRIMARY KEY);

CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10); CREATE UNLOGGED TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);

CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (extra text, PRIMARY KEY (id)) INHERITS (parent);
