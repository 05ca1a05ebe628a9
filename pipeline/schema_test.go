package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// schemaStore is a store that keeps shapes, as their JSON, as a disk would.
type schemaStore struct {
	memoryStore
	tables map[string][]byte
	saves  int
}

func newSchemaStore() *schemaStore { return &schemaStore{tables: map[string][]byte{}} }

func (s *schemaStore) LoadSchemas(context.Context) (all []pipeline.SchemaHistory, err error) {
	for _, text := range s.tables {
		var h pipeline.SchemaHistory
		if err := json.Unmarshal(text, &h); err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

func (s *schemaStore) SaveSchemas(_ context.Context, tables []pipeline.SchemaHistory) error {
	s.saves++
	for _, h := range tables {
		s.tables[h.Schema+"."+h.Name], _ = json.Marshal(h)
	}
	return nil
}

// wide is a table with n further columns.
func wide(name string, n int) *entrain.Table {
	t := &entrain.Table{Schema: "public", Name: name, Columns: []entrain.Column{{Name: "id", Type: "int8", Modifier: -1, Key: true}}}
	for i := range n {
		t.Columns = append(t.Columns, entrain.Column{Name: fmt.Sprintf("c%d", i), Type: "text", Modifier: -1})
	}
	t.Version = t.Fingerprint()
	return t
}

func rowIn(t *entrain.Table, id int) entrain.Event {
	cells := make([]entraintest.Cell, len(t.Columns))
	for i := range cells {
		cells[i] = entraintest.Text(fmt.Sprint(id))
	}
	return entraintest.Insert(t, cells...)
}

// describedSource says what its catalog has; nil facts are an error.
type describedSource struct {
	*entraintest.MemorySource
	facts []entrain.ColumnFacts
	asked int
}

func (s *describedSource) Describe(context.Context, *entrain.Table) ([]entrain.ColumnFacts, error) {
	s.asked++
	if s.facts == nil {
		return nil, errors.New("no catalog")
	}
	return s.facts, nil
}

// delivered runs the source once and returns what passed, by id, in order:
// "op id" and, for a change of shape, what changed.
func delivered(t *testing.T, src entrain.Source, store pipeline.Store, sink entrain.Sink) (lines []string) {
	t.Helper()
	_, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: store, Transform: func(b *entrain.Batch) (*entrain.Batch, error) {
		for i := range b.Events {
			lines = append(lines, line(&b.Events[i]))
		}
		return b, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func line(e *entrain.Event) string {
	id := fmt.Sprintf("%d/%d", e.Tx.Version/1000, e.Ordinal&(1<<40-1))
	if e.Op != entrain.OpSchema {
		return id
	}
	text := "schema " + id + " " + e.Table.Name
	for _, c := range e.Schema.Columns {
		text += " " + c.Kind.String()
	}
	if e.Schema.Resync != "" {
		text += " resync: " + e.Schema.Resync
	}
	return text
}

func boundedSource() *entraintest.MemorySource {
	return entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: 2})
}

func keepingSink() *entraintest.MemorySink {
	return entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
}

// TestSchemaEvents: a changed shape is told before its first row, once for each
// table, also of a truncate, and the ends stay in step.
func TestSchemaEvents(t *testing.T) {
	a0, a1, b0, b1 := wide("a", 0), wide("a", 1), wide("b", 0), wide("b", 2)
	src := boundedSource()
	src.Commit(rowIn(a0, 1), rowIn(b0, 1), rowIn(a1, 2), rowIn(a1, 3))
	src.Commit(rowIn(b0, 2))
	src.Commit(entraintest.Truncate(a1, b1), rowIn(b1, 3))
	src.Commit(rowIn(a0, 4))
	store := newSchemaStore()
	want := []string{"1/0", "1/1", "schema 1/2 a add", "1/2", "1/3", "2/0",
		"schema 3/0 b add add", "3/0", "3/1", "schema 4/0 a drop", "4/0"}
	if got := delivered(t, src, store, keepingSink()); !slices.Equal(got, want) {
		t.Errorf("\ngot  %q\nwant %q", got, want)
	}
	if store.saves > 4 {
		t.Errorf("%d saves for 4 batches with news", store.saves)
	}
}

// TestRelayedSchemaEvents: of a durable stream, which has the capture's, no events of
// changed shapes are made a second time (P2).
func TestRelayedSchemaEvents(t *testing.T) {
	a0, a1 := wide("a", 0), wide("a", 1)
	src := boundedSource()
	told := entrain.Event{Op: entrain.OpSchema, Table: a1, Schema: &entrain.SchemaChange{Before: a0}}
	src.Commit(rowIn(a0, 1))
	src.Commit(told, rowIn(a1, 2))
	sink := keepingSink()
	if _, err := run(t, pipeline.Options{Source: src, Sink: sink, Relayed: true}); err != nil {
		t.Fatal(err)
	}
	if got := sink.IDs(); len(got) != 3 {
		t.Errorf("%d events, want 3: %q", len(got), got)
	}
}

// TestSchemaChangedWhileDown: the shape that was delivered last survives.
func TestSchemaChangedWhileDown(t *testing.T) {
	src, store, sink := boundedSource(), newSchemaStore(), keepingSink()
	src.Commit(rowIn(wide("a", 1), 1))
	delivered(t, src, store, sink)
	src.Commit(rowIn(wide("a", 1), 2))
	if got := delivered(t, src, store, sink); !slices.Equal(got, []string{"2/0"}) {
		t.Errorf("without a change: %q", got)
	}
	src.Commit(rowIn(wide("a", 2), 3))
	want := []string{"schema 3/0 a add", "3/0"}
	if got := delivered(t, src, store, sink); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	src = boundedSource() // everything comes again: with the same events
	src.Commit(rowIn(wide("a", 1), 1))
	src.Commit(rowIn(wide("a", 1), 2))
	src.Commit(rowIn(wide("a", 2), 3))
	store.saved = pipeline.Checkpoint{}
	want = []string{"1/0", "2/0", "schema 3/0 a add", "3/0"}
	if got := delivered(t, src, store, keepingSink()); !slices.Equal(got, want) {
		t.Errorf("again: got %q, want %q", got, want)
	}
}

// reshaped commits transactions of three tables whose shapes change now and then,
// and returns the changes.
func reshaped(src *entraintest.MemorySource, rnd *rand.Rand) (want []string) {
	widths := map[string]int{}
	for n := range 30 {
		var events []entrain.Event
		for k := range rnd.IntN(4) + 1 {
			name := string('a' + rune(rnd.IntN(3)))
			before, known := widths[name]
			widths[name] = before
			if rnd.IntN(5) == 0 {
				widths[name] = rnd.IntN(4)
			}
			if widths[name] != before && known {
				want = append(want, fmt.Sprintf("schema %d/%d %s", n+1, k, name))
			}
			events = append(events, rowIn(wide(name, widths[name]), n*10+k))
		}
		src.Commit(events...)
	}
	slices.Sort(want)
	return want
}

// heard notes which change came before which event.
type heard struct {
	said    map[string]bool
	follows map[string]string
	wrong   string
}

func (h *heard) batch(b *entrain.Batch) (*entrain.Batch, error) {
	last := ""
	for i := range b.Events {
		text := line(&b.Events[i])
		if change, ok := strings.CutPrefix(text, "schema "); ok {
			last = "schema " + strings.Join(strings.Fields(change)[:2], " ")
			h.said[last] = true
			continue
		}
		if before, met := h.follows[text]; met && before != last {
			h.wrong = fmt.Sprintf("%s came after %q, then after %q", text, before, last)
		}
		h.follows[text], last = last, ""
	}
	return b, nil
}

// killedAfter fails at a boundary of the data path.
func killedAfter(steps int) func(pipeline.Point) error {
	var done atomic.Int64 // the reading and the writing goroutine are at it
	return func(pipeline.Point) error {
		if done.Add(1) > int64(steps) {
			return errors.New("killed")
		}
		return nil
	}
}

// TestSchemaEventsAfterCrashes: wherever a session ends, an event has the same
// change before it each time it comes, and each change is before one event only.
func TestSchemaEventsAfterCrashes(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		src, store, sink := boundedSource(), newSchemaStore(), keepingSink()
		want := reshaped(src, rnd)
		h := heard{said: map[string]bool{}, follows: map[string]string{}}
		for range 400 {
			_, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: store, Failpoint: killedAfter(rnd.IntN(12)), Transform: h.batch})
			if err == nil {
				break
			}
		}
		if all := slices.Sorted(maps.Keys(h.said)); !slices.Equal(all, want) || h.wrong != "" {
			t.Fatalf("seed %d: %s\ngot  %q\nwant %q", seed, h.wrong, all, want)
		}
	}
}

