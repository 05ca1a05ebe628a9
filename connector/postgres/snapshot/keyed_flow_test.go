package snapshot_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// eachServer runs the test on a server of its own, whose transactions are the
// test's.
func eachServer(t *testing.T, run func(t *testing.T, srv *pgserver.Server)) {
	t.Helper()
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			t.Parallel()
			run(t, pgtest.Start(t, major, map[string]string{"max_prepared_transactions": "10", "autovacuum": "off"}))
		})
	}
}

func do(t testing.TB, conn *pgconn.PgConn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// stream is a reader that is read beside the test.
type stream struct {
	mu     sync.Mutex
	events []entrain.Event
	at     entrain.Position
	err    error
	ack    func(r entrain.Reader, ctx context.Context, p entrain.Position) error
}

// followSource reads from the slot's position on until the test ends, and confirms
// what has come.
func followSource(t *testing.T, src *postgres.Source) *stream {
	t.Helper()
	return followWith(t, src, entrain.Reader.Ack)
}

// followWith is followSource with another way to confirm.
func followWith(t *testing.T, src *postgres.Source, ack func(r entrain.Reader, ctx context.Context, p entrain.Position) error) *stream {
	t.Helper()
	r, err := src.Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{ack: ack}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var reading sync.WaitGroup
	reading.Go(func() { s.read(ctx, r) })
	t.Cleanup(func() {
		stop()
		reading.Wait()
		if s.err != nil && !errors.Is(s.err, context.Canceled) {
			t.Errorf("stream: %v", s.err)
		}
		r.Close()
	})
	return s
}

func (s *stream) read(ctx context.Context, r entrain.Reader) {
	for {
		b, err := r.Read(ctx)
		s.mu.Lock()
		if err == nil {
			s.events = append(s.events, b.Events...) // never freed: the rows stay
			if !b.Through.IsZero() {
				s.at = b.Through
				err = s.ack(r, ctx, b.Through)
			}
		}
		s.err = err
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// state is what has come until now, and the position behind it.
func (s *stream) state() ([]entrain.Event, entrain.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events, s.at
}

// transactions are those of the events that have come, by the first column of the
// rows that they inserted.
func (s *stream) transactions() map[string]*entrain.Transaction {
	events, _ := s.state()
	txs := map[string]*entrain.Transaction{}
	for i := range events {
		if e := &events[i]; e.Op == entrain.OpInsert {
			txs[values(e, e.After, nil)[0]] = e.Tx
		}
	}
	return txs
}

// TestViewOfChunk: algorithms §6. What is open, prepared or rolled back is not in
// a chunk, what is committed is, also if its commit is not written yet; View says
// so of the transactions as the stream names them, whatever subtransactions they
// had.
func TestViewOfChunk(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, "CREATE TABLE t (id text PRIMARY KEY)", "CREATE PUBLICATION pub FOR ALL TABLES")
		src := newSource(t, url)
		log := followSource(t, src)
		open, savepoint, prepared := pgtest.Connect(t, url), pgtest.Connect(t, url), pgtest.Connect(t, url)
		do(t, open, "BEGIN; INSERT INTO t VALUES ('open')")
		do(t, savepoint, "BEGIN; SAVEPOINT a; INSERT INTO t VALUES ('savepoint'); RELEASE a; SAVEPOINT b")
		do(t, prepared, "BEGIN; INSERT INTO t VALUES ('prepared'); PREPARE TRANSACTION 'p'")
		pgtest.Exec(t, url, "INSERT INTO t VALUES ('committed')", "BEGIN; SAVEPOINT a; INSERT INTO t VALUES ('released'); RELEASE a; SAVEPOINT b; INSERT INTO t VALUES ('rolled back'); ROLLBACK TO b; COMMIT",
			"SET synchronous_commit = off; INSERT INTO t VALUES ('asynchronous')", "BEGIN; INSERT INTO t VALUES ('aborted'); ROLLBACK")
		s := chunks(t, src)
		c := readChunk(t, s, entrain.ChunkQuery{Table: chunkTable(t, s, "public.t").Table, Rows: 100})
		in := map[string]bool{}
		for _, row := range c.Rows {
			in[rowTexts(c.Table, row)[0]] = true
		}
		if fmt.Sprint(in) != fmt.Sprint(map[string]bool{"committed": true, "released": true, "asynchronous": true}) {
			t.Fatalf("the chunk has %v", in)
		}
		do(t, open, "COMMIT")
		do(t, savepoint, "COMMIT")
		do(t, prepared, "COMMIT PREPARED 'p'")
		pgtest.Exec(t, url, "INSERT INTO t VALUES ('later')")
		pgtest.Eventually(t, patience, "all has come", func() bool { return len(log.transactions()) == 7 })
		for row, tx := range log.transactions() {
			if c.View.Contains(tx.ID) != in[row] {
				t.Errorf("the view contains %q (%d): %t; %+v", row, tx.ID, !in[row], c.View)
			}
			if (tx.Version <= c.Version) != in[row] {
				t.Errorf("%q has the version %X, the chunk %X", row, tx.Version, c.Version)
			}
		}
	})
}

