package apply

import (
	"context"
	"fmt"
	"net"
	neturl "net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSinkPositionRow proves P2: the row moves with the data, whatever path, and
// says which transaction was the last.
func TestSinkPositionRow(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		row := `SELECT pipeline, source, partition, incarnation, position, version, fence FROM entrain.position`
		wantRows(t, url, row, "test|source|0|||0|1")
		f.write(tx(ins(o, "1", "a", "1")))
		f.bulk(tx(ins(o, "2", "b", "1")))
		wantRows(t, url, row, "test|source|0|i1|2|2|1")
		f.write()
		f.seq = 9
		f.write()
		wantRows(t, url, row, "test|source|0|i1|9|2|1")
		if pos := f.open(); pos != position(9) {
			t.Fatalf("position after reopening: %v", pos)
		}
		wantRows(t, url, row, "test|source|0|i1|9|2|2")
	})
}

// TestSinkFence proves P2: once a session has taken the position over, the former
// one writes nothing more, on any path.
func TestSinkFence(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		paths := map[string]func(f *feed) error{
			"tip":   func(f *feed) error { return f.w.Write(t.Context(), f.batch(tx(ins(o, "1", "a", "1")))) },
			"bulk":  func(f *feed) error { return f.bulkErr(t.Context(), tx(ins(o, "1", "a", "1"))) },
			"empty": func(f *feed) error { return f.w.Write(t.Context(), &entrain.Batch{Through: position(5)}) },
		}
		for name, write := range paths {
			old := newFeed(t, url)
			fresh := newFeed(t, url)
			stop := wantStop(t, write(old), "fenced")
			if !strings.Contains(stop.What, "took pipeline") {
				t.Errorf("%s: %s", name, stop.What)
			}
			wantRows(t, url, `SELECT count(*) FROM orders`, "0")
			fresh.write()
		}
	})
}

// TestSinkTakeOverWaits proves P2 for an unknown outcome: the position is not read
// before the former session's transaction has ended.
func TestSinkTakeOverWaits(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		old := newFeed(t, url)
		part := &entrain.Batch{Events: numbered(1, 0, tx(ins(o, "1", "a", "1")))}
		if err := old.w.Write(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		w, err := testSink(t, url).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		done := make(chan entrain.Position, 1)
		go func() {
			pos, err := w.(entrain.Positioner).Position(t.Context())
			if err != nil {
				t.Error(err)
			}
			done <- pos
		}()
		pgtest.Eventually(t, time.Minute, "the take-over waits for the row", func() bool {
			return rowsOf(t, url, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%fence + 1%'`) == "1"
		})
		end := &entrain.Batch{Events: numbered(1, 1, tx(ins(o, "2", "b", "1"))), Through: position(1)}
		if err := old.w.Write(t.Context(), end); err != nil {
			t.Fatal(err)
		}
		if pos := <-done; pos != position(1) {
			t.Fatalf("took over at %v, want the end of the transaction that was under way", pos)
		}
		wantStop(t, old.w.Write(t.Context(), &entrain.Batch{Through: position(2)}), "fenced")
	})
}

// TestSinkForeignPosition proves P2 and P5: a position that somebody else changed,
// or a target that was restored from a backup, is a stop.
func TestSinkForeignPosition(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		for _, sql := range []string{`UPDATE entrain.position SET position = '7'`, `DELETE FROM entrain.position`} {
			f := newFeed(t, url)
			f.write(tx())
			pgtest.Exec(t, url, sql)
			wantStop(t, f.w.Write(t.Context(), f.batch()), "fenced")
		}
	})
}

// TestSinkRemovedPosition proves P2 and P5: when the position row is removed under
// a session, nothing is applied twice, and the printed SQL leads back.
func TestSinkRemovedPosition(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		for name, c := range map[string]struct {
			write func(f *feed) error
			want  entrain.Position
		}{
			"tip":  {func(f *feed) error { return f.w.Write(t.Context(), f.batch(tx(ins(o, "2", "b", "1")))) }, position(2)},
			"bulk": {func(f *feed) error { return f.bulkErr(t.Context(), tx(ins(o, "2", "b", "1"))) }, position(1)},
		} {
			pgtest.Exec(t, url, `TRUNCATE orders`)
			f := newFeed(t, url)
			f.write(tx(ins(o, "1", "a", "1")))
			pgtest.Exec(t, url, `DELETE FROM entrain.position`)
			stop := wantStop(t, c.write(f), "fenced")
			wantRows(t, url, `SELECT count(*) FROM orders`, c.want.Offset)
			if !strings.Contains(stop.What, fmt.Sprintf("position %q", c.want.Offset)) {
				t.Errorf("%s: the stop does not say where the target is: %s", name, stop.What)
			}
			pgtest.Exec(t, url, stop.Next)
			if pos := f.open(); pos != c.want {
				t.Errorf("%s: position %v after putting it back, want %v", name, pos, c.want)
			}
			f.w.Close()
			pgtest.Exec(t, url, `DELETE FROM entrain.position`)
		}
	})
}

