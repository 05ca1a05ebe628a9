package campaign

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// A first copy that is cancelled leaves no slot that it made, so that the source keeps no log for it;
// the next run copies all anew, also what was finished. A slot that was there before stays, and the
// next run goes on.
func TestFirstCopyIsCancelled(t *testing.T) {
	for name, slotBefore := range map[string]string{"its own slot": "false", "a slot made by hand": "true"} {
		t.Run(name, func(t *testing.T) {
			srv := pgtest.Start(t, someMajor(t), nil)
			source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
			pgtest.Exec(t, source, itemsSQL, "CREATE TABLE had (id int PRIMARY KEY); INSERT INTO had SELECT generate_series(1, 500)",
				"CREATE TABLE z (id int PRIMARY KEY, n int); INSERT INTO z SELECT i, i FROM generate_series(1, 3000) i")
			pgtest.Exec(t, target, "CREATE TABLE items (id int PRIMARY KEY, n int NOT NULL)", "CREATE TABLE had (id int PRIMARY KEY); INSERT INTO had VALUES (1)",
				"CREATE TABLE z (id int PRIMARY KEY, n int)")
			file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), intoPostgres(target))
			if slotBefore == "true" {
				pgtest.Exec(t, source, "CREATE PUBLICATION entrain_"+file.name+" FOR ALL TABLES", fmt.Sprintf("SELECT pg_create_logical_replication_slot('entrain_%s', 'pgoutput')", file.name))
			}
			blocker := pgtest.Connect(t, target)
			if _, err := blocker.Exec(t.Context(), "BEGIN; LOCK TABLE z IN EXCLUSIVE MODE").ReadAll(); err != nil {
				t.Fatal(err)
			}
			p := launch(t, "run", file.path)
			p.logs(t, `"table copied","table":"public.items"`)
			p.logs(t, `"table copied","table":"public.had"`)
			launch(t, "snapshot", "cancel", "--yes", file.path).exit(t, exitOK)
			p.exit(t, exitEnvironment)
			if text := p.stderr.String(); !strings.Contains(text, "snapshot_cancelled") {
				t.Errorf("it ended with %s", tail(text, 600))
			}
			const slots = "SELECT (count(*) > 0)::text FROM pg_replication_slots WHERE database = current_database()"
			if got := pgtest.QueryOne(t, source, slots); got != slotBefore {
				t.Errorf("is there a slot after the cancelling? %s, want %s", got, slotBefore)
			}
			pgtest.Exec(t, source, "DELETE FROM items WHERE id % 7 = 0", "UPDATE items SET n = -n WHERE id % 5 = 0", "INSERT INTO items VALUES (9000, 1)",
				"INSERT INTO had VALUES (2000)", "DELETE FROM z WHERE id < 100")
			if _, err := blocker.Exec(t.Context(), "COMMIT").ReadAll(); err != nil {
				t.Fatal(err)
			}
			again := launch(t, "run", file.path)
			file.until(t, "it streams", streaming)
			pgtest.Exec(t, source, "UPDATE z SET n = 0 WHERE id % 2 = 0", "DELETE FROM items WHERE id % 11 = 0")
			launch(t, "verify", file.path).exit(t, exitOK)
			again.signal(t, syscall.SIGTERM)
			again.exit(t, exitOK)
			for _, table := range []string{"items", "had", "z"} {
				sql := "SELECT count(*) || ' ' || coalesce(md5(string_agg(x::text, ',' ORDER BY id)), '') FROM " + table + " x"
				if want, got := pgtest.QueryOne(t, source, sql), pgtest.QueryOne(t, target, sql); got != want {
					t.Errorf("%s: %s, want %s", table, got, want)
				}
			}
		})
	}
}

// Of a slot that could not be removed, the next run knows, and removes it before it begins anew. Into a
// file the copy begins where it began at first: no line is there twice.
func TestFirstCopyIsCancelledIntoFile(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	source := pgtest.CreateDatabase(t, srv)
	for i := range 30 {
		pgtest.Exec(t, source, fmt.Sprintf("CREATE TABLE t%d (id int PRIMARY KEY, body text); INSERT INTO t%d SELECT i, repeat('x', 300) FROM generate_series(1, 2000) i", i, i))
	}
	out := filepath.Join(t.TempDir(), "out.jsonl")
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), intoFile(out))
	p := launch(t, "run", file.path)
	p.logs(t, `"table copied"`)
	launch(t, "snapshot", "pause", file.path).exit(t, exitOK)
	slot := "entrain_" + file.name
	release := holdSlot(t, source, slot)
	launch(t, "snapshot", "cancel", "--yes", file.path).exit(t, exitOK)
	p.exit(t, exitEnvironment)
	if text := p.stderr.String(); !strings.Contains(text, "is still at the source") {
		t.Errorf("it ended with %s", tail(text, 600))
	}
	release()
	pgtest.Exec(t, source, "DELETE FROM t0 WHERE id <= 1000", "DELETE FROM t29 WHERE id <= 1000")
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	seen := map[string]int{}
	for line := range strings.Lines(readText(t, out)) {
		var e struct {
			Op, Table string
			After     struct{ ID int }
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Op == "read" {
			seen[fmt.Sprint(e.Table, " ", e.After.ID)]++
		}
	}
	if n := seen["t0 1500"] + seen["t29 1500"] + seen["t15 2"]; n != 3 || len(seen) != 28*2000+2*1000 {
		t.Errorf("%d rows, and %d times three of them", len(seen), n)
	}
}

// holdSlot reads from a slot until release is called.
func holdSlot(t *testing.T, url, slot string) (release func()) {
	t.Helper()
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf("START_REPLICATION SLOT %s LOGICAL 0/0 (proto_version '1', publication_names '%s')", slot, slot)
	conn.Frontend().SendQuery(&pgproto3.Query{String: command})
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	held := func() bool {
		return pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_replication_slots WHERE active AND slot_name = '"+slot+"'") == "1"
	}
	pgtest.Eventually(t, patience, "the slot is held", held)
	return func() {
		conn.Conn().Close()
		pgtest.Eventually(t, patience, "the slot is free", func() bool { return !held() })
	}
}
