package redisserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Config says what kind of server to start.
type Config struct {
	// Install is whose program to run; see [Obtain].
	Install Install
	// Dir is the server's folder, as in [throwaway.Config]. Empty: a temporary
	// one that Remove deletes.
	Dir string
	// Port on 127.0.0.1; 0: a free one below 32768.
	Port int
	// Settings are merged over the defaults: every write is in the append-only
	// file, and synced, before it is acknowledged.
	Settings map[string]string
}

// Server is a private server without a password. After Kill or Stop, Start
// goes on with the same data. The methods may be called from several
// goroutines.
type Server struct {
	*throwaway.Server
	install Install
}

// Start starts a server and returns when it answers and has loaded its data.
// ctx bounds the start only. After an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	srv, err := throwaway.Start(ctx, database{cfg.Install, cfg.Settings}, throwaway.Config{
		Name: "Redis " + cfg.Install.Version, Dir: cfg.Dir, Port: cfg.Port,
		Shutdown: syscall.SIGTERM, Orphan: syscall.SIGKILL, PortTaken: "Failed listening on port",
	})
	if err != nil {
		return nil, err
	}
	return &Server{srv, cfg.Install}, nil
}

// Mend takes away what a kill has left of a transaction at the end of the append-only
// file, for which a server with aof-load-truncated no refuses to start. The server must
// not run.
func (s *Server) Mend(ctx context.Context) error {
	manifest, err := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.manifest"))
	if err != nil || len(manifest) != 1 {
		return fmt.Errorf("the manifests of the append-only file are %q: %w", manifest, err)
	}
	fix := exec.CommandContext(ctx, s.install.Path, "--fix", manifest[0])
	fix.Args[0], fix.Stdin = "redis-check-aof", strings.NewReader("y\n") // one program, by two names
	if out, err := fix.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// database is the program of one data folder.
type database struct {
	install  Install
	settings map[string]string
}

// Prepare has nothing to do: Redis makes its files itself.
func (d database) Prepare(context.Context, string) error { return nil }

// Command returns the server's command line, with all settings.
func (d database) Command(dir string, port int) ([]string, error) {
	all := map[string]string{
		"bind": "127.0.0.1", "port": fmt.Sprint(port), "dir": dir,
		"appendonly": "yes", "appendfsync": "always", "save": "",
	}
	maps.Copy(all, d.settings)
	argv := []string{d.install.Path}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		argv = append(argv, "--"+name, all[name])
	}
	return argv, nil
}

// answerTime is how long an answer may take before the server is asked anew.
const answerTime = time.Second

// Ready reports whether our process answers, and not another that has the
// port, and has loaded its data.
func (d database) Ready(ctx context.Context, look throwaway.Look) bool {
	info, err := info(ctx, fmt.Sprintf("127.0.0.1:%d", look.Port))
	return err == nil && bytes.Contains(info, fmt.Appendf(nil, "\nprocess_id:%d\r", look.Pid)) &&
		bytes.Contains(info, []byte("\nloading:0\r"))
}

// info asks the server about itself.
func info(ctx context.Context, addr string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, "INFO\r\nQUIT\r\n"); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !bytes.HasPrefix(answer, []byte("$")) {
		err = errors.New("no answer to INFO")
	}
	return answer, err
}
