package throwaway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Program is what is particular to a kind of server. Its methods are called by
// one goroutine at a time.
type Program interface {
	// Prepare makes what the server needs before its first start, in a folder
	// that exists. If the folder was used before, what is in it stays.
	Prepare(ctx context.Context, dir string) error
	// Command writes the settings that depend on the port and returns the
	// command line. It is called before every start.
	Command(dir string, port int) ([]string, error)
	// Ready looks once whether the server answers, and does not wait for it.
	Ready(ctx context.Context, look Look) bool
}

// Cleaner is a [Program] whose killed servers leave something outside their
// folder.
type Cleaner interface {
	// Clean removes it. It is called when the server is gone and its folder is
	// still there.
	Clean(dir string) error
}

// Look is what [Program].Ready looks at.
type Look struct {
	// Dir is the server's folder.
	Dir string
	// Port is the one it listens on, on 127.0.0.1.
	Port int
	// Pid is the process that was started.
	Pid int
}

// Config says how to run a program.
type Config struct {
	// Name of the server with its version, for errors: "Kafka 4.3.1".
	Name string
	// Dir is the server's folder, which holds its data and its log. What is in
	// it stays when the server is removed. Run as root, the folder must be
	// reachable by the unprivileged user, who becomes its owner. Empty: a
	// temporary folder that [Server.Remove] deletes.
	Dir string
	// Port on 127.0.0.1; 0: a free one below 32768.
	Port int
	// Shutdown is the signal for an orderly end.
	Shutdown syscall.Signal
	// Orphan is the signal that the watchdog sends when our process is gone.
	Orphan syscall.Signal
	// PortTaken is what the server logs when somebody else has its port.
	PortTaken string
}

// Server is a private server on 127.0.0.1. The methods may be called from
// several goroutines.
type Server struct {
	program Program
	cfg     Config
	dir     string
	ownDir  bool // Start made dir
	port    int

	change sync.Mutex              // held while starting and stopping
	proc   atomic.Pointer[process] // of the last start
}

// portTries is how many random ports are tried.
const portTries = 20

// killTimeout bounds what follows a SIGKILL.
const killTimeout = 30 * time.Second

var errPortTaken = errors.New("port is taken")

// Start starts a server and returns when it answers. ctx bounds the start
// only. After an error nothing is left behind.
func Start(ctx context.Context, program Program, cfg Config) (*Server, error) {
	s := &Server{program: program, cfg: cfg, port: cfg.Port}
	err := s.prepare(ctx)
	if err == nil {
		err = s.findPort(ctx)
	}
	if err != nil {
		err = fmt.Errorf("start %s: %w", cfg.Name, err)
		return nil, errors.Join(err, s.Remove(ctx))
	}
	return s, nil
}

// prepare makes the folder and what the program needs in it, and hands it to
// the user that runs the server.
func (s *Server) prepare(ctx context.Context) (err error) {
	if s.dir, err = filepath.Abs(s.cfg.Dir); err != nil {
		return err
	}
	if s.cfg.Dir == "" {
		if s.dir, err = os.MkdirTemp("", "entrain-server-"); err != nil {
			return err
		}
		s.ownDir = true
		err = os.Chmod(s.dir, 0o755)
	} else {
		err = os.MkdirAll(s.dir, 0o755)
	}
	if err != nil {
		return err
	}
	if err := s.program.Prepare(ctx, s.dir); err != nil {
		return err
	}
	return GiveAway(s.dir)
}

// RandomPort returns a port that is likely to be free: below those that systems
// hand out to clients. The server itself finds out whether it is.
func RandomPort() int { return 15000 + rand.IntN(17000) }

// findPort starts the server on the port asked for, or on random ones until
// one is free.
func (s *Server) findPort(ctx context.Context) error {
	var err error
	for range portTries {
		if s.cfg.Port == 0 {
			s.port = RandomPort()
		}
		if err = s.Start(ctx); s.cfg.Port != 0 || !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// Start starts the server again, on the same data and port, after it was
// stopped or killed, and returns when it answers.
func (s *Server) Start(ctx context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	if pid := s.Pid(); pid != 0 {
		return fmt.Errorf("start server on port %d: it runs as process %d", s.port, pid)
	}
	logged := s.logSize()
	p, err := s.launch()
	if err != nil {
		return fmt.Errorf("start server on port %d: %w", s.port, err)
	}
	s.proc.Store(p)
	if err := s.ready(ctx, p); err != nil {
		ctx, cancel := s.bounded(ctx)
		defer cancel()
		err = errors.Join(err, p.kill(ctx))
		return fmt.Errorf("start server on port %d: %w; its log ends:\n%s", s.port, s.explain(err, logged), s.Log())
	}
	return nil
}

// Stop shuts the server down in an orderly way. If ctx ends first, the server
// is killed and ctx's error returned. Stopping a stopped server does nothing.
func (s *Server) Stop(ctx context.Context) error { return s.End(ctx, s.cfg.Shutdown) }

// End is [Server.Stop] by a signal of the caller's choice.
func (s *Server) End(ctx context.Context, sig syscall.Signal) error {
	s.change.Lock()
	defer s.change.Unlock()
	p := s.proc.Load()
	if p == nil {
		return nil
	}
	err := p.tell(sig)
	if err == nil {
		err = p.wait(ctx)
	}
	if err == nil {
		return nil
	}
	killing, cancel := s.bounded(ctx)
	defer cancel()
	return fmt.Errorf("stop server on port %d: %w, so it was killed", s.port, errors.Join(err, p.kill(killing)))
}

// Kill ends all the server's processes at once by SIGKILL, as a crash would,
// and returns when they are gone.
func (s *Server) Kill(ctx context.Context) error {
	s.change.Lock()
	defer s.change.Unlock()
	if s.Pid() == 0 {
		return nil
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	if err := s.proc.Load().kill(ctx); err != nil {
		return fmt.Errorf("kill server on port %d: %w", s.port, err)
	}
	return nil
}

// Restart is Stop and Start.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	return s.Start(ctx)
}

// Remove kills the server and deletes its folder if Start had made it. It does
// its work even if ctx has ended.
func (s *Server) Remove(ctx context.Context) error {
	err := s.Kill(ctx)
	if c, ok := s.program.(Cleaner); ok && err == nil {
		err = c.Clean(s.dir)
	}
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// bounded returns a context for what must be done even if ctx has ended.
func (s *Server) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
}

// Pid returns the id of the server's first process, 0 if it does not run.
func (s *Server) Pid() int {
	p := s.proc.Load()
	if p == nil {
		return 0
	}
	select {
	case <-p.done:
		return 0
	default:
		return p.cmd.Process.Pid
	}
}

// Port returns the TCP port.
func (s *Server) Port() int { return s.port }

// Dir returns the server's folder.
func (s *Server) Dir() string { return s.dir }

// Addr returns host and port, as clients want them.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Environment is all that server programs see of ours: nothing of the caller's
// settings and locale.
func Environment(home string) []string {
	return []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
}

// LogName is the file in a server's folder that has what it printed.
const LogName = "log"

func (s *Server) logFile() string { return filepath.Join(s.dir, LogName) }
