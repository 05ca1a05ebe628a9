package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config says what kind of server to start.
type Config struct {
	// Install is whose programs to run; see [Find].
	Install Install
	// Dir is the server's folder: data folder, log and sockets. If it holds a
	// data folder already (named data, made by an earlier server or by a base
	// backup of one), that one is used; the data stays when the server is
	// removed. Run as root, the folder must be reachable by the unprivileged
	// user, who becomes its owner. Empty: a temporary folder that [Server.Remove]
	// deletes.
	Dir string
	// Port on 127.0.0.1; 0: a free one below 32768.
	Port int
	// Settings are merged over the defaults: logical decoding, 20 slots and
	// walsenders, no fsync. They are in a configuration file, so that ALTER
	// SYSTEM goes before them.
	Settings map[string]string
	// Durable leaves fsync as the server has it.
	Durable bool
}

// Server is a private server. Its superuser is postgres, without a password;
// it listens on 127.0.0.1 and on a Unix socket in its folder. The methods may
// be called from several goroutines.
type Server struct {
	install  Install
	dir      string
	ownDir   bool // Start made dir
	port     int
	settings map[string]string

	change sync.Mutex              // held while starting and stopping
	proc   atomic.Pointer[process] // of the last start
}

// portTries is how many random ports are tried.
const portTries = 20

// killTimeout bounds what follows a SIGKILL.
const killTimeout = 30 * time.Second

var errPortTaken = errors.New("port is taken")

// Start starts a server and returns when it accepts connections. ctx bounds
// the start only. After an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{install: cfg.Install, port: cfg.Port, settings: cfg.merged()}
	err := s.prepare(ctx, cfg.Dir)
	if err == nil {
		err = s.findPort(ctx, cfg.Port)
	}
	if err != nil {
		err = fmt.Errorf("start PostgreSQL %s: %w", cfg.Install.Version, err)
		return nil, errors.Join(err, s.Remove(ctx))
	}
	return s, nil
}

// prepare makes the folder and, if it has none, the data folder.
func (s *Server) prepare(ctx context.Context, dir string) (err error) {
	if s.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if dir == "" {
		if s.dir, err = os.MkdirTemp("", "entrain-pg-"); err != nil {
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
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); err == nil {
		return s.adopt()
	}
	if err := newCluster(ctx, s.install, s.data()); err != nil {
		return err
	}
	return s.adopt()
}

// adopt makes the data folder read our settings and hands it to the user that
// runs the server.
func (s *Server) adopt() error {
	if err := restrict(s.data()); err != nil {
		return err
	}
	if err := includeSettings(s.data()); err != nil {
		return err
	}
	return giveAway(s.dir)
}

// findPort starts the server on the port asked for, or on random ones until
// one is free.
func (s *Server) findPort(ctx context.Context, port int) error {
	var err error
	for range portTries {
		if s.port = port; port == 0 {
			s.port = randomPort()
		}
		if err = s.writeSettings(); err != nil {
			return err
		}
		if err = s.Start(ctx); port != 0 || !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return err
}

// Start starts the server again, on the same data and port, after it was
// stopped or killed, and returns when it accepts connections.
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

// Stop shuts the server down in an orderly way (fast: sessions are cut, a
// checkpoint is written). If ctx ends first, the server is killed and ctx's
// error returned. Stopping a stopped server does nothing.
func (s *Server) Stop(ctx context.Context) error { return s.end(ctx, syscall.SIGINT) }

// StopImmediate makes the server quit without a checkpoint, which it mends at
// its next start. Otherwise it is as [Server.Stop].
func (s *Server) StopImmediate(ctx context.Context) error { return s.end(ctx, syscall.SIGQUIT) }

func (s *Server) end(ctx context.Context, sig os.Signal) error {
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
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// bounded returns a context for what must be done even if ctx has ended.
func (s *Server) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), killTimeout)
}

// Pid returns the postmaster's process id, 0 if the server does not run.
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

// Install returns whose programs the server runs.
func (s *Server) Install() Install { return s.install }

// Port returns the TCP port.
func (s *Server) Port() int { return s.port }

// Dir returns the server's folder, which also holds the Unix socket.
func (s *Server) Dir() string { return s.dir }

// URL returns the connection URL of a database over TCP, without an sslmode.
func (s *Server) URL(db string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s", s.port, url.PathEscape(db))
}

// SocketURL returns the connection URL of a database over the Unix socket.
func (s *Server) SocketURL(db string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&port=%d", url.PathEscape(db), url.QueryEscape(s.dir), s.port)
}

func (s *Server) data() string    { return filepath.Join(s.dir, "data") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }
