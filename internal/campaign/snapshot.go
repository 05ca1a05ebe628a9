package campaign

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// Tables that are full when the pipeline begins: one with a key, one with a key
// of two columns, large values and a reference, one without a key.
const (
	fullSQL = `
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, n int NOT NULL DEFAULT 0);
CREATE TABLE parts (person int REFERENCES people ON DELETE CASCADE, no int, body text, n int NOT NULL DEFAULT 0, PRIMARY KEY (person, no));
CREATE TABLE notes (person int, note text, n int NOT NULL DEFAULT 0);
ALTER TABLE notes REPLICA IDENTITY FULL;
INSERT INTO people SELECT i, 'person ' || i FROM generate_series(1, 6000) i;
INSERT INTO parts SELECT i, 1, (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, CASE WHEN i % 50 = 0 THEN 120 ELSE 2 END)) FROM generate_series(1, 6000) i;
INSERT INTO notes SELECT i, 'note ' || i FROM generate_series(1, 3000) i;
ANALYZE;`

	// rowsSQL29 is what both sides have to agree on.
	rowsSQL29 = `SELECT 'people', count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0)::text FROM people x
UNION ALL SELECT 'parts', count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0)::text FROM parts x
UNION ALL SELECT 'notes', count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0)::text FROM notes x ORDER BY 1`

	writers = 16
)

// write29 makes one random transaction.
func write29(ctx context.Context, conn *pgconn.PgConn, rng *rand.Rand) error {
	id := 1 + rng.IntN(6500)
	statements := []string{
		fmt.Sprintf("UPDATE people SET n = n + 1 WHERE id = %d", id),
		fmt.Sprintf("UPDATE parts SET n = n + 1 WHERE person = %d", id),
		fmt.Sprintf("UPDATE notes SET n = n + 1 WHERE person = %d", id),
		fmt.Sprintf("DELETE FROM people WHERE id = %d", id),
		fmt.Sprintf("INSERT INTO people VALUES (%d, 'new') ON CONFLICT DO NOTHING; INSERT INTO parts SELECT id, 1, repeat('x', 3000) FROM people WHERE id = %d ON CONFLICT DO NOTHING", id, id),
		fmt.Sprintf("UPDATE parts SET no = no + 1 WHERE person = %d", id),
		fmt.Sprintf("INSERT INTO notes VALUES (%d, 'more'); DELETE FROM notes WHERE person = %d", id, 1+rng.IntN(6500)),
	}
	sql := "BEGIN"
	for range 1 + rng.IntN(3) {
		sql += ";" + statements[rng.IntN(len(statements))]
	}
	_, err := conn.Exec(ctx, sql+";COMMIT").ReadAll()
	return err
}

// hustle has 16 writers at work, with a pause after each transaction, until the function
// that it returns is called, which tells how many transactions were committed. Deadlocks
// and duplicate keys between them are their own business.
func hustle(t testing.TB, url string, pause time.Duration, seed uint64) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var committed atomic.Int64
	for i := range writers {
		wg.Go(func() {
			conn, err := pgconn.Connect(ctx, url)
			if err != nil {
				t.Errorf("writer: %v", err)
				return
			}
			defer conn.Close(context.WithoutCancel(ctx))
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				if write29(context.WithoutCancel(ctx), conn, rng) == nil {
					committed.Add(1)
				} else {
					_, _ = conn.Exec(context.WithoutCancel(ctx), "ROLLBACK").ReadAll()
				}
				wait(ctx, pause)
			}
		})
	}
	return func() int64 {
		cancel()
		wg.Wait()
		return committed.Load()
	}
}

// stored is how many parts of tables are stored, 0 before anything is copied.
func stored(r admin.Report) int {
	n := 0
	if r.Status.Snapshot != nil {
		for _, t := range r.Status.Snapshot.Tables {
			n += t.Parts
		}
	}
	return n
}

// copyCampaign copies existing rows again and again, into a new target each time,
// until the program was killed as often as the trial says, behind each part of a table.
func copyCampaign(t testing.TB, r *Trial) {
	table := [][]string{{"copy", "kills", "rows at first", "transactions committed meanwhile", "rows and sum of hashes, equal at both sides"}}
	var all copied
	for all.kills < r.Faults && !t.Failed() {
		within(t, fmt.Sprintf("behind %d kills", all.kills), func(t testing.TB) {
			c := copiedUnderKills(t, r, 1, r.Seed+uint64(len(table)))
			if t.Failed() {
				return // nothing is to be said of it
			}
			table = append(table, []string{fmt.Sprint(len(table)), fmt.Sprint(c.kills), c.first, fmt.Sprint(c.committed), c.rows})
			all.kills, all.committed, all.first = all.kills+c.kills, all.committed+c.committed, c.first
		})
	}
	if r.enough(t); t.Failed() {
		return
	}
	r.claims(t, fmt.Sprintf("%d copies of %s rows each under %d kills, while %d writers committed %d transactions that changed what was copied: the same rows at both sides each time",
		len(table)-1, all.first, all.kills, writers, all.committed), table)
}

// copied is what became of a copy.
type copied struct {
	kills     int
	first     string // how many rows there were as it began
	committed int64  // transactions of the writers
	rows      string // what both sides have at the end
}

