CREATE TABLE by_default (id int PRIMARY KEY, n int, t text, b bytea, j jsonb, a text[]);

CREATE TABLE by_full (LIKE by_default INCLUDING ALL);
ALTER TABLE by_full REPLICA IDENTITY FULL;

CREATE FUNCTION noise(bytes int, seed int) RETURNS text LANGUAGE sql AS $$ SELECT left(string_agg(md5(seed || '/' || i), ''), bytes) FROM generate_series(0, bytes / 32) i $$;