// TestToldDDL: what a source tells of a statement is not delivered, survives, and
// is said of the change that it leads to.
func TestToldDDL(t *testing.T) {
	src, store, sink := boundedSource(), newSchemaStore(), keepingSink()
	src.Commit(rowIn(wide("a", 1), 1))
	d := entrain.DDL{Schema: "public", Table: "a", ID: 7, Tag: "ALTER TABLE", Dropped: []string{"c0"},
		Columns: []entrain.ColumnFacts{{ID: 1, Name: "id"}, {ID: 3, Name: "new"}}}
	told := entrain.Event{Op: entrain.OpSchema, Schema: &entrain.SchemaChange{DDL: []entrain.DDL{d}}}
	src.Commit(told)
	if got := delivered(t, src, store, sink); !slices.Equal(got, []string{"1/0"}) {
		t.Errorf("the statement was delivered: %q", got)
	}
	after := wide("a", 1)
	after.Columns[1].Name = "new"
	after.Version = after.Fingerprint()
	src.Commit(rowIn(after, 2))
	want := []string{"schema 3/0 a add drop", "3/0"} // without the statement: a rename
	for _, to := range []entrain.Sink{sink, sink} {
		if got := delivered(t, src, store, to); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		want = nil
	}
	store.saved = pipeline.Checkpoint{}
	src = boundedSource()
	src.Commit(rowIn(wide("a", 1), 1))
	src.Commit(told)
	src.Commit(rowIn(after, 2))
	if got := delivered(t, src, store, keepingSink()); !slices.Equal(got, []string{"1/0", "schema 3/0 a add drop", "3/0"}) {
		t.Errorf("again from the start: %q", got)
	}
}

