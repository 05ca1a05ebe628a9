package campaign

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const ordersSQL = "CREATE TABLE orders (id bigint PRIMARY KEY, note text NOT NULL)"

// shop is two databases with a table of orders, on one server.
func shop(t *testing.T, major int) (site, *pgserver.Server) {
	t.Helper()
	srv := pgtest.Start(t, major, nil)
	s := site{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), name: "shop"}
	for _, url := range []string{s.source, s.target} {
		pgtest.Exec(t, url, ordersSQL, "CREATE TABLE marker (id bigint PRIMARY KEY)")
	}
	return s, srv
}

func addOrders(t *testing.T, url string, from, to int) {
	t.Helper()
	pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO orders SELECT i, repeat('x', 100) FROM generate_series(%d, %d) i", from, to))
}

func (s site) wantOrders(t *testing.T, n int) {
	t.Helper()
	if got := pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders"); got != fmt.Sprint(n) {
		t.Errorf("%s orders at the target; want %d", got, n)
	}
}

// A signal under load drains: what was read is written, saved and confirmed,
// and the exit code is 0. The next run goes on from there.
func TestSignalDrains(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			s, _ := shop(t, someMajor(t))
			file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
			p := launch(t, "run", file.path)
			file.until(t, "streaming", streaming)
			addOrders(t, s.source, 1, 60_000)
			file.until(t, "some are there", func(r admin.Report) bool { return r.Status.Captured > 0 })
			p.signal(t, sig)
			p.exit(t, exitOK)
			checkConfirmed(t, s.source, s.target, "entrain_shop")
			checkStateFolder(t, file)
			if left := leftSessions(t.Context(), s.target); len(left) > 0 {
				t.Errorf("sessions are left: %q", left)
			}
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
			s.wantOrders(t, 60_000)
		})
	}
}

// While the sink hangs, a second signal ends the program at once, and so does
// the end of the time to drain; the codes say which signal it was.
func TestSignalsWhileTheSinkHangs(t *testing.T) {
	s, _ := shop(t, someMajor(t))
	file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
	file.add(t, "pipeline: {shutdown_timeout: 2s}")
	lock := pgtest.Connect(t, s.target)
	for _, tt := range []struct {
		name    string
		signals []syscall.Signal
		want    int
		within  time.Duration
	}{
		{"SIGTERM twice", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, 143, 1500 * time.Millisecond},
		{"SIGTERM, then SIGINT", []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, 130, 1500 * time.Millisecond},
		{"the time is over", []syscall.Signal{syscall.SIGTERM}, 143, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := launch(t, "run", file.path)
			file.until(t, "streaming", streaming)
			if _, err := lock.Exec(t.Context(), "BEGIN; LOCK TABLE orders IN EXCLUSIVE MODE").ReadAll(); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, s.source, "INSERT INTO orders SELECT coalesce(max(id), 0) + 1, 'next' FROM orders")
			file.until(t, "waiting for the sink", func(r admin.Report) bool {
				return r.Status.Waiting == "sink" && r.Status.Captured > r.Status.Applied // not with a position alone
			})
			for i, sig := range tt.signals {
				p.signal(t, sig)
				if i == 0 {
					p.logs(t, "draining")
				}
			}
			p.exitWithin(t, tt.within, tt.want)
			rollback(t, lock)
		})
	}
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	s.wantOrders(t, 3)
}

// closedPort is one that nobody listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// What cannot be reached at the start ends the program with 3, and it says what
// it tried, without the password (P8).
func TestUnreachableServers(t *testing.T) {
	s, srv := shop(t, someMajor(t))
	port := closedPort(t)
	nobody := fmt.Sprintf("postgres://app:very-secret@127.0.0.1:%d/db?sslmode=disable", port)
	for name, file := range map[string]pipelineFile{
		"source":   writePipeline(t, "source", fromPostgres(nobody), intoPostgres(s.target)),
		"target":   writePipeline(t, "target", fromPostgres(s.source), intoPostgres(nobody)),
		"database": writePipeline(t, "database", fromPostgres(srv.URL("no_such_database")), intoPostgres(s.target)),
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, "run", file.path)
			p.exit(t, exitEnvironment)
			want := fmt.Sprintf("127.0.0.1:%d", port)
			if name == "database" {
				want = "no_such_database"
			}
			if !p.stderr.has(want) || p.stderr.has("very-secret") {
				t.Errorf("want %q and no password in: %s", want, &p.stderr)
			}
		})
	}
}

