package natsserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Config says what kind of server to start.
type Config struct {
	// Install is whose program to run; see [Obtain].
	Install Install
	// Dir is the server's folder, as in [throwaway.Config]. Empty: a temporary one that
	// Remove deletes.
	Dir string
	// Settings are further lines of the server's configuration file.
	Settings string
}

// Server is a private server with JetStream that syncs what it stores before it
// acknowledges it. After Kill or Stop, Start goes on with the same data. The methods
// may be called from several goroutines.
type Server struct{ *throwaway.Server }

// URL is where clients connect.
func (s *Server) URL() string { return "nats://" + s.Addr() }

// Start starts a server and returns when it answers. ctx bounds the start only. After
// an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	srv, err := throwaway.Start(ctx, broker{cfg}, throwaway.Config{
		Name: "NATS " + Version, Dir: cfg.Dir, Shutdown: syscall.SIGTERM, Orphan: syscall.SIGKILL, PortTaken: "address already in use",
	})
	if err != nil {
		return nil, err
	}
	return &Server{srv}, nil
}

// broker is the program of one data folder.
type broker struct{ cfg Config }

// Prepare has nothing to do: the server makes its files itself.
func (b broker) Prepare(context.Context, string) error { return nil }

const settings = `server_name: %q
listen: "127.0.0.1:%d"
jetstream { store_dir: %q, sync_interval: always }
%s
`

// Command writes the configuration file.
func (b broker) Command(dir string, port int) ([]string, error) {
	path := filepath.Join(dir, "nats.conf")
	text := fmt.Sprintf(settings, filepath.Base(dir), port, filepath.Join(dir, "store"), b.cfg.Settings)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return []string{b.cfg.Install.Path, "-c", path}, nil
}

// answerTime is how long an answer may take before the server is asked anew.
const answerTime = time.Second

// Ready reports whether our server answers, and not another that has the port.
func (b broker) Ready(ctx context.Context, look throwaway.Look) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", look.Port))
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok && conn.SetDeadline(deadline) != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return false
	}
	var info struct {
		Name      string `json:"server_name"`
		JetStream bool   `json:"jetstream"`
	}
	err = json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info)
	return err == nil && info.Name == filepath.Base(look.Dir) && info.JetStream
}
