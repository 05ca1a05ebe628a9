package campaign

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// supervisor runs the binary and starts it again at once whenever it ends, as
// a service manager would.
type supervisor struct {
	file pipelineFile
	verb string // the command that runs
	may  string // a stop with which it may end by itself; empty: none
	// under, if set, says before each start by what the program is started, as startUnder.
	under func() []string
	wg    sync.WaitGroup

	mu       sync.Mutex
	current  *process
	stopping bool
	says     string // what it says if it may end by itself besides; empty: nothing
	starts   int
	unasked  []string // ends that nobody had asked for
	last     string   // what the process before said
}

// restartPause keeps a program that cannot start from being started in a
// tight loop.
const restartPause = 50 * time.Millisecond

// supervise starts the program. It ends by terminate, or with the test.
func supervise(t testing.TB, file pipelineFile) *supervisor {
	t.Helper()
	return superviseAs(t, &supervisor{file: file, verb: "run"})
}

// superviseAs starts the program as s says.
func superviseAs(t testing.TB, s *supervisor) *supervisor {
	t.Helper()
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	s.wg.Go(func() { s.loop(t) })
	t.Cleanup(func() {
		s.give(syscall.SIGKILL)
		s.wg.Wait()
		if p := s.process(); t.Failed() && p != nil {
			t.Logf("the last process before said: %s\nthe last one: %s", tail(s.last, 3000), tail(p.stderr.String(), 3000))
		}
	})
	return s
}

func (s *supervisor) loop(t testing.TB) {
	for {
		var prefix []string
		if s.under != nil {
			prefix = s.under()
		}
		p, err := startUnder(prefix, s.verb, s.file.path)
		if err != nil {
			t.Error(err)
			return
		}
		if !s.install(p) {
			p.kill()
			return
		}
		<-p.ended
		if err := s.record(p); err != nil {
			t.Error(err)
		}
		if s.note(p) {
			return
		}
		wait(t.Context(), restartPause)
	}
}

// record appends what a process has said to a file beside the pipeline's, for whoever
// looks into a campaign that failed.
func (s *supervisor) record(p *process) error {
	f, err := os.OpenFile(filepath.Join(filepath.Dir(s.file.path), "stderr.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(p.stderr.String())
	return errors.Join(err, f.Close())
}

// install makes p the current process unless the end has come meanwhile.
func (s *supervisor) install(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	if s.current != nil {
		s.last = s.current.stderr.String()
	}
	s.current = p
	s.starts++
	return true
}

// note keeps what may not happen: an end by itself, except because a server
// could not be reached at the start. It reports whether that was the last end.
func (s *supervisor) note(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := p.stderr.has("stopped (") && !p.stderr.has("stopped (state_locked)") && (s.may == "" || !p.stderr.has("stopped ("+s.may+")"))
	allowed := s.says != "" && p.stderr.has(s.says)
	if code := p.code(); !allowed && !s.stopping && code != exitKilled && (code != exitEnvironment || named) {
		s.unasked = append(s.unasked, fmt.Sprintf("exit code %d: %s", code, tail(p.stderr.String(), 1500)))
	}
	return s.stopping
}

// endsWith lets the program end by itself once it has said something.
func (s *supervisor) endsWith(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says = text
}

// send sends the current process a signal and reports whether there was one.
func (s *supervisor) send(sig syscall.Signal) bool {
	p := s.process()
	return p != nil && p.running() && p.cmd.Process.Signal(sig) == nil
}

// process is the current one, nil before the first.
func (s *supervisor) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// latest is the current process and how many were started, it included.
func (s *supervisor) latest() (*process, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.starts
}

// kill ends the current process by SIGKILL and waits for its successor.
func (s *supervisor) kill(t testing.TB) {
	t.Helper()
	before := s.started()
	pgtest.Eventually(t, patience, "the program is killed", func() bool { return s.send(syscall.SIGKILL) })
	pgtest.Eventually(t, patience, "the program is started again", func() bool { return s.started() > before })
}

func (s *supervisor) started() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.starts
}

// give makes the next end the last one.
func (s *supervisor) give(sig syscall.Signal) {
	s.mu.Lock()
	s.stopping = true
	s.mu.Unlock()
	s.send(sig)
}

// gave gives the signal to a process that has said something, and reports whether there
// is one.
func (s *supervisor) gave(sig syscall.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.current
	if p == nil || p.stderr.String() == "" {
		return false
	}
	s.stopping = true
	_ = p.cmd.Process.Signal(sig) // it may have just ended
	return true
}

// terminate asks the program to drain and returns it when it has ended. A process that
// has only just begun would die of the signal: it says something once it takes them.
func (s *supervisor) terminate(t testing.TB) *process {
	t.Helper()
	pgtest.Eventually(t, patience, "the program says something", func() bool { return s.gave(syscall.SIGTERM) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.wg.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Errorf("the program does not end within %s of SIGTERM: %s", patience, tail(s.process().stderr.String(), 3000))
		s.send(syscall.SIGKILL)
		<-ended
	}
	return s.current
}

// surprises are the ends that nobody asked for.
func (s *supervisor) surprises() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.unasked, "\n")
}
