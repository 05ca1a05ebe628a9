package registryserver

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Config says what kind of registry to start.
type Config struct {
	// Install is what to run; see [Obtain].
	Install Install
	// Dir is the registry's folder, as in [throwaway.Config]. Empty: a temporary
	// one that Remove deletes.
	Dir string
	// Port on 127.0.0.1; 0: a free one below 32768.
	Port int
}

// Server is a private registry without authentication, whose default is to check
// no compatibility. After Kill or Stop, Start goes on without what it knew. The
// methods may be called from several goroutines.
type Server struct{ *throwaway.Server }

// apiPath is where Apicurio has Confluent's API.
const apiPath = "/apis/ccompat/v7"

// URL is what a client of a schema registry is given.
func (s *Server) URL() string { return "http://" + s.Addr() + apiPath }

// Start starts a registry and returns when it answers requests. ctx bounds the
// start only. After an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	srv, err := throwaway.Start(ctx, program{cfg.Install}, throwaway.Config{
		Name: "Apicurio Registry " + Version, Dir: cfg.Dir, Port: cfg.Port,
		Shutdown: syscall.SIGTERM, Orphan: syscall.SIGKILL, PortTaken: "already bound",
	})
	if err != nil {
		return nil, err
	}
	return &Server{srv}, nil
}

// program is the registry of one folder.
type program struct{ install Install }

// Prepare has nothing to do: the registry is in memory.
func (p program) Prepare(context.Context, string) error { return nil }

// Command returns the registry's command line.
func (p program) Command(dir string, port int) ([]string, error) {
	return []string{
		p.install.Java.Path, "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData",
		"-Djava.awt.headless=true", "-Djava.io.tmpdir=" + dir,
		"-Dquarkus.http.host=127.0.0.1", fmt.Sprintf("-Dquarkus.http.port=%d", port),
		"-jar", filepath.Join(p.install.Dir, runner),
	}, nil
}

// answerTime is how long an answer may take before the registry is asked anew.
const answerTime = 5 * time.Second

// Ready reports whether our process answers, and not another that has the port:
// its log names who asked.
func (p program) Ready(ctx context.Context, look throwaway.Look) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s/subjects", look.Port, apiPath), nil)
	if err != nil {
		return false
	}
	asker := fmt.Sprintf("entrain-ready-%d", look.Pid)
	req.Header.Set("User-Agent", asker)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil || answer.Body.Close() != nil || answer.StatusCode != http.StatusOK {
		return false
	}
	log, err := os.ReadFile(filepath.Join(look.Dir, throwaway.LogName))
	return err == nil && bytes.Contains(log, []byte(asker))
}
