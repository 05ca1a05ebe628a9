package corpus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/file"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

// flow is a pipeline from the source of a test.
type flow struct {
	source, name, dir string
	tables            postgres.Tables
	sink              entrain.Sink
}

func (e *ends) flow(t *testing.T) *flow {
	return &flow{source: e.source, name: pgtest.Name(t), dir: t.TempDir(), tables: postgres.Tables{Include: []string{"public.c_*"}}}
}

// run delivers what is there until now; the first time the rows that were there before,
// too.
func (f *flow) run(t *testing.T) {
	t.Helper()
	bounded, err := f.postgres(t).Until("now")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.deliver(t.Context(), bounded); err != nil {
		t.Fatal(err)
	}
}

func (f *flow) postgres(t *testing.T) *postgres.Source {
	t.Helper()
	s, err := postgres.NewSource(postgres.SourceConfig{URL: connector.Secret(pgtest.SourceURL(f.source)), Name: f.name, Pipeline: f.name,
		Slot: f.name, Publication: "pub", Create: true, Tables: f.tables})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// deliver runs the pipeline until the source or the context ends.
func (f *flow) deliver(ctx context.Context, source entrain.Source) error {
	state, err := store.Open(f.dir, f.name)
	if err != nil {
		return err
	}
	p, err := pipeline.New(pipeline.Options{Source: source, Sink: f.sink, Store: state, Snapshot: pipeline.Snapshot{Mode: pipeline.SnapshotInitial}})
	if err == nil {
		err = p.Run(ctx)
	}
	return errors.Join(err, state.Close())
}

// record is an event as a format has it.
type record struct {
	data []byte
	// The rest is of formats with schemas only.
	schema  encoding.Schema
	table   *entrain.Table
	refused *encoding.ValueError
	row     entrain.Row // of what was refused
	read    bool        // it was there before the changes
}

// fileFlow writes lines of a format.
func (e *ends) fileFlow(t *testing.T, cfg file.SinkConfig) (f *flow, records func() []record) {
	t.Helper()
	f = e.flow(t)
	cfg.Path = filepath.Join(f.dir, "out.jsonl")
	sink, err := file.NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.sink = sink
	return f, func() (all []record) {
		text, err := os.ReadFile(cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			all = append(all, record{data: line})
		}
		return all
	}
}

// typedSink keeps the events in formats with schemas.
type typedSink struct {
	formats map[string]encoding.Typed
	records map[string][]record
}

func newTypedSink(t *testing.T) *typedSink {
	t.Helper()
	s := &typedSink{formats: map[string]encoding.Typed{}, records: map[string][]record{}}
	for _, name := range []string{"avro", "protobuf"} {
		enc, err := encoding.NewTyped(name, encoding.TypedOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s.formats[name] = enc
	}
	return s
}

// Open implements entrain.Sink.
func (s *typedSink) Open(context.Context) (entrain.Writer, error) { return s, nil }

// Close implements entrain.Writer.
func (s *typedSink) Close() error { return nil }

// Write implements entrain.Writer.
func (s *typedSink) Write(_ context.Context, b *entrain.Batch) error {
	for i := range b.Events {
		e := &b.Events[i]
		if e.Op != entrain.OpRead && e.Op != entrain.OpInsert && e.Op != entrain.OpUpdate {
			continue
		}
		for name, enc := range s.formats {
			r, err := encoded(enc, e)
			if err != nil {
				return err
			}
			s.records[name] = append(s.records[name], r)
		}
	}
	return nil
}

func encoded(enc encoding.Typed, e *entrain.Event) (r record, err error) {
	r.table, r.read = e.Table, e.Op == entrain.OpRead
	r.schema, _ = enc.Schemas(e.Table)
	if r.data, err = enc.Append(nil, e); errors.As(err, &r.refused) {
		r.row = append(entrain.Row{}, e.After...)
		return r, nil
	}
	return r, err
}

// patience is how long a test waits for what has to come.
const patience = 2 * time.Minute

// trickle writes the rows of the last path while a pipeline runs, a table's at a time, so
// that each batch is a small one.
func (e *ends) trickle(t *testing.T, f *flow) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	source, ended := f.postgres(t), make(chan error, 1)
	go func() { ended <- f.deliver(ctx, source) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	there, here := pgtest.Connect(t, e.source), pgtest.Connect(t, e.target)
	for _, k := range e.kinds {
		if _, err := there.Exec(t.Context(), k.copySQL(pathTip)).ReadAll(); err != nil {
			t.Fatal(err)
		}
		arrived := fmt.Sprintf("SELECT FROM public.%s WHERE id = %d", k.table, pathTip*pathStep+nullID)
		pgtest.Eventually(t, patience, "rows of "+k.table, func() bool {
			results, err := here.Exec(t.Context(), arrived).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			return len(results[0].Rows) > 0
		})
	}
}
