package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const verified2 = `
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
sink: {type: postgres, url: "${SINK_URL}"}
state: {dir: DIR/state}
`

// fed is a source and the target that a pipeline feeds.
type fed struct {
	t              *testing.T
	source, target string
	file           string
	env            map[string]string
	running        *process
}

// onBoth runs the test on each version, with the tables made at both ends.
func onBoth(t *testing.T, schema []string, test func(f *fed)) {
	for _, major := range pgtest.Majors(t) {
		t.Run("pg"+strconv.Itoa(major), func(t *testing.T) {
			srv := pgtest.Shared(t, major)
			f := &fed{t: t, source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), file: writeFile(t, verified2)}
			pgtest.Exec(t, f.source, schema...)
			pgtest.Exec(t, f.target, schema...)
			f.env = map[string]string{"SOURCE_URL": pgtest.SourceURL(f.source), "SINK_URL": pgtest.TargetURL(f.target)}
			test(f)
		})
	}
}

// copying has the file copy existing rows, too.
func (f *fed) copying() {
	f.t.Helper()
	text := readText(f.t, f.file)
	if err := os.WriteFile(f.file, []byte(strings.Replace(text, "mode: never", "mode: initial", 1)), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// run starts the pipeline and waits until it streams.
func (f *fed) run() {
	f.t.Helper()
	f.running = launchIn(f.t, "", []string{"SOURCE_URL=" + f.env["SOURCE_URL"], "SINK_URL=" + f.env["SINK_URL"]}, "run", f.file)
	f.running.until(f.t, f.file, "streaming", streams)
}

// arrive waits until the target has what a query returns at the source.
func (f *fed) arrive(sql string) {
	f.t.Helper()
	want := pgtest.QueryOne(f.t, f.source, sql)
	pgtest.Eventually(f.t, patience, sql+" is "+want, func() bool { return pgtest.QueryOne(f.t, f.target, sql) == want })
}

func (f *fed) verify(args ...string) outcome {
	f.t.Helper()
	return invoke(f.t, f.env, append([]string{"verify", f.file}, args...)...)
}

// wantDifferences verifies and compares what is printed about each key.
func (f *fed) wantDifferences(table string, want ...string) {
	f.t.Helper()
	got := f.verify("-o", "json", "--table", table)
	got.want(f.t, exitDiffer, "differ")
	var view verifyView
	if err := json.Unmarshal([]byte(got.stdout), &view); err != nil {
		f.t.Fatalf("%v\n%s", err, got.stdout)
	}
	left := map[string]bool{}
	for _, k := range view.Tables[0].Keys {
		left[k.What+" "+k.Key] = true
	}
	for _, w := range want {
		if !left[w] {
			f.t.Errorf("%s: %s was not found", table, w)
		}
		delete(left, w)
	}
	if len(left) > 0 {
		f.t.Errorf("%s: found wrongly: %v in\n%s", table, left, got.stdout)
	}
}

const keyedSQL = `CREATE TABLE keyed (id int8 PRIMARY KEY, note text, n numeric)`

func TestVerifyFindsWhatWasPlanted(t *testing.T) {
	onBoth(t, []string{keyedSQL}, func(f *fed) {
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO keyed SELECT i, 'note ' || i, i / 7.0 FROM generate_series(1, 5000) i`)
		f.arrive("SELECT count(*) FROM keyed")
		got := f.verify()
		got.want(f.t, exitOK)
		if !strings.Contains(got.stdout, "public.keyed") || !strings.Contains(got.stdout, "5000 rows, equal") {
			f.t.Errorf("output\n%s", got.stdout)
		}
		pgtest.Exec(f.t, f.target, "DELETE FROM keyed WHERE id = 17", "INSERT INTO keyed VALUES (70000, 'x', 1)",
			"UPDATE keyed SET note = 'other' WHERE id = 4000", "UPDATE keyed SET note = NULL WHERE id = 4001", "UPDATE keyed SET n = n + 0.1 WHERE id = 4002")
		f.wantDifferences("public.keyed", "missing (17)", "extra (70000)", "different (4000)", "different (4001)", "different (4002)")
	})
}

// Tables that are paused, or whose rows are not all there yet, are named and not
// called different, whether the pipeline runs or not; what flows is compared.
func TestVerifyNamesTablesThatDoNotFlow(t *testing.T) {
	onBoth(t, []string{keyedSQL, `CREATE TABLE other (id int8 PRIMARY KEY)`}, func(f *fed) {
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO other VALUES (1)`)
		f.arrive("SELECT count(*) FROM other")
		invoke(f.t, f.env, "table", "pause", f.file, "public.keyed").want(f.t, exitOK)
		pgtest.Exec(f.t, f.source, `INSERT INTO keyed VALUES (1)`, `INSERT INTO other VALUES (2)`)
		f.arrive("SELECT count(*) FROM other")
		for _, how := range []string{"it runs", "it does not run"} {
			got := f.verify()
			got.want(f.t, exitEnvironment, "1 table could not be compared; what to type for tables that do not flow: entrain table list "+f.file)
			if !strings.Contains(got.stdout, "public.keyed  not compared: paused\n") || !strings.Contains(got.stdout, "public.other  2 rows, equal\n") {
				f.t.Errorf("while %s:\n%s", how, got.stdout)
			}
			if how == "it runs" {
				pgtest.Exec(f.t, f.target, `INSERT INTO other VALUES (3)`)
				f.verify().want(f.t, exitDiffer, "differ")
				pgtest.Exec(f.t, f.target, `DELETE FROM other WHERE id = 3`)
				f.running.signal(f.t, syscall.SIGTERM)
				f.running.exit(f.t, exitOK)
			}
		}
		f.run()
		invoke(f.t, f.env, "table", "resume", f.file, "public.keyed").want(f.t, exitOK)
		f.arrive("SELECT count(*) FROM keyed")
		pgtest.Eventually(f.t, patience, "all tables are equal", func() bool { return f.verify().code == exitOK })
	})
}

// A load of all kinds of changes, keys that come and go and rows that change all
// the time: no false alarm, however often it is asked.
func TestVerifyUnderLoad(t *testing.T) {
	onBoth(t, []string{keyedSQL, `CREATE TABLE hot (id int PRIMARY KEY, n int8)`,
		`CREATE TABLE heap (v int, w text)`, `ALTER TABLE heap REPLICA IDENTITY FULL`}, func(f *fed) {
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO keyed SELECT i, 'note ' || i, i / 7.0 FROM generate_series(1, 20000) i`,
			`INSERT INTO hot SELECT i, 0 FROM generate_series(1, 5) i`)
		stop := f.load(3)
		rounds := 0
		for range 3 {
			got := f.verify("--log-level", "debug")
			got.want(f.t, exitOK)
			rounds += strings.Count(got.stderr, "looking at keys")
			if n := strings.Count(got.stdout, "equal"); n != 3 || f.t.Failed() {
				f.t.Fatalf("output\n%s", got.stdout)
			}
		}
		if rounds == 0 {
			f.t.Error("nothing was in flight: nothing was tested")
		}
		pgtest.Exec(f.t, f.target, "INSERT INTO keyed VALUES (-1, 'planted', 0)", "UPDATE keyed SET note = 'planted' WHERE id = 20000")
		f.wantDifferences("public.keyed", "extra (-1)", "different (20000)")
		pgtest.Exec(f.t, f.target, "DELETE FROM keyed WHERE id = -1", "UPDATE keyed SET note = 'note 20000' WHERE id = 20000")
		stop()
		f.verify().want(f.t, exitOK)
	})
}

// load writes at the source until the function that it returns is called.
func (f *fed) load(sessions int) (stop func()) {
	ended := make(chan struct{})
	var wg sync.WaitGroup
	for i := range sessions {
		conn := pgtest.Connect(f.t, f.source)
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() { f.write(conn, rng, ended) })
	}
	return func() {
		close(ended)
		wg.Wait()
	}
}

func (f *fed) write(conn *pgconn.PgConn, r *rand.Rand, ended <-chan struct{}) {
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		id := r.IntN(19970)
		sql := [...]string{
			fmt.Sprintf("UPDATE keyed SET n = n + 1 WHERE id = %d", id),
			fmt.Sprintf("DELETE FROM keyed WHERE id BETWEEN %d AND %d", id, id+20),
			fmt.Sprintf("INSERT INTO keyed SELECT i, 'again', 0 FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", id, id+20),
			fmt.Sprintf("UPDATE hot SET n = n %% 2 + 1 WHERE id = %d", 1+r.IntN(5)),
			"BEGIN; DELETE FROM hot WHERE id = 5; COMMIT; INSERT INTO hot VALUES (5, 1) ON CONFLICT DO NOTHING",
			fmt.Sprintf("INSERT INTO heap VALUES (%d, 'w')", id%5),
			fmt.Sprintf("DELETE FROM heap WHERE ctid IN (SELECT ctid FROM heap WHERE v = %d LIMIT 2)", id%5),
		}[r.IntN(7)]
		if _, err := conn.Exec(f.t.Context(), sql).ReadAll(); err != nil {
			f.t.Errorf("%s: %v", sql, err)
			return
		}
	}
}
