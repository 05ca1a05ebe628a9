SELECT pg_logical_emit_message(true, 'app', 'alone');

SELECT pg_logical_emit_message(false, 'app', 'outside');

BEGIN; INSERT INTO t VALUES (1); SELECT pg_logical_emit_message(true, 'app', 'inside'); INSERT INTO t VALUES (2); COMMIT;

BEGIN; INSERT INTO t VALUES (3); SELECT pg_logical_emit_message(false, 'app', 'of a transaction that is rolled back'); SELECT pg_logical_emit_message(true, 'app', 'rolled back'); ROLLBACK;

SELECT pg_logical_emit_message(true, 'préfix "q"', 'line
feed	tab "quoted" \ 🎉');

SELECT pg_logical_emit_message(true, '', '\x00ff80'::bytea);

SELECT pg_logical_emit_message(false, 'app', '');
