package campaign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// patience bounds what must happen soon on a busy machine.
const patience = 3 * time.Minute

// The exit codes that the command promises.
const (
	exitOK          = 0
	exitRuntime     = 1
	exitUsage       = 2
	exitEnvironment = 3
	exitFindings    = 4
	exitKilled      = -1
)

// process is a started program.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
}

// output collects what a program writes while it is looked at.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String returns what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) has(text string) bool { return strings.Contains(o.String(), text) }

// start starts the program with these arguments.
func start(args ...string) (*process, error) { return startUnder(nil, args...) }

// startUnder starts the program by another one, which becomes it: what a signal
// reaches is the program.
func startUnder(prefix []string, args ...string) (*process, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	all := append(append(append([]string(nil), prefix...), path), args...)
	return startProgram(all[0], nil, all[1:]...)
}

// startProgram starts a program with these settings besides the environment's.
func startProgram(path string, env []string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	diesWithUs(p.cmd)
	started := make(chan error)
	go func() {
		// The kernel takes the end of the thread that started it for ours.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		err := p.cmd.Start()
		if started <- err; err == nil {
			_ = p.cmd.Wait() // the state tells
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %v: %w", args, err)
	}
	return p, nil
}

// launch starts the program; it is killed when the test ends.
func launch(t testing.TB, args ...string) *process {
	t.Helper()
	return launchUnder(t, nil, args...)
}

// launchUnder is launch by another program, as [startUnder].
func launchUnder(t testing.TB, prefix []string, args ...string) *process {
	t.Helper()
	p, err := startUnder(prefix, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%v\nstdout: %.2000s\nstderr: %s", args, &p.stdout, tail(p.stderr.String(), 6000))
		}
	})
	return p
}

// kill ends the program by SIGKILL and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

func (p *process) code() int { return p.cmd.ProcessState.ExitCode() }

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end and checks the exit code.
func (p *process) exit(t testing.TB, want int) {
	t.Helper()
	p.exitWithin(t, patience, want)
}

func (p *process) exitWithin(t testing.TB, within time.Duration, want int) {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		t.Fatalf("still runs after %s", within)
	}
	if got := p.code(); got != want {
		t.Fatalf("exit code %d; want %d\n%s", got, want, tail(p.stderr.String(), 2000))
	}
}

// logs waits until the program has said text.
func (p *process) logs(t testing.TB, text string) {
	t.Helper()
	pgtest.Eventually(t, patience, "the program says "+text, func() bool {
		if p.stderr.has(text) {
			return true
		}
		if !p.running() {
			t.Fatalf("ended with %d before it said %q\n%s", p.code(), text, tail(p.stderr.String(), 4000))
		}
		return false
	})
}

// peak returns the most memory that the process ever had, in bytes; 0 once it
// has ended.
func (p *process) peak() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}

// pipelineFile is one pipeline as a file in a folder of its own.
type pipelineFile struct{ dir, path, name string }

// writePipeline writes a pipeline file with the given source and sink sections,
// each as one line of YAML in braces, for changes only.
func writePipeline(t testing.TB, name, source, sink string) pipelineFile {
	t.Helper()
	return writeSections(t, name, "source: "+source, "snapshot: {mode: never}", "sink: "+sink)
}

// writeSections writes a pipeline file with these lines and a state of its own.
func writeSections(t testing.TB, name string, lines ...string) pipelineFile {
	t.Helper()
	dir := t.TempDir()
	return writeIn(t, dir, name, append(lines, fmt.Sprintf("state: {dir: %q}", filepath.Join(dir, "state")))...)
}

// writeIn writes a pipeline file with these lines into a folder.
func writeIn(t testing.TB, dir, name string, lines ...string) pipelineFile {
	t.Helper()
	f := pipelineFile{dir: dir, path: filepath.Join(dir, name+".yaml"), name: name}
	for _, line := range append([]string{"name: " + name}, lines...) {
		f.add(t, line)
	}
	return f
}

// add appends a line to the file.
func (f pipelineFile) add(t testing.TB, line string) {
	t.Helper()
	out, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := fmt.Fprintln(out, line); err != nil {
		t.Fatal(err)
	}
}

func (f pipelineFile) state() string { return filepath.Join(f.dir, "state", f.name) }

// status asks the binary, as a person would.
func (f pipelineFile) status() (admin.Report, error) {
	var report admin.Report
	p, err := start("status", "-o", "json", f.path)
	if err != nil {
		return report, err
	}
	<-p.ended
	if p.code() != exitOK {
		return report, fmt.Errorf("status ended with %d: %s", p.code(), &p.stderr)
	}
	return report, json.Unmarshal([]byte(p.stdout.String()), &report)
}

// until waits for the pipeline's status to be as wanted and returns it.
func (f pipelineFile) until(t testing.TB, what string, ok func(admin.Report) bool) admin.Report {
	t.Helper()
	var last admin.Report
	pgtest.Eventually(t, patience, what, func() bool {
		report, err := admin.Ask(t.Context(), f.state())
		if err != nil {
			if !errors.Is(err, admin.ErrNotRunning) {
				t.Logf("status: %v", err)
			}
			return false
		}
		last = report
		return ok(report)
	})
	return last
}

func streaming(r admin.Report) bool { return r.Status.Phase == "streaming" }

func fromPostgres(url string) string {
	return fmt.Sprintf("{type: postgres, url: %q, create: true}", pgtest.SourceURL(url))
}

func intoPostgres(url string) string {
	return fmt.Sprintf("{type: postgres, url: %q}", pgtest.TargetURL(url))
}

func intoFile(path string) string { return fmt.Sprintf("{type: file, path: %q}", path) }

func tail(text string, n int) string {
	if len(text) > n {
		return "…" + text[len(text)-n:]
	}
	return text
}

func readText(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wait lets time pass for a fault to work, unless the test is over.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