// TestSinkSession proves P5 and P9: no time-out of the server's ends our sessions,
// and a role that may not connect is told what it lacks.
func TestSinkSession(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		db := rowsOf(t, url, `SELECT current_database()`)
		pgtest.Exec(t, url, `CREATE ROLE `+role+` LOGIN`, `REVOKE CONNECT ON DATABASE `+db+` FROM public`)
		for _, row := range pgtest.Query(t, url, `SELECT name FROM pg_settings WHERE name ~ '_timeout$' AND context = 'user'`) {
			pgtest.Exec(t, url, fmt.Sprintf(`ALTER ROLE %s SET %s = '10s'`, role, row[0]))
		}
		s := testSink(t, strings.Replace(url, "postgres@", role+"@", 1))
		_, err := s.Open(t.Context())
		pgtest.Exec(t, url, wantStop(t, err, "no_connect_right").Next)
		w, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		rows, err := dial.QueryRows(t.Context(), w.(*writer).conn, `SELECT name, setting FROM pg_settings WHERE setting <> '0'
			AND name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout', 'idle_in_transaction_session_timeout')`)
		if err != nil || len(rows) > 0 {
			t.Errorf("time-outs in force: %v, %v", rows, err)
		}
		w.Close()
		pgtest.Exec(t, url, `DROP OWNED BY `+role, `DROP ROLE `+role)
	})
}

// TestSinkClonedTarget proves P5: a copy of the target does not take over, until
// the printed SQL says that it may.
func TestSinkClonedTarget(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		newFeed(t, url).write(tx())
		clone := pgtest.Name(t)
		original := rowsOf(t, url, `SELECT current_database()`)
		other := strings.Replace(url, original, "postgres", 1)
		pgtest.Eventually(t, time.Minute, "the database can be copied", func() bool {
			pgtest.Exec(t, other, fmt.Sprintf(
				`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'`, original))
			return rowsOf(t, other, fmt.Sprintf(`SELECT count(*) FROM pg_stat_activity WHERE datname = '%s'`, original)) == "0"
		})
		pgtest.Exec(t, other, fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s`, clone, original))
		cloneURL := strings.Replace(url, original, clone, 1)
		w, err := testSink(t, cloneURL).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		_, err = w.(entrain.Positioner).Position(t.Context())
		stop := wantStop(t, err, "target_cloned")
		wantRows(t, cloneURL, `SELECT fence FROM entrain.position`, "1")
		_, sql, _ := strings.Cut(stop.Next, ": ")
		pgtest.Exec(t, cloneURL, sql)
		if pos := newFeed(t, cloneURL).w.pos; pos != position(1) {
			t.Fatalf("position in the copy: %v", pos)
		}
	})
}

// TestSinkLeastPrivilege proves P5 and that the printed SQL works: a role that may
// not create the position table gets the statements that do.
func TestSinkLeastPrivilege(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		role := pgtest.Name(t)
		pgtest.Exec(t, url, ordersSQL, `CREATE ROLE "`+role+`" LOGIN`, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
		limited := strings.Replace(url, "postgres@", role+"@", 1)
		o := describe(t, url, "public", "orders")
		open := func() error {
			w, err := testSink(t, limited).Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			_, err = w.(entrain.Positioner).Position(t.Context())
			return err
		}
		pgtest.Exec(t, url, wantStop(t, open(), "position_table").Next)
		f := newFeed(t, limited)
		stop := wantStop(t, f.w.Write(t.Context(), f.batch(tx(ins(o, "1", "a", "1")))), "no_privilege")
		pgtest.Exec(t, url, stop.Next)
		f = newFeed(t, limited)
		f.write(tx(ins(o, "1", "a", "1")), tx(upd(o, "1", "b", "2")))
		stop = wantStop(t, f.w.Write(t.Context(), f.batch(tx(truncate(o)))), "no_privilege")
		if want := `GRANT TRUNCATE ON "public"."orders" TO "` + role + `";`; stop.Next != want {
			t.Errorf("next: %s; want %s", stop.Next, want)
		}
		pgtest.Exec(t, url, stop.Next)
		f = newFeed(t, limited)
		f.write(tx(truncate(o)), tx(ins(o, "2", "a", "1")))
		f.bulk(tx(upd(o, "2", "c", "3")))
		wantRows(t, url, `SELECT * FROM orders`, "2|c|3")
		pgtest.Exec(t, url, `REVOKE ALL ON entrain.position FROM "`+role+`"`)
		stop = wantStop(t, f.w.Write(t.Context(), f.batch(tx(ins(o, "3", "a", "1")))), "no_privilege")
		if !strings.Contains(stop.What, `on "entrain"."position"`) || strings.Contains(stop.Next, "orders") {
			t.Errorf("stop %+v; want the position's table alone", stop)
		}
		pgtest.Exec(t, url, wantStop(t, open(), "position_table").Next)
		newFeed(t, limited).write()
		pgtest.Exec(t, url, `DROP OWNED BY "`+role+`"`, `DROP ROLE "`+role+`"`)
	})
}

// TestSinkTeardown proves that a teardown takes what the sink made and no more.
func TestSinkTeardown(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		s := testSink(t, url)
		if list, err := s.Teardown(t.Context()); err != nil || len(list) != 0 {
			t.Fatalf("before the first use: %v, %v", list, err)
		}
		newFeed(t, url).w.Close()
		other, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "it's \\other"})
		if err != nil {
			t.Fatal(err)
		}
		w, err := other.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.(entrain.Positioner).Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Close()
		remove := func(s *Sink, want int) {
			list, err := s.Teardown(t.Context())
			if err != nil || len(list) != want {
				t.Fatalf("teardown lists %v, %v, want %d", list, err, want)
			}
			for _, r := range list {
				for range 2 {
					if err := r.Do(t.Context()); err != nil {
						t.Fatalf("%s: %v", r.What, err)
					}
				}
			}
		}
		remove(s, 1)
		wantRows(t, url, `SELECT pipeline FROM entrain.position`, `it's \other`)
		remove(other, 2)
		wantRows(t, url, `SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'`, "0")
	})
}

