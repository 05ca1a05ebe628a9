package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// sourcePatience bounds what must happen on a real server.
const sourcePatience = 3 * time.Minute

// eachShared runs the test beside itself on the shared servers, each run in a
// database of its own.
func eachShared(t *testing.T, run func(t *testing.T, url string)) {
	t.Helper()
	for _, major := range pgtest.Majors(t) {
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			run(t, pgtest.CreateDatabase(t, pgtest.Shared(t, major)))
		})
	}
}

// eachServer runs the test on a server of its own for each version.
func eachServer(t *testing.T, cfg pgserver.Config, run func(t *testing.T, srv *pgserver.Server)) {
	t.Helper()
	for _, major := range pgtest.Majors(t) {
		t.Run(versionName(major), func(t *testing.T) {
			t.Parallel()
			cfg := cfg
			cfg.Install = pgtest.Install(t, major)
			run(t, pgtest.StartConfig(t, cfg))
		})
	}
}

func versionName(major int) string { return fmt.Sprintf("PostgreSQL %d", major) }

// sourceConfig is a source of a slot and publication of its own.
func sourceConfig(t testing.TB, url string) Config {
	name := pgtest.Name(t)
	return Config{
		URL: connector.Secret(pgtest.SourceURL(url)), Slot: name, Publication: "pub", Create: true, Pipeline: name,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

func mustSource(t testing.TB, cfg Config) *Source {
	t.Helper()
	src, err := NewSource(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func newTestSource(t testing.TB, url string) *Source {
	t.Helper()
	return mustSource(t, sourceConfig(t, url))
}

// openReader opens a session that ends with the test.
func openReader(t testing.TB, src entrain.Source, from entrain.Position) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sourcePatience)
	defer cancel()
	r, err := src.Open(ctx, from)
	if err != nil {
		t.Fatalf("open at %s: %v", from, err)
	}
	t.Cleanup(func() { r.Close() })
	return r.(*reader)
}

// openError opens a session that must fail.
func openError(t testing.TB, src entrain.Source, from entrain.Position) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sourcePatience)
	defer cancel()
	r, err := src.Open(ctx, from)
	if err == nil {
		r.Close()
		t.Fatalf("open at %s succeeded", from)
	}
	return err
}

// createSlot makes the source's publication and slot and returns where they
// stand.
func createSlot(t testing.TB, src *Source) entrain.Position {
	t.Helper()
	r := openReader(t, src, entrain.Position{})
	p := place{r.asm.resume, r.asm.timeline}.position(r.asm.stream.Incarnation)
	closeReader(t, r)
	return p
}

func closeReader(t testing.TB, r *reader) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// read returns the next batch; an error ends the test.
func read(t testing.TB, r entrain.Reader) *entrain.Batch {
	t.Helper()
	b, err := readOrError(t, r)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return b
}

func readOrError(t testing.TB, r entrain.Reader) (*entrain.Batch, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sourcePatience)
	defer cancel()
	return r.Read(ctx)
}

// captured is what a session delivered: a line in native format an event, with
// the number of lines before each position.
type captured struct {
	lines     []string
	positions []entrain.Position
	before    []int
	enc       *encoding.Native
}

// take adds a batch and frees it.
func (c *captured) take(t testing.TB, b *entrain.Batch) {
	t.Helper()
	if c.enc == nil {
		c.enc = encoding.NewNative()
	}
	for i := range b.Events {
		line, err := c.enc.Append(nil, &b.Events[i])
		if err != nil {
			t.Fatal(err)
		}
		c.lines = append(c.lines, strings.TrimSuffix(string(line), "\n"))
	}
	if !b.Through.IsZero() {
		c.positions = append(c.positions, b.Through)
		c.before = append(c.before, len(c.lines))
	}
	if b.Free != nil {
		b.Free()
	}
}

// last is the position after everything that was taken.
func (c *captured) last(t testing.TB) entrain.Position {
	t.Helper()
	if len(c.positions) == 0 {
		t.Fatal("no position was delivered")
	}
	return c.positions[len(c.positions)-1]
}

// captureNow opens a session at from and reads until everything that is
// committed now was delivered.
func captureNow(t testing.TB, src *Source, from entrain.Position) *captured {
	t.Helper()
	bounded, err := src.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	r := openReader(t, bounded, from)
	defer closeReader(t, r)
	c := &captured{}
	if err := readAll(t, r, c); err != nil {
		t.Fatalf("read: %v", err)
	}
	return c
}

// readAll reads a bounded session to its end into c and returns what ended it too
// early, if so.
func readAll(t testing.TB, r entrain.Reader, c *captured) error {
	t.Helper()
	for {
		b, err := readOrError(t, r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.take(t, b)
	}
}

// captureLines reads until a number of events has come and a position covers
// them.
func captureLines(t testing.TB, r entrain.Reader, n int) *captured {
	t.Helper()
	c := &captured{}
	for len(c.lines) < n || len(c.before) == 0 || c.before[len(c.before)-1] < n {
		c.take(t, read(t, r))
	}
	return c
}

// expectStop checks that err is the named stop and returns it.
func expectStop(t testing.TB, err error, code string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) {
		t.Fatalf("got %v, want the stop %s", err, code)
	}
	if stop.Code != code || stop.What == "" || stop.Why == "" || stop.Next == "" {
		t.Fatalf("got %+v, want a whole stop %s", stop, code)
	}
	if entrain.IsRetryable(err) {
		t.Fatalf("the stop %s is retryable", code)
	}
	return stop
}

// nextSQL is the SQL part of what a stop says to do next.
func nextSQL(stop *entrain.Stop) string {
	sql, _, _ := strings.Cut(stop.Next, "; --")
	return strings.TrimSuffix(sql, ";")
}
