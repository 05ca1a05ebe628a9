package main

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// load is what happens at the source before anything is measured.
type load struct {
	db    string // its database
	count int64
	call  string // a procedure of routines, called with count
}

// schema is the table of all loads, about 200 bytes a row, and one whose row
// says that everything before it has arrived.
const schema = `
CREATE TABLE t (id bigint PRIMARY KEY, customer integer NOT NULL, name text NOT NULL, status text NOT NULL,
	at timestamptz NOT NULL, amount numeric(12,2) NOT NULL, body text NOT NULL);
CREATE TABLE finished (id integer PRIMARY KEY);`

// newRow are the values of row i.
const newRow = `i, i % 1000, 'customer ' || i % 1000, 'new', '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 ms',
	i * 1.01, repeat('payload ', 15)`

// routines make n rows, or n rows and as many updates of others. Those with
// COMMIT make a transaction of each change.
const routines = `
CREATE PROCEDURE insert_rows(n bigint) LANGUAGE plpgsql AS $$ BEGIN
	FOR i IN 1..n LOOP INSERT INTO t SELECT ` + newRow + `; COMMIT; END LOOP; END $$;
CREATE PROCEDURE insert_at_once(n bigint) LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO t SELECT ` + newRow + ` FROM generate_series(1, n) i; END $$;
CREATE PROCEDURE insert_and_update(n bigint) LANGUAGE plpgsql AS $$ DECLARE other bigint; BEGIN
	FOR i IN 1..n LOOP
		INSERT INTO t SELECT ` + newRow + `;
		COMMIT;
		other := 1 + (i::bigint * 611953 % 1299709) % greatest(i - 1, 1);
		UPDATE t SET status = 'shipped', amount = amount + 1, at = at + interval '1 day' WHERE id = other;
		COMMIT;
	END LOOP; END $$;
CREATE PUBLICATION p FOR TABLE t, finished; CREATE PUBLICATION ` + kafkaPublication + ` FOR TABLE t;`

// prepared is a load that is in the log, from its slot's position to end.
type prepared struct {
	load
	server *pgserver.Server
	*session
	end    string // LSN after the last change
	copies int    // of the slot
}

// prepare makes the database, a slot, and the load behind it.
func (h *harness) prepare(ctx context.Context, srv *pgserver.Server, l load) (*prepared, error) {
	if err := makeDatabase(ctx, srv, l.db); err != nil {
		return nil, err
	}
	s, err := connect(ctx, srv.URL(l.db), map[string]string{"synchronous_commit": "off"})
	if err != nil {
		return nil, err
	}
	p := &prepared{load: l, server: srv, session: s}
	h.say("loading: CALL %s(%d)", l.call, l.count)
	err = p.exec(ctx, routines,
		fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", p.slot()),
		fmt.Sprintf("CALL %s(%d)", l.call, l.count),
		"INSERT INTO finished VALUES (1)")
	if err == nil {
		p.end, err = p.value(ctx, "SELECT pg_current_wal_insert_lsn()")
	}
	if err == nil {
		// Whoever waits for the end of the log is told only of what lies behind
		// it, and a checkpoint of its own would disturb the first run.
		err = p.exec(ctx, "SELECT pg_logical_emit_message(false, 'bench', 'behind the end')", "VACUUM ANALYZE t", "CHECKPOINT")
	}
	if err != nil {
		p.close(ctx)
		return nil, fmt.Errorf("load %s: %w", l.db, err)
	}
	return p, nil
}

// makeDatabase creates a database with the table.
func makeDatabase(ctx context.Context, srv *pgserver.Server, name string) error {
	admin, err := connect(ctx, srv.URL("postgres"), nil)
	if err != nil {
		return err
	}
	defer admin.close(ctx)
	if err := admin.exec(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	s, err := connect(ctx, srv.URL(name), nil)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	return s.exec(ctx, schema)
}

func (p *prepared) slot() string { return "load_" + p.db }

// copySlot returns a new slot at the load's beginning, so that each run reads
// the same log.
func (p *prepared) copySlot(ctx context.Context) (string, error) {
	p.copies++
	slot := fmt.Sprintf("run_%s_%d", p.db, p.copies)
	return slot, p.exec(ctx, fmt.Sprintf("SELECT pg_copy_logical_replication_slot('%s', '%s')", p.slot(), slot))
}

// discard gives the load's log up.
func (p *prepared) discard(ctx context.Context) error {
	defer p.close(ctx)
	return p.dropSlot(ctx, p.slot())
}
