package campaign

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// without takes a sink out of the file and returns how to put it back.
func (f *fan) without(t *testing.T, sink string) (back func()) {
	t.Helper()
	whole := readText(t, f.file.path)
	less := regexp.MustCompile(`\{name: `+sink+`,[^{}]*\}(, )?`).ReplaceAllString(whole, "")
	if less == whole {
		t.Fatalf("no sink %s in %s", sink, whole)
	}
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(f.file.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(less)
	return func() { put(whole) }
}

// metrics are the values that a process shows, by name and labels.
func metrics(t *testing.T, p *process) map[string]float64 {
	t.Helper()
	address := regexp.MustCompile(`http://[0-9.:]+/metrics`).FindString(p.stderr.String())
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && strings.HasPrefix(name, "sync_") {
			if values[name+"}"], err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	return values
}

// conserved finds a stage whose events are not all accounted for, or which is behind
// (CO-17).
func conserved(values map[string]float64, name string, sinks ...string) (found []string) {
	stages := []string{fmt.Sprintf(`{partition="",pipeline="%s",sink="",stage="capture"}`, name)}
	for _, s := range sinks {
		stages = append(stages, fmt.Sprintf(`{partition="%[1]s",pipeline="%[1]s",sink="%[2]s",stage="deliver"}`, name, s))
	}
	for _, at := range stages {
		captured, shown := values["sync_captured_events_total"+at]
		ends := values["sync_applied_events_total"+at] + values["sync_filtered_events_total"+at] + values["sync_reread_events"+at]
		lag, lagShown := values["sync_lag_bytes"+at]
		switch {
		case !shown || !lagShown || captured == 0:
			found = append(found, fmt.Sprintf("%s is not shown, or without events", at))
		case captured != ends:
			found = append(found, fmt.Sprintf("%s captured %v, of which %v are accounted for", at, captured, ends))
		case lag != 0 || values["sync_lag_seconds"+at] != 0 || values["sync_buffered_bytes"+at] != 0:
			found = append(found, fmt.Sprintf("%s is %v bytes behind", at, lag))
		}
	}
	return found
}

// TestFanMetrics: at rest every event of capture and of each delivery is accounted
// for, and nothing is behind (CO-17).
func TestFanMetrics(t *testing.T) {
	t.Parallel()
	f := smallFan(t, embedded(""), `monitoring: {listen: "127.0.0.1:0"}`, `transform: [{tables: ["public.hidden"], where: "new.id < 0"}]`)
	pgtest.Exec(t, f.source, "CREATE TABLE hidden (id int PRIMARY KEY)")
	p := startFan(t, f)
	n := f.flood(t, 1, 3)
	pgtest.Exec(t, f.source, "INSERT INTO hidden SELECT generate_series(1, 100)")
	f.wantLines(t, n)
	pgtest.Exec(t, f.source, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
	n = f.flood(t, n, 3)
	var found []string
	pgtest.Eventually(t, patience, "every event is accounted for", func() bool {
		found = conserved(metrics(t, p), f.file.name, "one", "two", "lines")
		return len(found) == 0
	})
	f.wantLines(t, n)
	values := metrics(t, p)
	for _, f := range append(found, conserved(values, f.file.name, "one", "two", "lines")...) {
		t.Error(f)
	}
	at := fmt.Sprintf(`{partition="",pipeline="%s",sink="",stage="capture"}`, f.file.name)
	if applied, filtered := values["sync_applied_events_total"+at], values["sync_filtered_events_total"+at]; applied < float64(n) || filtered < 100 {
		t.Errorf("%v events were applied, %v filtered; want at least %d and 100", applied, filtered, n)
	}
}

// TestFanSignals: SIGTERM drains; SIGHUP takes a further sink over, which gets all that
// the stream still has; a run with an end says by its code whether every sink has
// everything.
func TestFanSignals(t *testing.T) {
	t.Parallel()
	f := smallFan(t, embedded(", retention: 1h"))
	back := f.without(t, "two")
	p := launch(t, "run", f.file.path)
	f.file.until(t, "streaming", streaming)
	n := f.flood(t, 0, 4)
	haveOrders(t, f.one, n)
	back()
	p.signal(t, syscall.SIGHUP)
	haveOrders(t, f.two, n)
	f.same(t, f.two)
	n = f.flood(t, n, 10)
	f.file.until(t, "some are there", func(r admin.Report) bool { return r.Status.Captured > 0 })
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	for _, url := range []string{f.source, f.one, f.two} {
		if left := leftSessions(t.Context(), url); len(left) > 0 {
			t.Errorf("sessions are left: %q", left)
		}
	}
	launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
	haveOrders(t, f.one, n)
	haveOrders(t, f.two, n)
	f.wantLines(t, n)

	pgtest.Exec(t, f.two, "ALTER TABLE orders RENAME COLUMN note TO other")
	addOrders(t, f.source, n+1, n+10)
	refused := launch(t, "run", "--until", "now", f.file.path)
	refused.exit(t, exitEnvironment)
	if !refused.stderr.has("column_missing") || !refused.stderr.has(`"sink":"two"`) {
		t.Errorf("it says %s", &refused.stderr)
	}
	haveOrders(t, f.one, n+10)
	f.wantLines(t, n+10)
	pgtest.Exec(t, f.two, "ALTER TABLE orders RENAME COLUMN other TO note")
	launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
	f.same(t, f.two)
}

// TestFanTeardown: nothing of a pipeline with a stream is left, wherever the stream's
// folder is, and a following run begins with a copy.
func TestFanTeardown(t *testing.T) {
	for _, name := range []string{"in the state", "elsewhere"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			more, folder := "", filepath.Join(t.TempDir(), "elsewhere")
			if name == "elsewhere" {
				more = fmt.Sprintf(", dir: %q", folder)
			}
			tearDown(t, smallFan(t, embedded(more)), folder)
		})
	}
}

func tearDown(t *testing.T, f *fan, folder string) {
	addOrders(t, f.source, 1, 500)
	launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
	addOrders(t, f.source, 501, 600)
	running := launch(t, "run", f.file.path)
	haveOrders(t, f.two, 600)
	launch(t, "teardown", "--yes", f.file.path).exit(t, exitEnvironment)
	running.signal(t, syscall.SIGTERM)
	running.exit(t, exitOK)
	launch(t, "teardown", "--yes", f.file.path).exit(t, exitOK)
	const left = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) || ' ' || (SELECT count(*) FROM pg_publication) || ' ' || (SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain')"
	for _, url := range []string{f.source, f.one, f.two} {
		if got := pgtest.QueryOne(t, url, left); got != "0 0 0" {
			t.Errorf("left: %s slots, publications and schemas", got)
		}
	}
	for _, path := range []string{f.file.state(), folder} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	again := launch(t, "teardown", "--yes", f.file.path)
	again.exit(t, exitOK)
	if !again.stdout.has("nothing") {
		t.Errorf("a second teardown says %s", &again.stdout)
	}
	pgtest.Exec(t, f.source, "DELETE FROM orders WHERE id > 300")
	pgtest.Exec(t, f.one, "TRUNCATE orders")
	pgtest.Exec(t, f.two, "DROP TABLE orders")
	if err := os.Remove(f.lines); err != nil { // whose lines they are was forgotten
		t.Fatal(err)
	}
	launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
	haveOrders(t, f.one, 300)
	haveOrders(t, f.two, 300)
	f.same(t, f.one)
	f.same(t, f.two)
}
