INSERT INTO t VALUES (1, 'a=>1, "b c"=>"q\"uote", n=>NULL', 'CaSe', 'top.mid.leaf', '*.a|b.*{1,3}', '(1,2),(3,4)', '978-0-393-04002-9', '[1,2,3]', '{"[1,2]","[]"}', '{"a=>1","b=>NULL"}', 'id=>1', 'id=>2, x=>""', '{a,NULL}', '{"\"id\"=>\"3\""}', '[a,b)'); INSERT INTO t (id) VALUES (2);

UPDATE t SET c = 'case' WHERE id = 1;
