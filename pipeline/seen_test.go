package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/dedup"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// keyBox keeps keys in memory.
type keyBox struct {
	mu    sync.Mutex
	keys  map[string]string
	asked int
	// away counts calls that fail from now on, of Values and of Keep.
	away, full int
}

var errAway = errors.New("the keys are away")

func (b *keyBox) Values(_ context.Context, keys []string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.away > 0 {
		b.away--
		return nil, errAway
	}
	values := make([]string, len(keys))
	for i, k := range keys {
		values[i] = b.keys[k]
	}
	return values, nil
}

func (b *keyBox) Keep(_ context.Context, keys, values []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full > 0 {
		b.full--
		return errAway
	}
	for i, k := range keys {
		b.keys[k] = values[i]
	}
	return nil
}

func (b *keyBox) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.keys)
}

func keyed(t *testing.T, pattern string, known ...string) (*keyBox, *pipeline.Dedup) {
	t.Helper()
	p, err := dedup.Parse(pattern)
	if err != nil {
		t.Fatal(err)
	}
	b := &keyBox{keys: map[string]string{}}
	for _, id := range known { // of the first events of their transactions
		b.keys[id] = dedup.Mark(&entrain.Event{Tx: &entrain.Transaction{Version: versionOf(id), Stream: &entrain.Stream{Source: "source", Incarnation: "memory"}}}, "shop")
	}
	return b, &pipeline.Dedup{Store: b, Pattern: p, Delivery: "shop"}
}

func versionOf(id string) uint64 {
	e := map[string]uint64{"source/memory/2000/0": 2000, "source/memory/4000/0": 4000}
	return e[id]
}

// TestDedupPart: of transactions of which the sink has a part it gets the rest, in
// their order and at their positions; the counts are right. A store that is away holds
// all up and loses nothing; a key that another change has made is none of this one.
func TestDedupPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2, Bounded: true})
		want := history(src, 12)
		box, d := keyed(t, "{id}", "source/memory/2000/0", "source/memory/4000/0")
		box.keys["source/memory/5000/0"], box.away, box.full = "somebody else's", 2, 2
		sink, store := entraintest.NewMemorySink(entraintest.MemorySinkConfig{}), &memoryStore{}
		p, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: store, Dedup: d})
		if err != nil {
			t.Fatal(err)
		}
		got := sink.IDs()
		rest := slices.DeleteFunc(slices.Clone(want), func(id string) bool { return id == "source/memory/2000/0" || id == "source/memory/4000/0" })
		if !slices.Equal(got, rest) {
			t.Errorf("the sink has %v", got)
		}
		st := p.Status()
		if st.Filtered != 2 || st.Duplicates != 2 || st.Captured != st.Applied+st.Filtered+st.Parked+st.Reread {
			t.Errorf("counts: %+v", st)
		}
		if st.DuplicateRate <= 0 || st.DuplicateRate > 0.2 {
			t.Errorf("the rate is %v", st.DuplicateRate)
		}
		if box.away != 0 || box.full != 0 || box.count() != len(want) {
			t.Errorf("%d keys of %d events", box.count(), len(want))
		}
		<-time.After(2 * time.Minute)
		if rate := p.Status().DuplicateRate; rate != 0 {
			t.Errorf("two minutes later the rate is %v", rate)
		}
	})
}

// TestDedupIsNotUsed: a sink that goes back to its mark after a crash has then lost
// what the keys say that it has, and one that keeps the position needs no keys.
func TestDedupIsNotUsed(t *testing.T) {
	for _, keeps := range []entraintest.Keeps{entraintest.KeepsMark, entraintest.KeepsPosition} {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
		want := history(src, 5)
		box, d := keyed(t, "{id}", "source/memory/2000/0")
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: keeps})
		if _, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: &memoryStore{}, Dedup: d}); err != nil {
			t.Fatal(err)
		}
		if got := sink.IDs(); !slices.Equal(got, want) || box.asked > 0 {
			t.Errorf("%d: the sink has %v, and %d questions were asked", keeps, got, box.asked)
		}
	}
}

// TestDedupReplay: dead letters that are replayed are delivered whatever the keys say,
// and nothing that was parked has a key.
func TestDedupReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		history(src, 6)
		const bad = "source/memory/2000/1"
		refuses := &picky{bad: map[string]bool{bad: true}}
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{BeforeWrite: refuses.before})
		box, d := keyed(t, "{id}")
		letters := &letterBox{letters: map[string]parking.Letter{}}
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink, Store: &memoryStore{}, Dedup: d, BatchBytes: 1,
			DeadLetters: &pipeline.DeadLetters{Store: letters, Rules: parking.Rules{Attempts: 1}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		<-time.After(time.Minute)
		parked := letters.ids()
		box.mu.Lock()
		for _, id := range parked {
			if box.keys[id] != "" {
				t.Errorf("%s is a letter and has a key", id)
			}
			box.keys[id] = "whatever"
		}
		box.mu.Unlock()
		refuses.mend()
		if n, err := p.Replay(t.Context(), nil); err != nil || n != 2 {
			t.Errorf("replayed %d: %v", n, err)
		}
		if got := sink.IDs(); !slices.Contains(got, bad) {
			t.Errorf("the sink has %v", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
