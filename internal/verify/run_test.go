package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// memory is one end in memory: a table of keys and values. It counts what is asked.
type memory struct {
	table    *entrain.Table
	rows     map[string]string
	estimate int64
	fail     error // of every Read
	reads    int
	listed   func() // called after a listing
	where    string // Behind
	aside    string // why it is not compared
}

func newMemory(n int) *memory {
	m := &memory{table: table("t", entrain.Column{Name: "id", Key: true}, entrain.Column{Name: "v"}), rows: map[string]string{}, estimate: int64(n)}
	for i := range n {
		m.rows[fmt.Sprint(i)] = "v"
	}
	return m
}

func (m *memory) Tables(context.Context, []*entrain.Table) ([]entrain.DigestTable, error) {
	return []entrain.DigestTable{{Table: m.table, Rows: m.estimate}}, nil
}

func (m *memory) Close() error                                      { return nil }
func (m *memory) End(context.Context) (entrain.Position, error)     { return entrain.Position{}, nil }
func (m *memory) Reached(context.Context) (entrain.Position, error) { return entrain.Position{}, nil }
func (m *memory) Behind(context.Context, entrain.Position, entrain.Position) (string, error) {
	return m.where, nil
}

func hashOf(s string) int64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return int64(h.Sum64())
}

func (m *memory) Read(_ context.Context, q entrain.DigestQuery) iter.Seq2[entrain.Digest, error] {
	m.reads++
	return func(yield func(entrain.Digest, error) bool) {
		if m.fail != nil {
			yield(entrain.Digest{}, m.fail)
			return
		}
		for _, d := range m.digests(q) {
			if !yield(d, nil) {
				break
			}
		}
		if q.In != nil && m.listed != nil {
			m.listed()
		}
	}
}

func (m *memory) digests(q entrain.DigestQuery) []entrain.Digest {
	if q.In == nil && q.Of == nil {
		return sums(m.rows, q.Buckets)
	}
	wanted := map[string]bool{}
	for _, k := range q.Of {
		wanted[k] = true
	}
	var keys []entrain.Digest
	for k, v := range m.rows {
		d := entrain.Digest{Hash: hashOf(k), Key: k, Show: k, Rows: 1, Sum: v, Version: v}
		if d.Bucket = int(d.Hash & int64(q.Buckets-1)); wanted[k] || slices.Contains(q.In, d.Bucket) {
			keys = append(keys, d)
		}
	}
	slices.SortFunc(keys, order)
	return keys
}

// sums adds up in a way that does not depend on the order.
func sums(rows map[string]string, n int) []entrain.Digest {
	all := map[int]entrain.Digest{}
	total := map[int]int64{}
	for k, v := range rows {
		b := int(hashOf(k) & int64(n-1))
		total[b] += hashOf(k + "=" + v)
		all[b] = entrain.Digest{Bucket: b, Rows: all[b].Rows + 1, Sum: fmt.Sprint(total[b])}
	}
	return slices.Collect(maps.Values(all))
}

func compareMemory(t *testing.T, source, sink *memory) (*Table, error) {
	t.Helper()
	tables, err := Run(t.Context(), Options{
		Aside:  func(string, string) string { return sink.aside },
		Source: source, Sink: sink, Timeout: 100 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Map:   func(t *entrain.Table) (Mapping, error) { return Mapping{Table: t, From: []int{0, 1}}, nil },
		Wants: func(string, string) bool { return true },
	})
	if len(tables) != 1 {
		return nil, err
	}
	return tables[0], err
}

func TestRun(t *testing.T) {
	source, sink := newMemory(5000), newMemory(5000)
	got, err := compareMemory(t, source, sink)
	if err != nil || got.Outcome != SameRows || got.Rows != 5000 || source.reads != 1 || sink.reads != 1 {
		t.Errorf("%+v, %v; %d and %d reads, want one scan each", got, err, source.reads, sink.reads)
	}
	sink.aside = "paused"
	got, err = compareMemory(t, source, sink)
	if err != nil || got.Outcome != NotCompared || got.Why != "paused" || source.reads != 1 {
		t.Errorf("a table that is paused: %+v, %v, %d reads", got, err, source.reads)
	}
	sink.aside = ""
	delete(sink.rows, "7")
	sink.rows["8"] = "other"
	sink.rows["x"] = "v"
	got, err = compareMemory(t, source, sink)
	if err != nil || got.Outcome != Differs || got.Missing != 1 || got.Different != 1 || got.Extra != 1 || len(got.Keys) != 3 || got.AtLeast {
		t.Errorf("%+v, %v", got, err)
	}
	for i := 100; i < 200; i++ {
		delete(sink.rows, fmt.Sprint(i))
	}
	if got, err = compareMemory(t, source, sink); err != nil || got.found() != 103 || len(got.Keys) != maxKeys {
		t.Errorf("%+v, %v", got, err)
	}
}

// What arrives after it was listed is no difference.
func TestRunWithChangesInFlight(t *testing.T) {
	source, sink := newMemory(1000), newMemory(900)
	sink.listed = func() { sink.rows = maps.Clone(source.rows) }
	if got, err := compareMemory(t, source, sink); err != nil || got.Outcome != SameRows || got.found() != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// More keys than are looked at in one go: differences among the first are enough;
// if all were in flight, the table is summed up anew.
func TestRunIsBounded(t *testing.T) {
	source, sink := newMemory(maxOpen+500), newMemory(0)
	got, err := compareMemory(t, source, sink)
	if err != nil || got.Missing != maxOpen || !got.AtLeast {
		t.Errorf("%+v, %v", got, err)
	}
	sink = newMemory(0)
	sink.listed = func() { sink.rows = maps.Clone(source.rows) }
	if got, err = compareMemory(t, source, sink); err != nil || got.Outcome != SameRows || got.SinkRows != maxOpen+500 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRunBehind(t *testing.T) {
	source, sink := newMemory(100), newMemory(100)
	source.where = "asleep"
	if got, err := compareMemory(t, source, sink); err != nil || got.Outcome != SameRows {
		t.Errorf("what is equal needs no position: %+v, %v", got, err)
	}
	delete(sink.rows, "7")
	got, err := compareMemory(t, source, sink)
	var behind *ErrBehind
	if !errors.As(err, &behind) || got.Outcome != NotCompared || !strings.Contains(got.Why, "1 keys differ") || !strings.Contains(got.Why, "asleep") {
		t.Errorf("%+v, %v", got, err)
	}
}

// A table that cannot be read hides nothing of the others; a lost connection ends
// it all.
func TestRunWithErrors(t *testing.T) {
	source, sink := newMemory(10), newMemory(10)
	sink.fail = errors.New("no such type")
	if got, err := compareMemory(t, source, sink); err != nil || got.Outcome != NotCompared || !strings.Contains(got.Why, "target: no such type") {
		t.Errorf("%+v, %v", got, err)
	}
	sink.fail = entrain.Retryable(errors.New("gone"))
	if _, err := compareMemory(t, source, sink); !entrain.IsRetryable(err) {
		t.Errorf("%v", err)
	}
}