// TestResync: what rows that were there have in a new column decides whether the
// table has to be copied anew.
func TestResync(t *testing.T) {
	fill := "x"
	for name, c := range map[string]struct {
		facts []entrain.ColumnFacts
		want  string
	}{
		"constant":  {[]entrain.ColumnFacts{{Name: "c0", Default: "'x'", Constant: true, Fill: &fill}}, "schema 2/0 a add"},
		"none":      {[]entrain.ColumnFacts{{Name: "c0"}}, "schema 2/0 a add"},
		"volatile":  {[]entrain.ColumnFacts{{Name: "c0", Default: "random()", Volatile: true}}, "schema 2/0 a add resync: the new column c0 has a default that may be another value for each row: random()"},
		"later":     {[]entrain.ColumnFacts{{Name: "c0", Default: "'x'", Constant: true}}, "schema 2/0 a add resync: the new column c0 has the default 'x', and what rows that were there have is not known"},
		"gone":      {[]entrain.ColumnFacts{{Name: "id"}}, "schema 2/0 a add resync: what rows that were there have in the new column c0 is not known"},
		"no answer": {nil, "schema 2/0 a add resync: what rows that were there have in the new column c0 is not known"},
	} {
		store, src := newSchemaStore(), &describedSource{facts: c.facts}
		for range 2 { // the catalog is asked once; what it said stays
			src.MemorySource = boundedSource()
			src.Commit(rowIn(wide("a", 0), 1))
			src.Commit(rowIn(wide("a", 1), 2))
			got := delivered(t, src, store, keepingSink())
			store.saved = pipeline.Checkpoint{}
			if len(got) != 3 || got[1] != c.want || src.asked != 1 {
				t.Errorf("%s: %q, want %q; asked %d times", name, got, c.want, src.asked)
			}
		}
	}
}
