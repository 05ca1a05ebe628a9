package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	pgtest.Main(m, func() error { return errors.Join(kafkatest.Remove(), redistest.Remove()) })
}

// outcome is what a run of the command showed.
type outcome struct {
	code           int
	stdout, stderr string
}

// invoke runs the command in this process.
func invoke(t *testing.T, env map[string]string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	lookup := func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}
	code := run(t.Context(), world{args: args, env: lookup, stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr})
	return outcome{code, stdout.String(), stderr.String()}
}

// want checks the exit code and that standard error has all the texts.
func (o outcome) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d; want %d", o.code, code)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("standard error lacks %q", text)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", o.stdout, o.stderr)
	}
}

// writeFile writes a pipeline file whose state is kept in the test's folder.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.yaml")
	text = strings.ReplaceAll(text, "DIR", dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const toFile = `
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
sink: {type: file, path: DIR/out.jsonl}
state: {dir: DIR/state}
`

// transcript is a buffer that may be read while it is written.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// talk is a program for tests of its parts, and what it says.
func talk(env map[string]string) (*program, *transcript) {
	stderr := &transcript{}
	p := &program{
		world: world{stdin: strings.NewReader(""), stdout: io.Discard, stderr: stderr, env: func(name string) (string, bool) {
			v, ok := env[name]
			return v, ok
		}},
		log: slog.New(slog.NewTextHandler(stderr, nil)),
	}
	return p, stderr
}
