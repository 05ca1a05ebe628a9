-- No setting of the database may change how values read.
DO $$ DECLARE s text; BEGIN
FOREACH s IN ARRAY ARRAY['datestyle = German', 'intervalstyle = iso_8601', 'extra_float_digits = 0', 'bytea_output = escape', 'timezone = ''Asia/Tokyo''', 'quote_all_identifiers = on', 'search_path = public'] LOOP
EXECUTE format('ALTER DATABASE %I SET ', current_database()) || s; END LOOP; END $$;

CREATE TYPE mood AS ENUM ('sad', 'ok "quoted"', 'ünï');

CREATE DOMAIN posint AS int CHECK (value > 0);

CREATE DOMAIN name_of AS varchar(20);

CREATE TYPE pt AS (x int, "y z" text, m mood);

CREATE TYPE span AS RANGE (subtype = float8);

CREATE TABLE numbers (id int PRIMARY KEY, i2 int2, i4 int4, i8 int8, n numeric, n52 numeric(5,2), f4 float4, f8 float8, m money, o oid, b bool);

CREATE TABLE times (id int PRIMARY KEY, d date, t time, tz timetz, ts timestamp, tstz timestamptz, i interval);

CREATE TABLE texts (id int PRIMARY KEY, t text, v varchar(10), c char(5), "char" "char", n name, b bytea, j json, jb jsonb, x xml, u uuid, tv tsvector, tq tsquery, jp jsonpath);

CREATE TABLE nets (id int PRIMARY KEY, i inet, c cidr, m macaddr, m8 macaddr8, b1 bit, b5 bit(5), vb varbit, l pg_lsn, x8 xid8, x xid, td tid, rc regclass, rt regtype);

CREATE TABLE shapes (id int PRIMARY KEY, p point, l line, s lseg, b box, pa path, po polygon, c circle);

CREATE TABLE compound (id int PRIMARY KEY, m mood, d posint, dn name_of, c pt, ir int4range, nr numrange, tr tstzrange, sr span, mr int4multirange, ai int[], at text[], aa int[][], am mood[], ac pt[], an numeric[], ab bytea[], ats timestamptz[], amr int4multirange[]);
