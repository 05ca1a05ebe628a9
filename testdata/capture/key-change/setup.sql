CREATE TABLE single (id int PRIMARY KEY, big text, note text);
ALTER TABLE single ALTER big SET STORAGE EXTERNAL;

CREATE TABLE pair (a int, b text, note text, PRIMARY KEY (b, a));
