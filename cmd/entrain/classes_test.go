package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// inClasses is a pipeline of three tables into a database, each in a class.
const inClasses = `
name: shop
source: {type: postgres, url: "${SOURCE_URL}", create: true}
sink: {type: postgres, url: "${TARGET_URL}", create_tables: true}
state: {dir: DIR/state}
`

// classRules are its classes: the tables hot, warm and cold.
func classRules(every, cron string) string {
	return fmt.Sprintf(`
classes:
  - {tables: [public.warm], class: micro_batch, every: %s}
  - {tables: [public.cold], class: batch, name: night, cron: "%s"}
`, every, cron)
}

// never is a schedule that no test lives to see.
const never = "0 0 29 2 *"

// classed makes both databases, and what the program needs of them.
func classed(t *testing.T) (url, target string, env []string) {
	t.Helper()
	server := pgtest.Shared(t, 15)
	url, target = pgtest.CreateDatabase(t, server), pgtest.CreateDatabase(t, server)
	for _, table := range []string{"hot", "warm", "cold"} {
		pgtest.Exec(t, url, "CREATE TABLE "+table+" (id bigint PRIMARY KEY, note text)")
	}
	return url, target, []string{"SOURCE_URL=" + pgtest.SourceURL(url), "TARGET_URL=" + pgtest.TargetURL(target)}
}

// put writes rows into tables, in one transaction.
func put(t *testing.T, url string, ids [2]int, tables ...string) {
	t.Helper()
	var sql []string
	for _, table := range tables {
		sql = append(sql, fmt.Sprintf("INSERT INTO %s SELECT i, repeat('x', 100) FROM generate_series(%d, %d) i", table, ids[0], ids[1]))
	}
	pgtest.Exec(t, url, "BEGIN; "+strings.Join(sql, "; ")+"; COMMIT")
}

// count is how many rows a table has; none if there is no table.
func count(t *testing.T, url, table string) string {
	t.Helper()
	if pgtest.QueryOne(t, url, "SELECT (to_regclass('"+table+"') IS NULL)::text") == "true" {
		return "none"
	}
	return pgtest.QueryOne(t, url, "SELECT count(*) FROM "+table)
}

// has waits until a table has so many rows.
func has(t *testing.T, url, table string, n int) {
	t.Helper()
	pgtest.Eventually(t, patience, fmt.Sprintf("%d rows in %s", n, table), func() bool { return count(t, url, table) == fmt.Sprint(n) })
}

func equalTables(t *testing.T, url, target string, tables ...string) {
	t.Helper()
	for _, table := range tables {
		sql := "SELECT count(*) || ' ' || coalesce(md5(string_agg(x::text, ',' ORDER BY id)), '') FROM " + table + " x"
		if got, want := pgtest.QueryOne(t, target, sql), pgtest.QueryOne(t, url, sql); got != want {
			t.Errorf("%s: %s at the target; %s at the source", table, got, want)
		}
	}
}

// anywhere is enough for commands that only talk to the process.
var anywhere = map[string]string{"SOURCE_URL": anySource["SOURCE_URL"], "TARGET_URL": anySource["SOURCE_URL"]}

// rests reports that a delivery waits for its window.
func rests(name string) func(admin.Report) bool {
	return func(r admin.Report) bool {
		for _, s := range r.Sinks {
			if s.Name == name {
				return s.Window != nil
			}
		}
		return false
	}
}

// TestClasses: the table that streams is not late while the others wait; what waits
// comes when it is flushed, and all of it with --until, whatever the window.
func TestClasses(t *testing.T) {
	url, target, env := classed(t)
	put(t, url, [2]int{1, 10}, "hot", "warm", "cold")
	file := writeFile(t, inClasses+classRules("1h", never))
	p := launchIn(t, "", env, "run", file)
	has(t, target, "hot", 10)
	p.until(t, file, "the batch waits", rests("sink.night"))
	put(t, url, [2]int{11, 20}, "cold", "hot", "warm")
	has(t, target, "hot", 20)
	if got := count(t, target, "cold"); got != "none" {
		t.Errorf("the batch did not wait: %s", got)
	}
	status := invoke(t, anywhere, "status", file)
	status.want(t, exitOK)
	if !strings.Contains(status.stdout, "sink sink.night") || !strings.Contains(status.stdout, "waits for its window") || !strings.Contains(status.stdout, "sink sink.micro_batch") {
		t.Errorf("status: %s", status.stdout)
	}
	invoke(t, anywhere, "sink", "flush", file, "sink.night").want(t, exitOK)
	if got := count(t, target, "cold"); got != "20" {
		t.Errorf("flushed: %s rows", got)
	}
	if got := count(t, target, "warm"); got == "20" {
		t.Errorf("the small window did not wait: %s rows", got)
	}
	invoke(t, anywhere, "sink", "flush", file, "sink").want(t, exitOK)
	if got := count(t, target, "warm"); got != "20" {
		t.Errorf("flushed: %s rows", got)
	}
	invoke(t, anywhere, "sink", "flush", file, "sink.stream").want(t, exitRuntime, "waits for a window")
	p.until(t, file, "the batch waits", rests("sink.night"))
	put(t, url, [2]int{21, 30}, "hot", "warm", "cold")
	has(t, target, "hot", 30)
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	if cold, warm := count(t, target, "cold"), count(t, target, "warm"); cold != "20" || warm != "20" {
		t.Errorf("a signal did not end at once: %s and %s rows", cold, warm)
	}
	q := launchIn(t, "", env, "run", "--until", "now", file)
	q.exit(t, exitOK)
	equalTables(t, url, target, "hot", "warm", "cold")
}

// TestClassWindows: small windows come by themselves, by time and by rows, and a
// schedule's do.
func TestClassWindows(t *testing.T) {
	url, target, env := classed(t)
	file := writeFile(t, inClasses+classRules("200ms", never))
	p := launchIn(t, "", env, "run", file)
	p.until(t, file, "streaming", streams)
	put(t, url, [2]int{1, 10}, "hot", "warm", "cold")
	has(t, target, "warm", 10)
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	rewrite(t, file, "every: 200ms", "every: 1h, rows: 50")
	p = launchIn(t, "", env, "run", file)
	put(t, url, [2]int{11, 70}, "warm")
	has(t, target, "warm", 70)
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
}