// copiedUnderKills proves P1 and P2 for the copying of existing rows: 16 writers
// change and delete what is being copied, the process is killed once after every few
// parts, in both the copy and the hand-over, and in the end both sides are equal. seed is
// where the choices of the writers come from.
func copiedUnderKills(t testing.TB, r *Trial, step int, seed uint64) (c copied) {
	srv := pgtest.Start(t, r.Major, nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, fullSQL)
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), strings.Replace(intoPostgres(target), "}", ", create_tables: true}", 1))
	c.first = pgtest.QueryOne(t, source, "SELECT (SELECT count(*) FROM people) + (SELECT count(*) FROM parts) + (SELECT count(*) FROM notes)")
	stop := hustle(t, source, 3*time.Millisecond, seed)
	c.kills = killAfter(t, file, step, r.happened)
	if c.committed = stop(); c.committed < leastCommits {
		t.Errorf("only %d transactions were committed meanwhile", c.committed)
	}
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	want, err := query(t.Context(), source, rowsSQL29)
	if err != nil {
		t.Fatal(err)
	}
	got, err := query(t.Context(), target, rowsSQL29)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("source %v\ntarget %v", want, got)
	}
	if left := pgtest.QueryOne(t, target, "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'entrain' AND relname LIKE 'stage%'"); left != "0" {
		t.Errorf("%s stage tables are left", left)
	}
	if slots := pgtest.QueryOne(t, source, "SELECT count(*) FROM pg_replication_slots WHERE temporary"); slots != "0" {
		t.Errorf("%s temporary slots are left", slots)
	}
	t.Logf("after %d kills, while %d writers committed %d transactions: %v", c.kills, writers, c.committed, want)
	for _, table := range want {
		c.rows += strings.Join(table, " ") + "; "
	}
	c.rows = strings.TrimSuffix(c.rows, "; ")
	return c
}

// leastCommits is how many transactions have to be committed while a copy is made.
const leastCommits = 100

// stepOfTests is how many parts there are between two kills in tests.
func stepOfTests() int {
	if wide() {
		return 1
	}
	return 12
}

// killAfter starts the pipeline again and again and kills it, some parts of tables
// later each time, until it streams; then twice more. Each kill is noted by happened.
func killAfter(t testing.TB, file pipelineFile, step int, happened func(kind string)) (kills int) {
	t.Helper()
	for round := 0; ; round++ {
		p := launch(t, "run", file.path)
		streams := false
		pgtest.Eventually(t, 2*patience, "the next moment to kill at", func() bool {
			if !p.running() {
				t.Fatalf("ended with %d\n%s", p.code(), tail(p.stderr.String(), 4000))
			}
			report, err := admin.Ask(t.Context(), file.state())
			if err != nil {
				return false
			}
			streams = streaming(report)
			return streams || stored(report) > step*round
		})
		p.kill()
		happened("SIGKILL of the program in a copy")
		kills++
		if streams && round > 2 {
			return kills
		}
	}
}

// writeSnapshotPipeline writes a pipeline file that copies existing rows, in
// many small parts.
func writeSnapshotPipeline(t testing.TB, name, source, sink string) pipelineFile {
	t.Helper()
	return writeSections(t, name, "source: "+source, "snapshot: {mode: initial, parallel: 3, chunk_rows: 400}", "sink: "+sink)
}

// wantFolded compares what the lines make with the source's rows.
func wantFolded(t testing.TB, source, text string) {
	t.Helper()
	rows := fold(t, text)
	for _, table := range []string{"people", "notes"} {
		want, err := query(t.Context(), source, "SELECT to_json(x)::jsonb::text FROM "+table+" x ORDER BY 1")
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, row := range want {
			lines = append(lines, canonical(t, row[0]))
		}
		slices.Sort(lines)
		if got := slices.Sorted(maps.Keys(rows[table])); table == "people" && !slices.Equal(got, lines) {
			t.Errorf("%s: %d rows in the lines, %d at the source", table, len(got), len(lines))
		}
		n := 0
		for _, times := range rows[table] {
			n += times
		}
		if n != len(lines) {
			t.Errorf("%s: the lines make %d rows, the source has %d", table, n, len(lines))
		}
	}
}

// canonical writes JSON with its members in order.
func canonical(t testing.TB, text string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %.200s", err, text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// fold makes the changes of native lines one after the other: how many times
// each table has a row.
func fold(t testing.TB, text string) map[string]map[string]int {
	t.Helper()
	rows := map[string]map[string]int{}
	byKey := map[string]string{} // of people: the row of an id
	for line := range strings.Lines(text) {
		var e struct {
			Op, Table     string
			Before, After json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %.200s", err, line)
		}
		if rows[e.Table] == nil {
			rows[e.Table] = map[string]int{}
		}
		old, image := "", string(e.After)
		if len(e.Before) > 0 {
			old = canonical(t, string(e.Before))
		}
		if e.Table == "people" && e.Op != "read_end" {
			var key struct{ ID int }
			for _, part := range []json.RawMessage{e.Before, e.After} {
				_ = json.Unmarshal(part, &key) // the latter is the one that counts
			}
			id := fmt.Sprint(key.ID)
			if old = byKey[id]; old != "" && (e.Op == "read" || e.Op == "insert") {
				t.Fatalf("people has id %s already: %.200s", id, line)
			}
			byKey[id] = ""
			if image != "" {
				byKey[id] = canonical(t, image)
			}
		}
		if e.Table == "parts" || e.Op == "read_end" {
			continue
		}
		if old != "" {
			if rows[e.Table][old]--; rows[e.Table][old] == 0 {
				delete(rows[e.Table], old)
			}
		}
		if image != "" {
			rows[e.Table][canonical(t, image)]++
		}
	}
	return rows
}
