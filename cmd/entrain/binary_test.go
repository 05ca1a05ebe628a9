package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const patience = 2 * time.Minute

// asProgram in the environment makes the test's binary the program.
const asProgram = "ENTRAIN_TEST_AS_PROGRAM"

// process is a started program.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr lockedBuffer
	ended          chan struct{}
}

// lockedBuffer collects output while it is looked at.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// launch starts the program as a process, with the source's URL in its
// environment; it is killed when the test ends.
func launch(t *testing.T, url string, args ...string) *process {
	t.Helper()
	return launchIn(t, "", []string{"SOURCE_URL=" + pgtest.SourceURL(url)}, args...)
}

func launchIn(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the state tells
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		if t.Failed() {
			t.Logf("%v\nstdout: %.2000s\nstderr: %.4000s", args, &p.stdout, &p.stderr)
		}
	})
	return p
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end and checks the exit code.
func (p *process) exit(t *testing.T, want int) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("still runs after %s", patience)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		t.Fatalf("exit code %d; want %d", got, want)
	}
}

// until waits until the pipeline of the file reports what is wanted.
func (p *process) until(t *testing.T, file, what string, ok func(admin.Report) bool) {
	t.Helper()
	pgtest.Eventually(t, patience, what, func() bool {
		select {
		case <-p.ended:
			t.Fatalf("ended while waiting for: %s", what)
		default:
		}
		report, err := admin.Ask(t.Context(), filepath.Join(filepath.Dir(file), "state", "shop"))
		if errors.Is(err, admin.ErrNotRunning) {
			return false
		}
		return err == nil && ok(report)
	})
}

func streams(r admin.Report) bool { return r.Status.Phase == "streaming" }

func delivered(n int64) func(admin.Report) bool {
	return func(r admin.Report) bool { return streams(r) && r.Status.Applied >= n && r.Status.Waiting == "source" }
}

