package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// major is the version of the servers and of the peers.
const major = 15

// harness is what all works share.
type harness struct {
	opt     options
	install pgserver.Install
	dir     string // our files; removed at the end
	bin     string // the entrain binary, built just now
	talk    io.Writer
	results []result
	emit    func(result) error // each result as it comes; nil: a table at the end
	files   int                // pipeline files written
}

// newHarness finds the servers' programs and builds entrain.
func newHarness(ctx context.Context, opt options, talk io.Writer) (*harness, error) {
	h := &harness{opt: opt, talk: talk}
	var err error
	if h.install, err = pgserver.Find(ctx, major); err != nil {
		return nil, err
	}
	if h.dir, err = os.MkdirTemp("", "entrain-bench-"); err != nil {
		return nil, err
	}
	h.bin = filepath.Join(h.dir, "entrain")
	h.say("PostgreSQL %s in %s; building entrain", h.install.Version, h.install.Bin)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", h.bin, "github.com/entrainsync/entrain/cmd/entrain")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		err = fmt.Errorf("build entrain: %w\n%s", err, out)
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	return h, nil
}

func (h *harness) say(format string, args ...any) { fmt.Fprintf(h.talk, format+"\n", args...) }

// add takes a result in.
func (h *harness) add(r result) error {
	h.results = append(h.results, r)
	if h.emit == nil {
		return nil
	}
	return h.emit(r)
}

// scaled returns a number of rows that is as much smaller than its default as
// --rows is; it never grows.
func (h *harness) scaled(rows int64) int64 {
	return max(1, rows*min(h.opt.rows, defaultRows)/defaultRows)
}

// server starts a server; whoever asked for it removes it.
func (h *harness) server(ctx context.Context, settings map[string]string) (*pgserver.Server, error) {
	return pgserver.Start(ctx, pgserver.Config{Install: h.install, Settings: settings})
}

// pipelineFile writes a pipeline file of the given source and sink sections,
// with a state folder of its own.
func (h *harness) pipelineFile(source, sink string) (string, error) {
	return h.pipelineWith(source, "sink:\n"+indent(sink))
}

// pipelineWith is pipelineFile for whole sections behind the source's.
func (h *harness) pipelineWith(source, sections string) (string, error) {
	h.files++
	name := fmt.Sprintf("bench%d", h.files)
	text := fmt.Sprintf("name: %s\nsource:\n  type: postgres\n%s\nsnapshot: {mode: never}\n%s\nstate: {dir: %q}\n",
		name, indent(source), sections, filepath.Join(h.dir, "state"))
	file := filepath.Join(h.dir, name+".yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

func indent(section string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(section), "\n", "\n  ")
}
