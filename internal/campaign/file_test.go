package campaign

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// The file sink is killed again and again in the middle of its work: in the end
// each change is there once, in order (P1, P2, P3).
func TestFileSinkSurvivesKills(t *testing.T) {
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	srv := pgtest.Start(t, someMajor(t), nil)
	s := newSite(t, srv, srv)
	lines := filepath.Join(t.TempDir(), "lines.jsonl")
	file := writePipeline(t, s.name, fromPostgres(s.source), intoFile(lines))
	program := supervise(t, file)
	file.until(t, "streaming", streaming)
	l := &load{url: s.source, seed: seed, writes: 3, pace: 2 * time.Millisecond, bulk: time.Second, rows: 20_000}
	l.start(t)
	const kills = 20
	for range kills {
		wait(t.Context(), 50*time.Millisecond+time.Duration(rng.Int64N(int64(600*time.Millisecond))))
		program.kill(t)
	}
	l.stop()
	program.terminate(t)
	launch(t, "run", "--until", "now", file.path).exit(t, exitOK)
	if text := program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	text := readText(t, lines)
	for _, f := range wrongLines(text, h) {
		t.Error(f)
	}
	t.Logf("%d changes under %d kills", h.changes, kills)
	plantInLines(t, text, h)
}

// plantInLines makes sure that the check of the lines reports what it is there
// for.
func plantInLines(t *testing.T, text string, h *history) {
	t.Helper()
	lines := strings.SplitAfter(text, "\n")
	numbered := func(line string) bool { return strings.Contains(line, `"table":"tick"`) }
	first := slices.IndexFunc(lines, numbered)
	second := first + 1 + slices.IndexFunc(lines[first+1:], numbered)
	swapped := slices.Clone(lines)
	swapped[first], swapped[second] = swapped[second], swapped[first]
	for name, planted := range map[string][]string{
		"a line is lost":        lines[1:],
		"the last line is lost": lines[:len(lines)-2],
		"a line came twice":     append([]string{lines[0]}, lines...),
		"two lines are swapped": swapped,
		"a line is torn":        append([]string{lines[0][:len(lines[0])/2] + "\n"}, lines[1:]...),
	} {
		if len(wrongLines(strings.Join(planted, ""), h)) == 0 {
			t.Errorf("%s, and it was not found", name)
		}
	}
}

// onSmallDisk starts the program in a mount namespace of its own, in which the
// folder is a file system of one megabyte. It needs root, or a system that lets
// users have namespaces.
func onSmallDisk(t *testing.T, folder string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	flags := []string{"--mount", "--propagation", "private"}
	if os.Getuid() != 0 {
		flags = append(flags, "--user", "--map-root-user")
	}
	script := `mount -t tmpfs -o size=1m small "$1" && shift && exec "$@"`
	flags = append(flags, "sh", "-c", script, "sh", folder, path)
	p := &process{cmd: exec.Command("unshare", append(flags, args...)...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the state tells
	}()
	t.Cleanup(p.kill)
	return p
}

// A disk that is full is said clearly and waited out; when there is space again
// the same process goes on, and nothing is lost or doubled (P1, P2, P9).
func TestFullDisk(t *testing.T) {
	s, _ := shop(t, someMajor(t))
	disk := t.TempDir()
	file := writePipeline(t, s.name, fromPostgres(s.source), intoFile(filepath.Join(disk, "lines.jsonl")))
	p := onSmallDisk(t, disk, "run", file.path)
	file.until(t, "streaming", streaming)
	// The same folder as the program sees it.
	inside := filepath.Join(fmt.Sprintf("/proc/%d/root", p.cmd.Process.Pid), disk)
	filler := filepath.Join(inside, "filler")
	if err := os.WriteFile(filler, make([]byte, 800<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		addOrders(t, s.source, i*100+1, i*100+100)
	}
	r := file.until(t, "the status says that the disk is full", func(r admin.Report) bool {
		return strings.Contains(r.Status.Error, "no space left on device")
	})
	if !strings.Contains(r.Status.Error, "lines.jsonl") {
		t.Errorf("the error does not name the file: %s", r.Status.Error)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	file.until(t, "everything is there", func(r admin.Report) bool {
		return streaming(r) && r.Status.Applied == 2000 && r.Status.Waiting == "source"
	})
	text := readText(t, filepath.Join(inside, "lines.jsonl"))
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		var event struct{ After struct{ ID int } }
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.After.ID != i+1 {
			t.Fatalf("line %d: %v in %.200s", i+1, err, line)
		}
	}
	if n := strings.Count(text, "\n"); n != 2000 || !p.running() {
		t.Errorf("%d lines; want 2000 by the one process", n)
	}
}
