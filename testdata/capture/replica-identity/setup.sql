CREATE TABLE by_default (id int PRIMARY KEY, a text, b text);

CREATE TABLE by_full (id int PRIMARY KEY, a text, b text);
ALTER TABLE by_full REPLICA IDENTITY FULL;

CREATE TABLE full_keyless (a text, b text);
ALTER TABLE full_keyless REPLICA IDENTITY FULL;

CREATE TABLE by_index (id int PRIMARY KEY, code text NOT NULL, b text);
CREATE UNIQUE INDEX by_index_code ON by_index (code);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_code;

CREATE TABLE by_nothing (id int PRIMARY KEY, a text);
ALTER TABLE by_nothing REPLICA IDENTITY NOTHING;

CREATE PUBLICATION pub FOR TABLE by_default, by_full, full_keyless, by_index, by_nothing;