// TestSinkTeardownKeepsSchema: P7. The schema stays where our role could not make
// it again or others have put something into it; the next run finds its place.
func TestSinkTeardownKeepsSchema(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"no right": {before: `CREATE SCHEMA entrain AUTHORIZATION ROLE`},
		"not ours": {before: `CREATE SCHEMA entrain; GRANT USAGE, CREATE ON SCHEMA entrain TO ROLE; GRANT CREATE ON DATABASE DB TO ROLE`},
		"not empty": {before: `GRANT CREATE ON DATABASE DB TO ROLE`,
			after: `CREATE FUNCTION entrain.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'`},
	} {
		t.Run(name, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				role, u := pgtest.Name(t), mustURL(t, url)
				fill := strings.NewReplacer("ROLE", role, "DB", strings.TrimPrefix(u.Path, "/"))
				pgtest.Exec(t, url, "CREATE ROLE "+role+" LOGIN", fill.Replace(c.before))
				u.User = neturl.User(role)
				after := c.after
				for range 2 {
					newFeed(t, u.String()).w.Close()
					pgtest.Exec(t, url, after)
					after = ""
					list, err := testSink(t, u.String()).Teardown(t.Context())
					if err != nil || len(list) != 2 || strings.Contains(list[1].What, "schema entrain") || strings.Contains(list[1].SQL, "SCHEMA") {
						t.Fatalf("teardown lists %v, %v", list, err)
					}
					removeAll(t, list)
					wantRows(t, url, `SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'`, "1")
					wantRows(t, url, `SELECT count(*) FROM pg_class WHERE relnamespace = 'entrain'::regnamespace`, "0")
				}
			})
		})
	}
}

func removeAll(t *testing.T, list []entrain.Removal) {
	t.Helper()
	for _, r := range list {
		if err := r.Do(t.Context()); err != nil {
			t.Fatalf("%s: %v", r.What, err)
		}
	}
}

func mustURL(t *testing.T, text string) *neturl.URL {
	t.Helper()
	u, err := neturl.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestSinkTeardownByHand proves that the SQL of a teardown does the same.
func TestSinkTeardownByHand(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		newFeed(t, url).w.Close()
		list, err := testSink(t, url).Teardown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			pgtest.Exec(t, url, r.SQL)
		}
		wantRows(t, url, `SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'`, "0")
	})
}