// shop makes a database with a table.
func shop(t *testing.T) (url string) {
	t.Helper()
	url = pgtest.CreateDatabase(t, pgtest.Shared(t, 15))
	pgtest.Exec(t, url, "CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
	return url
}

func order(t *testing.T, url string, from, to int) {
	t.Helper()
	pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO orders SELECT i, repeat('x', 100) FROM generate_series(%d, %d) i", from, to))
}

// orders checks that text holds the orders 1 to n in this order, each once.
func orders(t *testing.T, text string, n int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != n {
		t.Fatalf("%d lines; want %d", len(lines), n)
	}
	for i, line := range lines {
		var event struct{ After struct{ ID int } }
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.After.ID != i+1 {
			t.Fatalf("line %d: %v in %s", i+1, err, line)
		}
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A pipeline into a file is stopped by a signal, killed, and run to the end:
// every change is there once (P1, P2). Its teardown leaves nothing.
func TestLifeOfAPipeline(t *testing.T) {
	url, file := shop(t), writeFile(t, toFile)
	out := filepath.Join(filepath.Dir(file), "out.jsonl")
	p := launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 50)
	p.until(t, file, "50 orders", delivered(50))
	second := launch(t, url, "run", file)
	second.exit(t, exitEnvironment)
	if !strings.Contains(second.stderr.String(), "stopped (state_locked)") {
		t.Error("the second process was not told why")
	}
	p.signal(t, syscall.SIGHUP)
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	orders(t, readText(t, out), 50)

	order(t, url, 51, 80)
	killed := launch(t, url, "run", file)
	killed.until(t, file, "80 orders", delivered(30))
	order(t, url, 81, 3000)
	killed.signal(t, syscall.SIGKILL)
	killed.exit(t, -1)

	last := launch(t, url, "run", "--until", "now", file)
	last.exit(t, exitOK)
	orders(t, readText(t, out), 3000)
	for _, line := range strings.Split(strings.TrimSpace(last.stderr.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("the log has a line that is no JSON: %s", line)
		}
	}

	launch(t, url, "teardown", file).exit(t, exitUsage)
	teardown := launch(t, url, "teardown", "--yes", file)
	teardown.exit(t, exitOK)
	left := pgtest.QueryOne(t, url, "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) + (SELECT count(*) FROM pg_publication)")
	if left != "0" || exists(filepath.Join(filepath.Dir(file), "state", "shop")) {
		t.Errorf("%s slots and publications are left", left)
	}
	for _, text := range []string{"pg_drop_replication_slot", "DROP PUBLICATION", "state folder"} {
		if !strings.Contains(teardown.stdout.String(), text) {
			t.Errorf("%q was not listed", text)
		}
	}
}

// Killed again and again, soon after the start or late, in the middle of
// writing: every change is in the file once and in order (P1, P2, P3).
func TestKills(t *testing.T) {
	const kills, perKill = 15, 2000
	url, file := shop(t), writeFile(t, toFile)
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	for n := range kills {
		p := launch(t, url, "run", file)
		var load sync.WaitGroup
		load.Go(func() {
			for i := n * perKill; i < (n+1)*perKill; i += 200 {
				order(t, url, i+1, i+200)
			}
		})
		<-time.After(time.Duration(rand.IntN(250)) * time.Millisecond)
		p.signal(t, syscall.SIGKILL)
		p.exit(t, -1)
		load.Wait()
	}
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	orders(t, readText(t, filepath.Join(filepath.Dir(file), "out.jsonl")), kills*perKill)
}

// The example with two servers does what it says.
func TestExampleBetweenServers(t *testing.T) {
	url := shop(t)
	target := shop(t)
	dir := t.TempDir()
	example, err := filepath.Abs("../../examples/postgres-to-postgres.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"SOURCE_URL=" + pgtest.SourceURL(url), "TARGET_URL=" + pgtest.TargetURL(target)}
	launchIn(t, dir, env, "run", "--until", "now", example).exit(t, exitOK)
	order(t, url, 1, 500)
	pgtest.Exec(t, url, "UPDATE orders SET note = 'changed' WHERE id % 2 = 0", "DELETE FROM orders WHERE id % 5 = 0")
	launchIn(t, dir, env, "run", "--until", "now", example).exit(t, exitOK)
	const sum = "SELECT count(*) || ' ' || md5(string_agg(id || note, ',' ORDER BY id)) FROM orders"
	if got, want := pgtest.QueryOne(t, target, sum), pgtest.QueryOne(t, url, sum); got != want || !strings.HasPrefix(want, "400 ") {
		t.Errorf("target has %s, source %s", got, want)
	}
	launchIn(t, dir, env, "teardown", "--yes", example).exit(t, exitOK)
	if left := pgtest.QueryOne(t, target, "SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'"); left != "0" {
		t.Error("the position's schema is left at the target")
	}
}

// Standard output carries data only.
func TestStandardOutputIsData(t *testing.T) {
	url, file := shop(t), writeFile(t, strings.Replace(toFile, "DIR/out.jsonl", `"-"`, 1))
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	order(t, url, 1, 20)
	p := launch(t, url, "run", "--quiet", "--until", "now", file)
	p.exit(t, exitOK)
	orders(t, p.stdout.String(), 20)
	if p.stderr.String() != "" {
		t.Errorf("--quiet says %s", &p.stderr)
	}
}

// hanging starts a pipeline whose sink is a FIFO that nobody empties, waits
// until it is full, and sends a SIGTERM.
func hanging(t *testing.T, extra string) *process {
	t.Helper()
	url, file := shop(t), writeFile(t, strings.Replace(toFile, "out.jsonl", "fifo", 1)+extra)
	fifo := filepath.Join(filepath.Dir(file), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	p := launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 5000)
	p.until(t, file, "a full pipe", func(r admin.Report) bool { return r.Status.Waiting == "sink" })
	p.signal(t, syscall.SIGTERM)
	pgtest.Eventually(t, patience, "draining", func() bool { return strings.Contains(p.stderr.String(), "draining") })
	return p
}

// A sink that hangs does not keep the program: the second signal ends it.
func TestSecondSignalWhileTheSinkHangs(t *testing.T) {
	p := hanging(t, "")
	p.signal(t, syscall.SIGINT)
	p.exit(t, 130)
	if !strings.Contains(p.stderr.String(), "second signal") {
		t.Error("it was not said why")
	}
}

// A drain ends at its time-out.
func TestDrainTimeout(t *testing.T) {
	p := hanging(t, "pipeline: {shutdown_timeout: 200ms}\n")
	p.exit(t, 143)
	if !strings.Contains(p.stderr.String(), "did not end in time") {
		t.Error("it was not said why")
	}
}

// A reader that goes away ends the pipeline with an error, not silently.
func TestBrokenPipe(t *testing.T) {
	url, file := shop(t), writeFile(t, strings.Replace(toFile, "DIR/out.jsonl", `"-"`, 1))
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	order(t, url, 1, 5)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "run", "--until", "now", file)
	cmd.Env = append(os.Environ(), asProgram+"=1", "SOURCE_URL="+pgtest.SourceURL(url))
	cmd.Stdout, cmd.Stderr = w, &stderr
	_ = cmd.Run() // the exit code tells
	if code := cmd.ProcessState.ExitCode(); code != exitRuntime || !strings.Contains(stderr.String(), "broken pipe") {
		t.Errorf("exit code %d, %s", code, &stderr)
	}
}

// A full disk is waited out, and the pipeline says so meanwhile (P9).
func TestFullDiskIsRetried(t *testing.T) {
	url, file := shop(t), writeFile(t, strings.Replace(toFile, "DIR/out.jsonl", "/dev/full", 1))
	p := launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	order(t, url, 1, 1)
	p.until(t, file, "no space", func(r admin.Report) bool { return strings.Contains(r.Status.Error, "no space left on device") })
	pgtest.Eventually(t, patience, "the log gives the wait with a unit", func() bool { return strings.Contains(p.stderr.String(), `ms"`) })
	p.signal(t, syscall.SIGINT)
	p.exit(t, exitOK)
}
