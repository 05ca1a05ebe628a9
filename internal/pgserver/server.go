package pgserver

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	"github.com/entrainsync/entrain/internal/throwaway"
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
// it listens on 127.0.0.1 and on a Unix socket in its folder. Its Stop is the
// fast one: sessions are cut, a checkpoint is written. The methods may be
// called from several goroutines.
type Server struct {
	*throwaway.Server
	install Install
}

// Start starts a server and returns when it accepts connections. ctx bounds
// the start only. After an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	srv, err := throwaway.Start(ctx, cluster{install: cfg.Install, settings: cfg.merged()}, throwaway.Config{
		Name: "PostgreSQL " + cfg.Install.Version, Dir: cfg.Dir, Port: cfg.Port,
		Shutdown: syscall.SIGINT, Orphan: syscall.SIGQUIT, PortTaken: "could not bind",
	})
	if err != nil {
		return nil, err
	}
	return &Server{Server: srv, install: cfg.Install}, nil
}

// StopImmediate makes the server quit without a checkpoint, which it mends at
// its next start. Otherwise it is as Stop.
func (s *Server) StopImmediate(ctx context.Context) error { return s.End(ctx, syscall.SIGQUIT) }

// Install returns whose programs the server runs.
func (s *Server) Install() Install { return s.install }

// URL returns the connection URL of a database over TCP, without an sslmode.
func (s *Server) URL(db string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s", s.Addr(), url.PathEscape(db))
}

// SocketURL returns the connection URL of a database over the Unix socket,
// which is in the server's folder.
func (s *Server) SocketURL(db string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&port=%d", url.PathEscape(db), url.QueryEscape(s.Dir()), s.Port())
}

// cluster is the program of one data folder.
type cluster struct {
	install  Install
	settings map[string]string
}

// Prepare makes the data folder if there is none and makes it read our
// settings.
func (c cluster) Prepare(ctx context.Context, dir string) error {
	if _, err := os.Stat(filepath.Join(data(dir), "PG_VERSION")); err != nil {
		if err := newCluster(ctx, c.install, data(dir)); err != nil {
			return err
		}
	}
	if err := restrict(data(dir)); err != nil {
		return err
	}
	return includeSettings(data(dir))
}

// Command writes the settings and returns the postmaster's command line.
func (c cluster) Command(dir string, port int) ([]string, error) {
	if err := c.writeSettings(dir, port); err != nil {
		return nil, err
	}
	return []string{c.install.Path("postgres"), "-D", data(dir)}, nil
}

func data(dir string) string { return filepath.Join(dir, "data") }
