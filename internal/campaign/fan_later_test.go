package campaign

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestFanLaterSink: a sink that comes when the stream's beginning is gone stops by name
// and alone; with the command that the stop says it begins with the rows of all
// tables, while writers change them and the process is killed, and in the end has
// everything (ST-09; P1, P2, P5).
func TestFanLaterSink(t *testing.T) {
	t.Parallel()
	f := smallFan(t, "snapshot: {mode: initial, chunk_rows: 400}", embedded(""))
	pgtest.Exec(t, f.source, lateSQL, "CREATE TABLE part (id bigserial PRIMARY KEY, of bigint NOT NULL REFERENCES orders)", "CREATE TABLE none (id int PRIMARY KEY)")
	back := f.without(t, "two")
	p := launch(t, "run", f.file.path)
	f.file.until(t, "streaming", streaming)
	n := f.flood(t, 0, 2)
	pgtest.Exec(t, f.source, "INSERT INTO part (of) SELECT id FROM orders")
	haveOrders(t, f.one, n)
	wait(t.Context(), 8*time.Second) // until the stream has removed what was read
	back()
	stop := disturb(t.Context(), t, f.source)
	p.signal(t, syscall.SIGHUP)
	failed := f.failing(t, "two", "stream_overrun")
	n = f.flood(t, n, 1)
	haveOrders(t, f.one, n)
	_, advice, _ := strings.Cut(failed.Failed, "; next: ")
	command, _, _ := strings.Cut(advice, "#")
	launch(t, "snapshot", "start", f.file.path, "--sink", "nobody").exit(t, exitRuntime)
	launch(t, strings.Fields(command)[1:]...).exit(t, exitOK)
	kills := 2
	if wide() {
		kills = 20
	}
	for range kills {
		p.kill()
		p = launch(t, "run", f.file.path)
		f.file.until(t, "streaming", streaming)
		pgtest.Exec(t, f.source, "INSERT INTO part (of) SELECT id FROM orders LIMIT 100", "DELETE FROM part WHERE id IN (SELECT id FROM part ORDER BY random() LIMIT 50)")
		wait(t.Context(), 700*time.Millisecond)
	}
	pgtest.Eventually(t, patience, "all rows were delivered once more", func() bool {
		tables := f.file.tables(t)
		for _, st := range tables {
			if st.State != pipeline.TableStreaming {
				return false
			}
		}
		return len(tables) == 4
	})
	stop()
	haveOrders(t, f.two, n)
	f.file.until(t, "sink two works", func(r admin.Report) bool {
		two, _ := delivery(r, "two")
		return two.Failed == "" && two.Status.Waiting == "source"
	})
	f.sameEverywhere(t)
	for _, name := range []string{"one", "two"} {
		launch(t, "verify", f.file.path, "--sink", name).exit(t, exitOK)
	}
	if p.stderr.has("delivery stopped") {
		t.Errorf("it says %s", tail(p.stderr.String(), 2000))
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
}

// sameEverywhere compares all tables of the source with both databases, once they are
// there.
func (f *fan) sameEverywhere(t *testing.T) {
	t.Helper()
	for _, table := range []string{"orders", "part", "late", "none"} {
		sql := fmt.Sprintf("SELECT count(*) || ' ' || coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) FROM %s x", table)
		want := pgtest.QueryOne(t, f.source, sql)
		for name, url := range map[string]string{"one": f.one, "two": f.two} {
			pgtest.Eventually(t, patience, table+" is the same at sink "+name, func() bool { return pgtest.QueryOne(t, url, sql) == want })
		}
	}
}

// TestFanPositionLost: a sink of several whose database was made anew stops by name,
// and what the stop says fills it again; the others and the source stay as they are
// (P1, P5).
func TestFanPositionLost(t *testing.T) {
	t.Parallel()
	f := smallFan(t, embedded(""))
	p := startFan(t, f)
	addOrders(t, f.source, 2, 100)
	haveOrders(t, f.two, 100)
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	pgtest.Exec(t, f.two, "DELETE FROM entrain.position", "DELETE FROM orders WHERE id % 2 = 0")
	launch(t, "run", f.file.path)
	stop := f.failing(t, "two", "position_lost")
	_, next, _ := strings.Cut(stop.Failed, "; next: ")
	empty, commands, found := strings.Cut(next, "; ")
	if !found || !strings.HasPrefix(empty, "empty the tables") {
		t.Fatalf("the advice is %s", next)
	}
	pgtest.Exec(t, f.two, "TRUNCATE orders")
	for _, command := range strings.Split(commands, "; ") {
		words := strings.Fields(command)
		if words[0] == "mv" {
			if err := os.Rename(words[1], words[2]); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for i, w := range words {
			if w == "FILE" {
				words[i] = f.file.path
			}
		}
		launch(t, words[1:]...).exitWithin(t, 2*patience, exitOK)
	}
	addOrders(t, f.source, 101, 200)
	haveOrders(t, f.one, 200)
	haveOrders(t, f.two, 200)
	f.same(t, f.one)
	f.same(t, f.two)
}
