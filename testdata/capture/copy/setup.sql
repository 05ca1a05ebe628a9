CREATE TABLE t (id int PRIMARY KEY);

CREATE TABLE u (a int, b text, PRIMARY KEY (a));
