//go:build unix

package throwaway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// watch waits for the end of our process, which closes its standard input,
// sends the server ($1) a signal ($2) and removes its folder ($3) if we made it.
const watch = `cat >/dev/null
kill -"$2" "$1"
n=0; while [ $n -lt 50 ] && kill -0 "$1" 2>/dev/null; do sleep 0.1; n=$((n+1)); done
[ -z "$3" ] || rm -rf -- "$3"`

// process is one run of a server: its first process and the watchdog.
type process struct {
	cmd      *exec.Cmd
	watchdog *exec.Cmd
	lifeline io.Closer     // open as long as we live
	done     chan struct{} // closed when the first process is gone and reaped
}

// launch starts the server's program. It does not wait until the server is
// ready.
func (s *Server) launch() (*process, error) {
	argv, err := s.program.Command(s.dir, s.port)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = s.dir, Environment(s.dir)
	cmd.Stdout, cmd.Stderr = log, log
	SetUser(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	if err := p.guard(s); err != nil {
		return nil, fmt.Errorf("start the watchdog: %w", errors.Join(err, cmd.Process.Kill(), cmd.Wait()))
	}
	go func() {
		defer close(p.done)
		p.cmd.Wait() // how it ended is in its log
		p.unguard()
	}()
	return p, nil
}

// guard starts the watchdog over the server's first process.
func (p *process) guard(s *Server) error {
	dir := ""
	if s.ownDir {
		dir = s.dir
	}
	watchdog := exec.Command("/bin/sh", "-c", watch, "watch",
		strconv.Itoa(p.cmd.Process.Pid), strconv.Itoa(int(s.cfg.Orphan)), dir)
	watchdog.Dir = "/"
	SetUser(watchdog)
	lifeline, err := watchdog.StdinPipe()
	if err != nil {
		return err
	}
	if err := watchdog.Start(); err != nil {
		return errors.Join(err, lifeline.Close())
	}
	p.watchdog, p.lifeline = watchdog, lifeline
	return nil
}

// unguard ends the watchdog before it could mistake anything for our end: its
// whole process group goes before the lifeline does.
func (p *process) unguard() {
	signal(-p.watchdog.Process.Pid, syscall.SIGKILL)
	p.lifeline.Close()
	p.watchdog.Wait()
}

// tell sends the first process a signal; one that is gone already does not mind.
func (p *process) tell(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// kill ends the first process and every child of it without warning and waits
// until all are gone: a data folder cannot be used again before. The
// first process is frozen before, so that it neither starts nor notices anything.
func (p *process) kill(ctx context.Context) error {
	if err := p.tell(syscall.SIGSTOP); err != nil {
		return err
	}
	children, err := childrenOf(ctx, p.cmd.Process.Pid)
	for _, pid := range children {
		signal(pid, syscall.SIGKILL)
	}
	if err := errors.Join(err, p.tell(syscall.SIGKILL)); err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		return err
	}
	for _, pid := range children {
		if err := Until(ctx, func() bool { return !alive(pid) }); err != nil {
			return fmt.Errorf("server process %d does not end: %w", pid, err)
		}
	}
	return nil
}

// wait waits for the end of the first process.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// childrenOf lists the processes whose parent is pid: from /proc where there is
// one, else by ps. Each process of a PostgreSQL server has a session of its own,
// so that the process group does not tell.
func childrenOf(ctx context.Context, pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		return childrenByPS(ctx, pid)
	}
	var children []int
	for _, file := range stats {
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if st, ok := readStat(child); ok && st.parent == pid {
			children = append(children, child)
		}
	}
	return children, nil
}

func childrenByPS(ctx context.Context, pid int) ([]int, error) {
	out, err := exec.CommandContext(ctx, "ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var children []int
	for line := range strings.Lines(string(out)) {
		var child, parent int
		if n, _ := fmt.Sscan(line, &child, &parent); n == 2 && parent == pid {
			children = append(children, child)
		}
	}
	return children, nil
}

// stat is what we use of /proc/PID/stat.
type stat struct {
	state  byte
	parent int
}

func readStat(pid int) (stat, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	// The program's name, in parentheses, can hold anything: count from its end.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 2 {
		return stat{}, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return stat{state: fields[0][0], parent: parent}, err == nil
}

// alive reports whether the process runs. A dead one that nobody reaps counts
// as gone: it holds nothing any more.
func alive(pid int) bool {
	if st, ok := readStat(pid); ok {
		return st.state != 'Z' && st.state != 'X'
	}
	return signal(pid, 0) == nil
}