// countingConn counts how often the client has sent something.
type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestSinkTipIsOneRoundTrip proves that a small batch costs one message each way
// once its statements are known, and one more answer the first time.
func TestSinkTipIsOneRoundTrip(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		s := testSink(t, url)
		var writes atomic.Int64
		s.conn.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return countingConn{conn, &writes}, err
		}
		w, err := s.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f := &feed{t: t, url: url, w: w.(*writer)}
		defer w.Close()
		if _, err := f.w.Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.write(tx(ins(o, "1", "a", "1")))
		before := writes.Load()
		f.write(tx(ins(o, "2", "a", "1"), upd(o, "1", "~", "2"), rekey(o, "2", "3", "b", "~")), tx(del(o, "1"), ins(o, "4", "c", "4")))
		f.write(tx())
		if n := writes.Load() - before; n != 2 {
			t.Errorf("two small batches were %d messages, want 2", n)
		}
		wantRows(t, url, `SELECT * FROM orders ORDER BY id`, "3|b|1\n4|c|4")
	})
}

// TestSinkLostConnection proves P9: what a new session can mend is marked so, and
// has no effect.
func TestSinkLostConnection(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		f.write(tx(ins(o, "1", "a", "1")))
		pgtest.Exec(t, url, fmt.Sprintf(`SELECT pg_terminate_backend(%d, 5000)`, f.w.conn.PID()))
		err := f.w.Write(t.Context(), f.batch(tx(ins(o, "2", "a", "1"))))
		if !entrain.IsRetryable(err) {
			t.Fatalf("got %v, want a retryable error", err)
		}
		if pos := f.open(); pos != position(1) {
			t.Fatalf("position %v", pos)
		}
	})
}

// TestSinkReadOnlyTarget and deadlocks (CO-03) prove P9: the engine may retry.
func TestSinkReadOnlyTarget(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		paths := map[string]func(f *feed) error{
			"tip":  func(f *feed) error { return f.w.Write(t.Context(), f.batch(tx(ins(o, "1", "a", "1")))) },
			"bulk": func(f *feed) error { return f.bulkErr(t.Context(), tx(ins(o, "1", "a", "1"))) },
		}
		for name, write := range paths {
			f := newFeed(t, url)
			if err := run(t.Context(), f.w.conn, "SET default_transaction_read_only = on"); err != nil {
				t.Fatal(err)
			}
			if err := write(f); !entrain.IsRetryable(dial.Classify(err)) {
				t.Errorf("%s: got %v, want a retryable error", name, err)
			}
		}
	})
}

// TestSinkDeadlock proves P9 for CO-03: the victim is told to retry, nothing of it
// stays.
func TestSinkDeadlock(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2)`,
			`ALTER DATABASE `+rowsOf(t, url, `SELECT current_database()`)+` SET deadlock_timeout = '10ms'`)
		o := describe(t, url, "public", "orders")
		f := newFeed(t, url)
		rival := pgtest.Connect(t, url)
		exec := func(sql string) error {
			_, err := rival.Exec(t.Context(), sql).ReadAll()
			return err
		}
		if err := exec(`SET deadlock_timeout = '1h'; BEGIN; UPDATE orders SET n = 0 WHERE id = 2`); err != nil {
			t.Fatal(err)
		}
		part := &entrain.Batch{Events: numbered(1, 0, tx(upd(o, "1", "x", "1")))}
		if err := f.w.Write(t.Context(), part); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- exec(`UPDATE orders SET n = 0 WHERE id = 1; ROLLBACK`) }()
		waitForLock(t, url, rival)
		err := f.w.Write(t.Context(), &entrain.Batch{Events: numbered(1, 1, tx(upd(o, "2", "x", "2"))), Through: position(1)})
		if !entrain.IsRetryable(err) || dial.SQLState(err) != "40P01" {
			t.Fatalf("got %v, want a retryable deadlock", err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wantRows(t, url, `SELECT * FROM orders ORDER BY id`, "1|a|1\n2|b|2")
	})
}

func waitForLock(t *testing.T, url string, conn *pgconn.PgConn) {
	t.Helper()
	pgtest.Eventually(t, time.Minute, "a session waits for a lock", func() bool {
		return rowsOf(t, url, fmt.Sprintf(`SELECT wait_event_type FROM pg_stat_activity WHERE pid = %d`, conn.PID())) == "Lock"
	})
}
