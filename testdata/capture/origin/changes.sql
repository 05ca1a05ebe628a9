INSERT INTO t VALUES (1);

SELECT pg_replication_origin_create('ORIGIN');

SELECT pg_replication_origin_session_setup('ORIGIN');

BEGIN; SELECT pg_replication_origin_xact_setup('0/1234', '2026-01-01'); INSERT INTO t VALUES (2); INSERT INTO t VALUES (3); COMMIT;

SELECT pg_replication_origin_session_reset();

INSERT INTO t VALUES (4);

SELECT pg_replication_origin_drop('ORIGIN');
