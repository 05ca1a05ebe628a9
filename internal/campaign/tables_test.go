package campaign

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// lateSQL is a table that comes later, full, with a key of two columns and
// values that are stored apart.
const lateSQL = `
CREATE TABLE late (kind text, no int, body text, n int NOT NULL DEFAULT 0, PRIMARY KEY (kind, no));
ALTER TABLE late ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO late SELECT 'kind ' || i % 7, i, repeat(md5(i::text), CASE WHEN i % 40 = 0 THEN 100 ELSE 1 END) FROM generate_series(1, 9000) i;
ANALYZE late;`

// lateRowsSQL is what both sides have to agree on, besides rowsSQL29.
const lateRowsSQL = `SELECT count(*), coalesce(sum(hashtextextended(x::text, 0)::numeric), 0)::text FROM late x`

// disturb changes the late table, and the key of what it changes, until ctx ends.
func disturb(ctx context.Context, t *testing.T, url string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			no := 1 + (i*7919)%9500
			sql := []string{
				fmt.Sprintf("UPDATE late SET n = n + 1 WHERE no = %d", no),
				fmt.Sprintf("UPDATE late SET kind = 'moved ' || %d WHERE no = %d", i%5, no),
				fmt.Sprintf("DELETE FROM late WHERE no = %d", no),
				fmt.Sprintf("INSERT INTO late VALUES ('new', %d, repeat('n', %d)) ON CONFLICT DO NOTHING", no, 20+i%3*1500),
			}[i%4]
			if _, err := query(context.WithoutCancel(ctx), url, sql); err != nil {
				t.Errorf("%s: %v", sql, err)
				return
			}
			wait(ctx, 5*time.Millisecond)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// tables asks the binary where the tables are.
func (f pipelineFile) tables(t *testing.T) map[string]pipeline.TableStatus {
	t.Helper()
	p, err := start("table", "list", "-o", "json", f.path)
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.code() != exitOK {
		return nil
	}
	var report struct{ Tables []pipeline.TableStatus }
	if err := json.Unmarshal([]byte(p.stdout.String()), &report); err != nil {
		t.Fatalf("%v: %s", err, p.stdout.String())
	}
	all := map[string]pipeline.TableStatus{}
	for _, st := range report.Tables {
		all[st.Table] = st
	}
	return all
}

// order gives an order by the binary.
func (f pipelineFile) order(t *testing.T, verb, table string) {
	t.Helper()
	launch(t, "table", verb, f.path, table).exit(t, exitOK)
}

// killUntilStreaming kills the process again and again while a table is copied, a
// few rows further each time, until it streams.
func killUntilStreaming(t *testing.T, file pipelineFile, table string) (kills int) {
	t.Helper()
	p := launch(t, "run", file.path)
	for round := 0; ; round++ {
		streams := false
		pgtest.Eventually(t, 2*patience, "the next moment to kill at", func() bool {
			if !p.running() {
				t.Fatalf("ended with %d\n%s", p.code(), tail(p.stderr.String(), 4000))
			}
			st, listed := file.tables(t)[table]
			streams = listed && st.State == pipeline.TableStreaming
			return streams || st.Rows > int64(round)*700
		})
		p.kill()
		kills++
		if streams && round > 2 {
			return kills
		}
		p = launch(t, "run", file.path)
	}
}

// TestPG29TablesBesideTheStream proves P1 and P2 for tables that are added,
// resynced, paused and refreshed while 16 writers and one more change them, and
// the process is killed at every few chunks: in the end both sides are equal.
func TestPG29TablesBesideTheStream(t *testing.T) {
	pgtest.AsOwner(t) // to pause a table that others refer to takes the right to leave references unchecked
	for _, major := range newestMajors(t) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { besideTheStream(t, major) })
	}
}

func besideTheStream(t *testing.T, major int) {
	srv := pgtest.Start(t, major, nil)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, source, fullSQL)
	file := writeSnapshotPipeline(t, pgtest.Name(t), fromPostgres(source), strings.Replace(intoPostgres(target), "}", ", create_tables: true}", 1))
	p := launch(t, "run", file.path)
	file.until(t, "it streams", streaming)
	stop := hustle(t, source, 60*time.Millisecond, 29)
	pgtest.Exec(t, source, lateSQL)
	stopLate := disturb(t.Context(), t, source)
	file.order(t, "add", "public.late")
	p.kill()
	kills := killUntilStreaming(t, file, "public.late")

	// The process is down: two writers of the target could block each other.
	pgtest.Exec(t, target, "DELETE FROM late WHERE no % 3 = 0", "UPDATE late SET n = -1 WHERE no % 5 = 0", "INSERT INTO late VALUES ('of nobody', 1, 'x')")
	p = launch(t, "run", file.path)
	file.until(t, "it streams", streaming)
	file.order(t, "resync", "public.late")
	p.kill()
	kills += killUntilStreaming(t, file, "public.late")

	p = launch(t, "run", file.path)
	file.until(t, "it streams", streaming)
	file.order(t, "pause", "public.people")
	file.order(t, "resume", "public.people")
	launch(t, "snapshot", "start", file.path, "--table", "public.late").exit(t, exitOK)
	pgtest.Eventually(t, 2*patience, "all tables stream", func() bool {
		n := 0
		for _, st := range file.tables(t) {
			if st.State == pipeline.TableStreaming {
				n++
			}
		}
		return n == 4
	})
	stop()
	stopLate()
	p.kill()
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	for _, sql := range []string{rowsSQL29, lateRowsSQL} {
		want, err := query(t.Context(), source, sql)
		if err != nil {
			t.Fatal(err)
		}
		got, err := query(t.Context(), target, sql)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("source %v\ntarget %v", want, got)
		}
	}
	if left := pgtest.QueryOne(t, target, "SELECT string_agg(relname, ', ') FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'entrain' AND relkind = 'r'"); left != "position, load" && left != "load, position" {
		t.Errorf("the target keeps %s", left)
	}
	t.Logf("0 lost, 0 duplicated under %d kills and %d writers", kills, writers+1)
}