// TestDecodedNotVisible: algorithms §6.6. With synchronous replication the stream
// has a transaction before others can see it; the view says that it lacks it.
func TestDecodedNotVisible(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, "CREATE TABLE t (id text PRIMARY KEY)", "CREATE PUBLICATION pub FOR ALL TABLES")
		src := newSource(t, url)
		confirm := make(chan struct{})
		log := followWith(t, src, func(r entrain.Reader, ctx context.Context, p entrain.Position) error {
			select {
			case <-confirm:
				return r.Ack(ctx, p)
			default:
				return nil
			}
		})
		pgtest.Exec(t, url, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
		pgtest.Eventually(t, patience, "commits wait", func() bool {
			return pgtest.QueryOne(t, url, "SHOW synchronous_standby_names") == "*"
		})
		waiting := pgtest.Connect(t, url)
		committed := make(chan error, 1)
		go func() {
			_, err := waiting.Exec(t.Context(), "INSERT INTO t VALUES ('waits')").ReadAll()
			committed <- err
		}()
		pgtest.Eventually(t, patience, "the row is decoded", func() bool { return log.transactions()["waits"] != nil })
		s := chunks(t, src)
		q := entrain.ChunkQuery{Table: chunkTable(t, s, "public.t").Table, Rows: 10}
		c := readChunk(t, s, q)
		if len(c.Rows) != 0 || c.View.Contains(log.transactions()["waits"].ID) {
			t.Errorf("the commit is seen: %d rows, %+v", len(c.Rows), c.View)
		}
		close(confirm)
		pgtest.Eventually(t, patience, "the commit has ended", func() bool {
			readChunk(t, s, q) // its heartbeat moves the position
			return len(committed) == 1
		})
		if err := <-committed; err != nil {
			t.Error(err)
		}
		if c := readChunk(t, s, q); len(c.Rows) != 1 || !c.View.Contains(log.transactions()["waits"].ID) {
			t.Errorf("the commit is not seen: %d rows, %+v", len(c.Rows), c.View)
		}
	})
}

// TestViewMeetsStream: P1. While writers write, each row of a chunk is that of a
// transaction which the view contains, and when a chunk is reached the stream has
// brought all of them.
func TestViewMeetsStream(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, "CREATE TABLE t (id text PRIMARY KEY)", "CREATE PUBLICATION pub FOR ALL TABLES")
		src := newSource(t, url)
		log := followSource(t, src)
		ctx, stop := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for n := range 4 {
			writers.Go(func() { insertRows(t, ctx, url, n) })
		}
		s := chunks(t, src)
		table := chunkTable(t, s, "public.t").Table
		var all []*entrain.Chunk
		for range 30 {
			c := readChunk(t, s, entrain.ChunkQuery{Table: table, Rows: 1 << 20})
			all = append(all, c)
			came := map[string]*entrain.Transaction{}
			pgtest.Eventually(t, time.Minute, "the chunk is reached", func() bool {
				_, at := log.state()
				reached := c.Reached(at)
				came = log.transactions() // behind the position
				return reached
			})
			for _, row := range c.Rows {
				if id := rowTexts(table, row)[0]; came[id] == nil {
					t.Errorf("row %s of a chunk that is reached has not come", id)
				}
			}
		}
		stop()
		writers.Wait()
		last := readChunk(t, s, entrain.ChunkQuery{Table: table, Rows: 1 << 20})
		pgtest.Eventually(t, patience, "all has come", func() bool {
			return len(log.transactions()) >= len(last.Rows) // an insert that was cut off may still have been made
		})
		txs, mixed := log.transactions(), 0
		for _, c := range all {
			in := map[string]bool{}
			for _, row := range c.Rows {
				in[rowTexts(table, row)[0]] = true
			}
			for id, tx := range txs {
				if c.View.Contains(tx.ID) != in[id] {
					t.Errorf("row %s is in the chunk: %t; %d, %+v", id, in[id], tx.ID, c.View)
				}
				if in[id] && tx.Version > c.Version {
					t.Errorf("row %s has the version %X, the chunk %X", id, tx.Version, c.Version)
				}
			}
			mixed += len(c.View.Open)
		}
		t.Logf("%d rows, %d transactions were open", len(txs), mixed)
		if mixed == 0 || len(txs) < 100 {
			t.Error("too little happened")
		}
	})
}

