// Package file is the reference connector: it writes changes as lines to a
// file, a device, a FIFO or standard output.
//
// A regular file is exactly once: its size and inode are the session's
// [entrain.Marker] mark, the file is synced before the position is saved, and
// what a crash left behind the mark is cut off on restart. The file is locked
// meanwhile and belongs to one pipeline. Its lines can be read before they are
// durable. Everything else takes no mark and is at least
// once; the event id tells repetitions.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/encoding"
)

// SinkConfig is the sink section of type file.
type SinkConfig struct {
	// Path of the file, which is made if it is missing (its folder is not);
	// "-" is standard output. Default "-".
	Path string `yaml:"path"`
	// Format of the lines; see package encoding. Default "native".
	Format string `yaml:"format"`
	// Debezium has the settings of the format debezium; only for it.
	Debezium *encoding.DebeziumOptions `yaml:"debezium"`
	// CloudEvents has the settings of the format cloudevents; only for it.
	CloudEvents *encoding.CloudEventsOptions `yaml:"cloudevents"`
}

// Sink writes to one file. It is safe for several goroutines, its writers are
// not.
type Sink struct {
	path    string
	format  string
	options encoding.Options
	stdout  *os.File
}

// NewSink checks the configuration; it opens nothing.
func NewSink(cfg SinkConfig) (*Sink, error) {
	s := &Sink{path: cfg.Path, format: cfg.Format, stdout: os.Stdout}
	s.options = encoding.Options{Debezium: cfg.Debezium, CloudEvents: cfg.CloudEvents}
	if s.path == "" {
		s.path = "-"
	}
	if s.format == "" {
		s.format = "native"
	}
	if _, err := encoding.New(s.format, s.options); err != nil {
		return nil, fmt.Errorf("file sink: %w", err)
	}
	return s, nil
}

// Spec describes the connector "file".
func Spec() connector.Spec {
	return connector.Spec{
		Type: "file",
		Sink: func(_ connector.Env, decode connector.Decode) (entrain.Sink, error) {
			cfg := SinkConfig{Path: "-", Format: "native"}
			if err := decode(&cfg); err != nil {
				return nil, err
			}
			return NewSink(cfg)
		},
	}
}

// Open opens what the path names. A regular file that is missing is made by
// Restore or by the first Write. Opening a FIFO waits for its reader. The
// writer of a regular file is an [entrain.Marker].
func (s *Sink) Open(ctx context.Context) (entrain.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", s.path, err)
	}
	enc, err := encoding.New(s.format, s.options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.path, err)
	}
	lines := &lines{enc: enc, path: s.path}
	if s.path == "-" {
		_ = s.stdout.SetWriteDeadline(time.Time{}) // an ended session may have left one
		return s.openStdout(lines)
	}
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.openMissing(lines)
	case err != nil:
		return nil, fmt.Errorf("open sink: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("open sink: %s is a folder, expected a file", s.path)
	case info.Mode().IsRegular():
		return s.openRegular(lines)
	case info.Mode()&fs.ModeNamedPipe != 0:
		return s.openFIFO(ctx, lines)
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open sink: %w", err)
	}
	return &stream{lines: lines, file: f}, nil
}

// openStdout syncs standard output if it leads into a file.
func (s *Sink) openStdout(lines *lines) (entrain.Writer, error) {
	info, err := s.stdout.Stat()
	if err != nil {
		return nil, fmt.Errorf("open sink: %w", err)
	}
	w := &stream{lines: lines, file: s.stdout, keepOpen: true}
	if info.Mode().IsRegular() {
		w.sync = s.stdout.Sync
	}
	return w, nil
}

// openMissing makes sure that the file can be made later.
func (s *Sink) openMissing(lines *lines) (entrain.Writer, error) {
	folder := filepath.Dir(s.path)
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return nil, &entrain.Stop{
			Code: "folder_missing",
			What: fmt.Sprintf("the folder %s of the file %s does not exist", folder, s.path),
			Why:  "entrain makes files, not the folders they are in: the name may be mistyped or a disk not mounted",
			Next: "mkdir -p " + quote(folder),
		}
	}
	return &regular{lines: lines}, nil
}

func (s *Sink) openRegular(lines *lines) (entrain.Writer, error) {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open sink: %w", err)
	}
	w := &regular{lines: lines}
	if err := w.attach(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return w, nil
}

// fifoPoll is how often a FIFO without a reader is tried again.
const fifoPoll = 20 * time.Millisecond

// openFIFO opens without blocking, so that ctx and deadlines can end a wait
// for the reader, and blocks by itself.
func (s *Sink) openFIFO(ctx context.Context, lines *lines) (entrain.Writer, error) {
	poll := time.NewTicker(fifoPoll)
	defer poll.Stop()
	for {
		f, err := os.OpenFile(s.path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			return &stream{lines: lines, file: f}, nil
		}
		if !errors.Is(err, syscall.ENXIO) {
			return nil, fmt.Errorf("open sink: %w", err)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("open sink: no process reads the FIFO %s: %w", s.path, ctx.Err())
		}
	}
}

// Guarantees implements [entrain.Guarantor]. Lines can be read before their
// transaction is complete.
func (s *Sink) Guarantees() entrain.Guarantees {
	if s.path == "-" {
		return entrain.Guarantees{Why: "what was written to standard output cannot be taken back: after a crash lines come again, with the same ids"}
	}
	if info, err := os.Stat(s.path); err == nil && !info.Mode().IsRegular() {
		return entrain.Guarantees{Why: "what was written to " + s.path + " cannot be taken back: after a crash lines come again, with the same ids"}
	}
	return entrain.Guarantees{Once: true, Why: "lines can be read before their transaction is complete"}
}
