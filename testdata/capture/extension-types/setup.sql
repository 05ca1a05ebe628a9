-- A type that only its extension knows is text, with its name.
CREATE SCHEMA ext;

CREATE EXTENSION hstore SCHEMA ext; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube; CREATE EXTENSION isn;

CREATE TYPE vector; CREATE FUNCTION vector_in(cstring) RETURNS vector LANGUAGE internal IMMUTABLE STRICT AS 'textin'; CREATE FUNCTION vector_out(vector) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout'; CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, STORAGE = extended);

CREATE DOMAIN tags AS ext.hstore CHECK (value OPERATOR(ext.?) 'id'); CREATE DOMAIN more_tags AS tags; CREATE DOMAIN words AS text[]; CREATE TYPE bound AS RANGE (subtype = citext);

CREATE TABLE t (id int PRIMARY KEY, h ext.hstore, c citext, l ltree, lq lquery, cu cube, i isbn, v vector, av vector[], ah ext.hstore[], d tags, dd more_tags, w words, ad more_tags[], r bound);

CREATE PUBLICATION pub FOR TABLE t;