func insertRows(t *testing.T, ctx context.Context, url string, n int) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rng := rand.New(rand.NewPCG(uint64(n), 2))
	for i := 0; ctx.Err() == nil; i++ {
		for _, sql := range []string{
			"SET synchronous_commit = " + []string{"on", "off"}[rng.IntN(2)], "BEGIN", fmt.Sprintf("INSERT INTO t VALUES ('%d-%d-a')", n, i),
			"SAVEPOINT s", fmt.Sprintf("INSERT INTO t VALUES ('%d-%d-b')", n, i), []string{"COMMIT", "ROLLBACK TO s; COMMIT", "ROLLBACK"}[rng.IntN(3)],
		} {
			if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
}

// TestSettle: algorithms §6.2. Settle waits for the transactions that were open
// when it was called, prepared ones too, and for none that began since.
func TestSettle(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE DATABASE other", "CREATE PUBLICATION pub FOR ALL TABLES")
		var said strings.Builder
		cfg := sourceConfig(t, url)
		cfg.Log = slog.New(slog.NewTextHandler(&said, nil))
		s := chunks(t, mustSource(t, cfg))
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		old, other, newer := pgtest.Connect(t, url), pgtest.Connect(t, srv.URL("other")), pgtest.Connect(t, url)
		reading, prepared := pgtest.Connect(t, url), pgtest.Connect(t, url)
		do(t, reading, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t")
		do(t, old, "BEGIN; INSERT INTO t VALUES (1)")
		do(t, other, "BEGIN; CREATE TABLE t ()")
		do(t, prepared, "BEGIN; INSERT INTO t VALUES (2); PREPARE TRANSACTION 'p'")
		before := pgtest.QueryOne(t, url, "SELECT pg_snapshot_xmax(pg_current_snapshot())")
		settled := make(chan error, 1)
		go func() { settled <- s.Settle(t.Context()) }()
		pgtest.Eventually(t, patience, "the number is taken", func() bool {
			return pgtest.QueryOne(t, url, "SELECT pg_snapshot_xmax(pg_current_snapshot())") != before
		})
		do(t, newer, "BEGIN; INSERT INTO t VALUES (3)")
		for _, end := range []struct {
			conn *pgconn.PgConn
			sql  string
		}{{old, "COMMIT"}, {other, "ROLLBACK"}, {prepared, "COMMIT PREPARED 'p'"}} {
			select {
			case err := <-settled:
				t.Fatalf("it settled before %s: %v", end.sql, err)
			case <-time.After(700 * time.Millisecond):
			}
			if end.conn == prepared {
				<-time.After(3 * time.Second) // until it is said
			}
			do(t, end.conn, end.sql)
		}
		select {
		case err := <-settled:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("it did not settle")
		}
		if want := `prepared transaction \"p\"`; !strings.Contains(said.String(), "waits for open transactions") || !strings.Contains(said.String(), want) {
			t.Errorf("not said: %s", said.String())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("settle beside an open transaction: %v", err)
		}
	})
}

// TestReachedWhenIdle: a source where nothing happens moves its stream to the end
// of a chunk, also just behind the header of a page of the log.
func TestReachedWhenIdle(t *testing.T) {
	eachServer(t, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)", "CREATE PUBLICATION pub FOR ALL TABLES")
		src := newSource(t, url)
		log := followSource(t, src)
		s := chunks(t, src)
		table := chunkTable(t, s, "public.t").Table
		for n := range 4 {
			if n > 1 {
				pgtest.Exec(t, url, "SELECT pg_switch_wal()")
			}
			c := readChunk(t, s, entrain.ChunkQuery{Table: table, Rows: 10})
			if c.Reached(entrain.Position{}) || c.Reached(entrain.Position{Offset: "x"}) || c.Reached(entrain.Position{Offset: "0/1@1"}) {
				t.Error("reached by what is no position, or one of before")
			}
			if at := (c.Version + 1) % (16 << 20); n > 1 && at != 0 {
				t.Errorf("behind the header of a segment %X bytes are waited for", at)
			}
			pgtest.Eventually(t, time.Minute, "the chunk is reached", func() bool {
				_, at := log.state()
				return c.Reached(at)
			})
		}
	})
}

// TestChunksOnStandby: algorithms §6.1. A standby's views do not say what is open,
// so that no chunks are read there.
func TestChunksOnStandby(t *testing.T) {
	major := pgtest.Majors(t)[0]
	primary := pgtest.Start(t, major, nil)
	pgtest.Exec(t, primary.URL("postgres"), "CREATE TABLE t (id int PRIMARY KEY)", "CREATE PUBLICATION pub FOR ALL TABLES")
	standby := pgtest.Standby(t, primary, nil)
	open := pgtest.Connect(t, primary.URL("postgres"))
	do(t, open, "BEGIN; INSERT INTO t VALUES (1)")
	pgtest.Exec(t, primary.URL("postgres"), "INSERT INTO t VALUES (2)")
	pgtest.Eventually(t, patience, "the standby has the row", func() bool {
		return pgtest.QueryOne(t, standby.URL("postgres"), "SELECT count(*) FROM t") == "1"
	})
	if got := pgtest.QueryOne(t, standby.URL("postgres"), "SELECT count(*) FROM pg_snapshot_xip(pg_current_snapshot())"); got != "0" {
		t.Errorf("a standby shows %s open transactions: it could do better than it does", got)
	}
	cfg := sourceConfig(t, standby.URL("postgres"))
	cfg.URL = connector.Secret(standby.URL("postgres"))
	_, err := mustSource(t, cfg).Chunks(t.Context())
	expectStop(t, err, "chunks_on_standby")
}
