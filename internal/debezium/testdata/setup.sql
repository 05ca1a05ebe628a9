CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION citext;

CREATE TYPE mood AS ENUM ('sad', 'ok "quoted"', 'ünï');

CREATE DOMAIN posint AS int CHECK (value > 0);

CREATE DOMAIN price AS numeric(8,2);

CREATE TYPE pair AS (x int, "y z" text);

CREATE TABLE numbers (id int PRIMARY KEY, i2 int2, i4 int4, i8 int8, n numeric, n52 numeric(5,2), n30 numeric(30,0), n6 numeric(6,0), f4 float4, f8 float8, m money, o oid, b bool);

CREATE TABLE times (id int PRIMARY KEY, d date, t time, t0 time(0), t3 time(3), tz timetz, tz3 timetz(3), ts timestamp, ts0 timestamp(0), ts3 timestamp(3), ts4 timestamp(4), tstz timestamptz, tstz0 timestamptz(0), tstz3 timestamptz(3), i interval);

CREATE TABLE texts (id int PRIMARY KEY, t text, v varchar(10), c char(5), ch "char", n name, b bytea, j json, jb jsonb, x xml, u uuid, tv tsvector, tq tsquery, jp jsonpath);

CREATE TABLE nets (id int PRIMARY KEY, i inet, c cidr, m macaddr, m8 macaddr8, b1 bit, b5 bit(5), b70 bit(70), vb varbit, vb9 varbit(9), l pg_lsn, x8 xid8, x xid, td tid);

CREATE TABLE shapes (id int PRIMARY KEY, p point, l line, s lseg, b box, pa path, po polygon, c circle);

CREATE TABLE ranges (id int PRIMARY KEY, ir int4range, lr int8range, nr numrange, tr tsrange, zr tstzrange, dr daterange, mr int4multirange);

CREATE TABLE named (id int PRIMARY KEY, m mood, d posint, pr price, pa pair, h hstore, lt ltree, ci citext);

CREATE TABLE arrays (id int PRIMARY KEY, ai int[], ai2 int2[], ai8 int8[], at text[], av varchar(5)[], ac char(3)[], aa int[][], ab bool[], af4 float4[], af float8[], an numeric[], an52 numeric(5,2)[], ad date[], ats timestamp[], atz timestamptz[], atm time[], att timetz[], au uuid[], aj json[], ajb jsonb[], aby bytea[], ain inet[], air int4range[], amo mood[], apa pair[], ai_v interval[], ao oid[], ax xml[], am money[], abi bit(3)[], aci citext[], ach cidr[], ap point[], ah hstore[], alt ltree[]);

CREATE TABLE pairs (a int, b text, v text, PRIMARY KEY (b, a));

CREATE TABLE keyless (a int, b text);

ALTER TABLE keyless REPLICA IDENTITY FULL;

CREATE TABLE full_keyed (id int PRIMARY KEY, v text, n numeric(5,2) NOT NULL);

ALTER TABLE full_keyed REPLICA IDENTITY FULL;

CREATE TABLE big (id int PRIMARY KEY, n int, body text, jb jsonb, by bytea, ai int[], num numeric, u text[]);

ALTER TABLE big ALTER body SET STORAGE EXTERNAL, ALTER jb SET STORAGE EXTERNAL, ALTER by SET STORAGE EXTERNAL, ALTER ai SET STORAGE EXTERNAL, ALTER u SET STORAGE EXTERNAL;

CREATE TABLE big2 (id int PRIMARY KEY, n int, num numeric, i8 bigint[], au uuid[], f8 float8[], an numeric[], ad date[], ats timestamp[], h hstore, x xml, vb varbit, tv tsvector, bo bool[], aby bytea[], am mood[], j json, ci citext);

ALTER TABLE big2 ALTER num SET STORAGE EXTERNAL, ALTER i8 SET STORAGE EXTERNAL, ALTER au SET STORAGE EXTERNAL, ALTER f8 SET STORAGE EXTERNAL, ALTER an SET STORAGE EXTERNAL, ALTER ad SET STORAGE EXTERNAL, ALTER ats SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL, ALTER x SET STORAGE EXTERNAL, ALTER vb SET STORAGE EXTERNAL, ALTER tv SET STORAGE EXTERNAL, ALTER bo SET STORAGE EXTERNAL, ALTER aby SET STORAGE EXTERNAL, ALTER am SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, ALTER ci SET STORAGE EXTERNAL;

CREATE TABLE required (id int PRIMARY KEY, i int NOT NULL, t text NOT NULL, n numeric(5,2) NOT NULL DEFAULT 1.5, b bool NOT NULL, d date NOT NULL, o int DEFAULT 7);

CREATE SCHEMA "od.d";

CREATE TABLE "od.d"."Na me-ü" ("I d" int PRIMARY KEY, "quo""te" text, "op" text);

CREATE TABLE indexed (a int NOT NULL, b text NOT NULL, c text, PRIMARY KEY (a));

CREATE UNIQUE INDEX by_b ON indexed (b);

ALTER TABLE indexed REPLICA IDENTITY USING INDEX by_b;
