package campaign

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// trouble is a pipeline of the binary under load, whose target gives trouble.
type trouble struct {
	t              testing.TB
	trial          *Trial
	site           site
	source, target *pgserver.Server
	file           pipelineFile
	program        *process
	load           *load
	watcher        *watcher
}

func newTrouble(t testing.TB, r *Trial, readers int) *trouble {
	t.Helper()
	durable := func(settings map[string]string) *pgserver.Server {
		return pgtest.StartConfig(t, pgserver.Config{Install: pgtest.Install(t, r.Major), Durable: true, Settings: settings})
	}
	tr := &trouble{t: t, trial: r, source: durable(nil), target: durable(map[string]string{"deadlock_timeout": "100ms"})}
	tr.site = newSite(t, tr.source, tr.target)
	tr.file = writePipeline(t, tr.site.name, fromPostgres(tr.site.source), intoPostgres(tr.site.target))
	tr.program = launch(t, "run", tr.file.path)
	tr.file.until(t, "streaming", streaming)
	tr.watcher = watch(t, tr.site.target, readers)
	tr.load = &load{url: tr.site.source, seed: 7, writes: 2, pace: 10 * time.Millisecond, bulk: 2 * time.Second, rows: 2000}
	tr.load.start(t)
	return tr
}

// recovers waits until what was written last has arrived.
func (tr *trouble) recovers(after string) {
	tr.t.Helper()
	if err := tr.site.settle(tr.t.Context(), livenessLimit); err != nil {
		tr.t.Fatalf("after %s: %v", after, err)
	}
	if !tr.program.running() {
		tr.t.Fatalf("after %s the program has ended with %d", after, tr.program.code())
	}
}

// finish ends the load and checks everything.
func (tr *trouble) finish() {
	t := tr.t
	t.Helper()
	tr.load.stop()
	tr.recovers("the load")
	tr.watcher.stop()
	h, err := readHistory(t.Context(), tr.site)
	if err != nil {
		t.Fatal(err)
	}
	found, err := verdict(t.Context(), tr.site, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(found, tr.watcher.findings()...) {
		t.Error(f)
	}
	order, err := appliedOrder(t.Context(), tr.site, h)
	if err != nil {
		t.Fatal(err)
	}
	reads, _ := tr.watcher.looked()
	tr.trial.differ(order)
	tr.trial.counted(h, reads)
	tr.trial.tell(t)
}

// blocked waits until the sink waits for a session, and reports whether it did.
func (tr *trouble) blocked(by *pgconn.PgConn) {
	tr.t.Helper()
	sql := fmt.Sprintf("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'entrain%%sink' AND %d = ANY (pg_blocking_pids(pid))", by.PID())
	pgtest.Eventually(tr.t, patience, "the sink waits for a lock", func() bool {
		rows, err := query(tr.t.Context(), tr.site.target, sql)
		return err == nil && len(rows) > 0
	})
}

func (tr *trouble) exec(conn *pgconn.PgConn, sql string) {
	tr.t.Helper()
	if _, err := conn.Exec(tr.t.Context(), sql).ReadAll(); err != nil {
		tr.t.Fatalf("%s: %v", sql, err)
	}
}

// deadlocks holds what the sink wants, then wants what the sink holds. The
// server picks who has waited long enough: the sink.
func (tr *trouble) deadlocks() {
	conn := pgtest.Connect(tr.t, tr.site.target)
	for range 3 {
		tr.exec(conn, "SET deadlock_timeout = '20s'; BEGIN; SELECT 1 FROM ledger_seq FOR UPDATE")
		tr.blocked(conn)
		tr.exec(conn, "SELECT 1 FROM entrain.position FOR UPDATE; COMMIT")
	}
}

// serializationFailures change a row that the sink waits for, under an
// isolation that refuses to go on then.
func (tr *trouble) serializationFailures() {
	conn := pgtest.Connect(tr.t, tr.site.target)
	tr.exec(conn, "ALTER ROLE ALL SET default_transaction_isolation = 'repeatable read'")
	tr.exec(conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'entrain%sink'")
	for range 3 {
		tr.exec(conn, "BEGIN ISOLATION LEVEL READ COMMITTED; UPDATE ledger_seq SET n = n")
		tr.blocked(conn)
		tr.exec(conn, "COMMIT")
	}
	tr.exec(conn, "ALTER ROLE ALL RESET default_transaction_isolation")
	tr.exec(conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'entrain%sink'")
}

func (tr *trouble) restart() { tr.again(tr.target.Stop) }

func (tr *trouble) shutDownAtOnce() { tr.again(tr.target.StopImmediate) }

// again stops the target and starts it after a moment.
func (tr *trouble) again(stop func(context.Context) error) {
	tr.t.Helper()
	if err := stop(tr.t.Context()); err != nil {
		tr.t.Fatal(err)
	}
	wait(tr.t.Context(), time.Second)
	if err := tr.target.Start(tr.t.Context()); err != nil {
		tr.t.Fatal(err)
	}
}

// readOnly is what a target does while another one takes over.
func (tr *trouble) readOnly() {
	conn := pgtest.Connect(tr.t, tr.target.URL("postgres"))
	tr.exec(conn, "ALTER SYSTEM SET default_transaction_read_only = on")
	tr.exec(conn, "SELECT pg_reload_conf()")
	long := 5 * time.Second
	if wide() {
		long = time.Minute
	}
	wait(tr.t.Context(), long)
	tr.exec(conn, "SET default_transaction_read_only = off")
	tr.exec(conn, "ALTER SYSTEM RESET default_transaction_read_only")
	tr.exec(conn, "SELECT pg_reload_conf()")
}

// lockTables makes the sink wait, without an error.
func (tr *trouble) lockTables() {
	conn := pgtest.Connect(tr.t, tr.site.target)
	tr.exec(conn, "SET deadlock_timeout = '20s'; BEGIN; LOCK TABLE ledger_seq, tick, bulk IN EXCLUSIVE MODE")
	tr.blocked(conn)
	wait(tr.t.Context(), 4*time.Second)
	tr.exec(conn, "COMMIT")
}
