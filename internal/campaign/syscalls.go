package campaign

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// tracer starts the program by strace, which makes some of its system calls fail or
// kills it at one of them: where a write or a sync is to be, not somewhere near it.
type tracer struct {
	logs string // folder of what strace says

	mu   sync.Mutex
	rng  *rand.Rand
	a    *arena // nil: nothing is traced
	turn int
}

// harms are what is done to a process, in turn. K is the first call that it is done to,
// M how many calls lie between; both count the calls of a thread.
var harms = []struct {
	kind, inject string
	within       int // K is below
}{
	{"SIGKILL at a sync", "fsync,fdatasync:signal=9:when=K", 60},
	{"a sync fails (EIO)", "fsync,fdatasync:error=EIO:when=K+M", 60},
	{"SIGKILL at a write", "write,pwrite64,writev,pwritev:signal=9:when=K", 600},
	{"a write to files fails (ENOSPC)", "write,pwrite64,writev,pwritev:error=ENOSPC:when=K+M", 100},
	{"SIGKILL where a file is named, cut or removed", "renameat,rename,ftruncate,truncate,unlink,unlinkat:signal=9:when=K", 6},
	{"a write to files fails (EIO)", "write,pwrite64,writev,pwritev:error=EIO:when=K+M", 100},
}

// begin has the next processes traced, end no more of them.
func (x *tracer) begin(a *arena) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.a = a
}

func (x *tracer) end() { x.begin(nil) }

// written are the files whose writes fail: what fails may not be a socket, or what the
// Go runtime wakes itself up by.
func (a *arena) written() []string {
	state := filepath.Join(a.folder, "state", a.site.name)
	all := []string{filepath.Join(a.folder, "lines", "lines.jsonl"), filepath.Join(state, "state.db")}
	states, _ := filepath.Glob(filepath.Join(state, "sinks", "*", "*", "state.db"))
	more, _ := filepath.Glob(filepath.Join(state, "sinks", "*", "state.db"))
	all = append(append(all, states...), more...)
	folders, _ := filepath.Glob(filepath.Join(a.folder, "stream", "jetstream", "*", "streams", "*", "msgs"))
	for _, dir := range folders {
		last := 0
		blocks, _ := filepath.Glob(filepath.Join(dir, "*.blk"))
		for _, path := range blocks {
			n := 0
			_, _ = fmt.Sscanf(filepath.Base(path), "%d.blk", &n)
			last = max(last, n)
		}
		for n := max(1, last-5); n < last+20; n++ {
			all = append(all, filepath.Join(dir, fmt.Sprintf("%d.blk", n)))
		}
	}
	return all
}

// under is the supervisor's.
func (x *tracer) under() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.a == nil {
		return nil
	}
	h := harms[x.turn%len(harms)]
	x.turn++
	first := 2 + x.rng.IntN(h.within)
	calls, how, _ := strings.Cut(h.inject, ":")
	how = strings.NewReplacer("K", fmt.Sprint(first), "M", fmt.Sprint(10+x.rng.IntN(60))).Replace(how)
	args := []string{"strace", "-D", "-f", "-qq", "-o", x.log(x.turn), "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + how}
	if strings.Contains(h.kind, "to files") {
		for _, path := range x.a.written() {
			args = append(args, "-P", path)
		}
	}
	return args
}

// traced is the name of what strace says in a turn.
const traced = "strace.%d"

func (x *tracer) log(turn int) string { return filepath.Join(x.logs, fmt.Sprintf(traced, turn)) }

// done is what was to be done to a process, by what it was started with, and how many of
// its calls were made to fail.
func (x *tracer) done(p *process) (kind string, calls int) {
	turn, at := 0, slices.Index(p.cmd.Args, "-o")
	if at < 0 { // started before anything was traced
		return "", 0
	}
	if _, err := fmt.Sscanf(filepath.Base(p.cmd.Args[at+1]), traced, &turn); err != nil || turn < 1 {
		return "", 0
	}
	text, _ := os.ReadFile(x.log(turn)) // none: it did nothing
	return harms[(turn-1)%len(harms)].kind, strings.Count(string(text), "(INJECTED)")
}

// syncCampaign: the program is killed at the writes and syncs of its state, its stream
// and its file, or they fail; nothing is lost or doubled (P1, P2) anywhere.
func syncCampaign(t testing.TB, r *Trial) {
	need(t, "strace")
	if _, err := tool("", "strace", "-D", "-f", "-qq", "-e", "inject=fsync:error=EIO", "true"); err != nil {
		t.Skipf("the right to trace processes is missing: %v", err)
	}
	x := &tracer{logs: t.TempDir(), rng: rand.New(rand.NewPCG(r.Seed, 1))}
	a := newArena(t, r, plan{topology: fanned, under: x.under, load: &load{writes: 2, pace: 30 * time.Millisecond, bulk: 4 * time.Second, rows: 2000}})
	s := a.programs[0]
	x.begin(a)
	s.endsWith("input/output error") // of its state: what a disk has of it then nobody knows, and the next one looks
	s.kill(t)                        // the next one is traced
	calls := 0
	r.harm(t, func(int) bool {
		n := x.life(t, s, a.between(time.Second, 6*time.Second))
		calls += n
		return n > 0
	})
	x.end()
	s.kill(t)
	r.note(t, "%d calls failed, or were those at which the program was killed", calls)
	a.finish()
}

// life is that of one process, which ends by a harm or by SIGKILL. What strace did to it
// is one fault, however many calls that were; it returns how many.
func (x *tracer) life(t testing.TB, s *supervisor, long time.Duration) int {
	p, before := s.latest()
	for end := time.Now().Add(long); time.Now().Before(end) && p.running(); {
		wait(t.Context(), 50*time.Millisecond)
	}
	kind, n := x.done(p)
	if n == 0 && strings.HasPrefix(kind, "SIGKILL") && !p.running() && p.code() == exitKilled {
		n = 1 // strace does not mark it
	}
	if n > 0 {
		x.a.trial.happened(kind)
	}
	if p.running() && s.started() == before {
		s.kill(t)
		x.a.trial.happened("SIGKILL of the program")
	}
	pgtest.Eventually(t, patience, "the program is started again", func() bool { return s.started() > before })
	return n
}