// Mistakes in the file or on the command line end with 2 and a place.
func TestMistakesAreUsage(t *testing.T) {
	s := "postgres://127.0.0.1:1/x"
	for name, tt := range map[string]struct {
		args func(path string) []string
		more string
		says string
	}{
		"unknown key": {func(f string) []string { return []string{"run", f} }, "pipeline: {bach: 1MB}", "batch"},
		"bad value":   {func(f string) []string { return []string{"run", f} }, "pipeline: {batch: much}", ":6:19: "},
		"no file":     {func(string) []string { return []string{"run", "/no/such.yaml"} }, "", "/no/such.yaml"},
		"no argument": {func(string) []string { return []string{"run"} }, "", "FILE"},
		"bad until":   {func(f string) []string { return []string{"run", "--until", "soon", f} }, "", "soon"},
		"bad command": {func(string) []string { return []string{"rnu"} }, "", "run"},
	} {
		t.Run(name, func(t *testing.T) {
			f := writePipeline(t, "mistake", fromPostgres(s), intoPostgres(s))
			f.add(t, tt.more)
			p := launch(t, tt.args(f.path)...)
			p.exit(t, exitUsage)
			if !p.stderr.has(tt.says) {
				t.Errorf("%q is not in: %s", tt.says, &p.stderr)
			}
		})
	}
}

// A slot that was dropped behind our back is a named stop: exit code 3, and
// three lines that say what happened, why, and what to type (P5).
func TestNamedStop(t *testing.T) {
	s, _ := shop(t, someMajor(t))
	file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	pgtest.Exec(t, s.source, "SELECT pg_drop_replication_slot('entrain_shop')")
	addOrders(t, s.source, 1, 5)
	p := launch(t, "run", file.path)
	p.exit(t, exitEnvironment)
	_, stop, found := strings.Cut(p.stderr.String(), "stopped (slot_missing)\n")
	lines := strings.Split(strings.TrimSuffix(stop, "\n"), "\n")
	if !found || len(lines) != 3 {
		t.Fatalf("want a stop of three lines: %s", &p.stderr)
	}
	for i, label := range []string{"what happened: ", "why: ", "next: "} {
		if !strings.HasPrefix(strings.TrimLeft(lines[i], " "), label) {
			t.Errorf("line %d is %q; want %q first", i+1, lines[i], label)
		}
	}
	// Nothing was made again, and nothing was skipped in silence.
	if n := pgtest.QueryOne(t, s.source, "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"); n != "0" {
		t.Errorf("%s slots", n)
	}
	s.wantOrders(t, 0)
}

// A row that the target refuses stops the pipeline with 1 and is named; nothing
// of its transaction is there. Mended, the pipeline goes on (P1, P4).
func TestRefusedRow(t *testing.T) {
	s, _ := shop(t, someMajor(t))
	file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	pgtest.Exec(t, s.target, "ALTER TABLE orders ADD CONSTRAINT no_bad CHECK (note <> 'bad')")
	addOrders(t, s.source, 1, 10)
	pgtest.Exec(t, s.source, "BEGIN; INSERT INTO orders VALUES (11, 'good'), (12, 'bad'), (13, 'good'); COMMIT")
	addOrders(t, s.source, 14, 20)
	p := launch(t, "run", file.path)
	p.exit(t, exitRuntime)
	for _, text := range []string{"public.orders", "12", "no_bad"} {
		if !p.stderr.has(text) {
			t.Errorf("%q is not in: %s", text, &p.stderr)
		}
	}
	if n := pgtest.QueryOne(t, s.target, "SELECT count(*) FROM orders WHERE id > 10"); n != "0" {
		t.Errorf("%s orders of the refused transaction or after it are there", n)
	}
	pgtest.Exec(t, s.target, "ALTER TABLE orders DROP CONSTRAINT no_bad")
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	s.wantOrders(t, 20)
}

// The teardown removes slot, publication, position and state, and nothing else;
// done again it finds nothing.
func TestTeardownOfTables(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) {
			s, _ := shop(t, major)
			file := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
			addOrders(t, s.source, 1, 5)
			launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
			running := launch(t, "run", file.path)
			file.until(t, "streaming", streaming)
			launch(t, "teardown", "--yes", file.path).exit(t, exitEnvironment)
			running.signal(t, syscall.SIGTERM)
			running.exit(t, exitOK)
			launch(t, "teardown", "--yes", file.path).exit(t, exitOK)
			const left = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) || ' ' || (SELECT count(*) FROM pg_publication) || ' ' || (SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain')"
			for _, url := range []string{s.source, s.target} {
				if got := pgtest.QueryOne(t, url, left); got != "0 0 0" {
					t.Errorf("left: %s slots, publications and schemas", got)
				}
			}
			if _, err := os.Stat(file.state()); !os.IsNotExist(err) {
				t.Errorf("the state folder: %v", err)
			}
			s.wantOrders(t, 5)
			again := launch(t, "teardown", "--yes", file.path)
			again.exit(t, exitOK)
			if !again.stdout.has("nothing") {
				t.Errorf("a second teardown says %s", &again.stdout)
			}
		})
	}
}
