package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// letterBox keeps dead letters in memory.
type letterBox struct {
	mu      sync.Mutex
	letters map[string]parking.Letter
	away    int // calls of Park that fail from now on
	removed int // calls of Unpark
}

func (b *letterBox) Letters(context.Context) ([]parking.Letter, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.letters)), nil
}

func (b *letterBox) Park(_ context.Context, letters []parking.Letter) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away > 0 {
		b.away--
		return errors.New("the box is away")
	}
	for _, l := range letters {
		if id := l.Event.ID(); b.letters[id].At.IsZero() {
			b.letters[id] = l
		}
	}
	return nil
}

func (b *letterBox) Unpark(_ context.Context, ids []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.removed++
	for _, id := range ids {
		delete(b.letters, id)
	}
	return nil
}

func (b *letterBox) ids() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.letters))
}

// picky is a sink that refuses rows until it is mended.
type picky struct {
	mu      sync.Mutex
	bad     map[string]bool // ids
	refused int
	each    func() // called by each write
}

func (k *picky) before(_ context.Context, b *entrain.Batch) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.each != nil {
		k.each()
	}
	for i := range b.Events {
		if id := b.Events[i].ID(); k.bad[id] {
			k.refused++
			failed := []entrain.FailedEvent{{ID: id, Op: b.Events[i].Op, Err: errors.New("does not fit")}}
			return &entrain.Stop{Code: "row_refused", Data: true, Err: &entrain.BatchError{Failed: failed}}
		}
	}
	return nil
}

func (k *picky) mend() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bad = nil
}

// office is a pipeline with dead letters at work.
type office struct {
	*pipeline.Pipeline
	sink  *entraintest.MemorySink
	picky *picky
	box   *letterBox
	end   func()
}

func openOffice(t *testing.T, src *entraintest.MemorySource, o pipeline.DeadLetters, bad ...string) *office {
	t.Helper()
	f := &office{picky: &picky{bad: map[string]bool{}}, box: &letterBox{letters: map[string]parking.Letter{}, away: 3}}
	for _, id := range bad {
		f.picky.bad[id] = true
	}
	f.sink = entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition, BeforeWrite: f.picky.before})
	o.Store = f.box
	var err error
	f.Pipeline, err = pipeline.New(pipeline.Options{Source: src, Sink: f.sink, BatchBytes: 1, DeadLetters: &o})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	f.end = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	<-time.After(time.Minute)
	return f
}

// replay replays letters and says how many it should be.
func (f *office) replay(t *testing.T, want int, ids ...string) {
	t.Helper()
	if n, err := f.Replay(t.Context(), ids); err != nil || n != want {
		t.Errorf("replayed %d of %d: %v", n, want, err)
	}
}

// TestDeadLetters: an event that the sink refuses is stored with its transaction,
// however large that is, and the others flow; a store that is away holds all up.
func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2})
		want := history(src, 20)
		const bad = "source/memory/4000/3"
		f := openOffice(t, src, pipeline.DeadLetters{Rules: parking.Rules{Attempts: 2}, Alert: 1}, bad, "source/memory/8000/1", "source/memory/13000/0")
		defer f.end()
		parked := slices.Concat(idsOf(4000, 4), idsOf(8000, 4), idsOf(13000, 1))
		flow := slices.DeleteFunc(slices.Clone(want), func(id string) bool { return slices.Contains(parked, id) })
		if got := f.sink.IDs(); !slices.Equal(got, flow) {
			t.Errorf("delivered %v, want %v", got, flow)
		}
		slices.Sort(parked)
		if got := f.box.ids(); !slices.Equal(got, parked) {
			t.Errorf("parked %v, want %v", got, parked)
		}
		l := f.box.letters[bad]
		if l.Reason != "does not fit" || l.Class != "row_refused" || l.Attempts != 2 || l.Behind != "" || f.box.letters["source/memory/4000/0"].Behind != bad {
			t.Errorf("the letter is %+v", l)
		}
		st := f.Status()
		if int(st.Parked) != len(parked) || st.DeadLetters != len(parked) || st.Captured != st.Applied+st.Parked+st.Reread || st.Applied != int64(len(flow)) {
			t.Errorf("status %+v", st)
		}
	})
}

// TestReplay: what is replayed is delivered where the stream stands, and removed;
// what is refused again stays.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2})
		want := history(src, 20)
		f := openOffice(t, src, pipeline.DeadLetters{}, "source/memory/4000/3", "source/memory/8000/1", "source/memory/13000/0")
		defer f.end()
		flow := len(f.sink.IDs())
		if n, err := f.Replay(t.Context(), nil); err == nil || n != 0 {
			t.Errorf("what is still refused was replayed: %d, %v", n, err)
		}
		if _, err := f.Replay(t.Context(), []string{"source/memory/9/9"}); err == nil {
			t.Error("a letter was replayed that is not there")
		}
		f.picky.mend()
		f.replay(t, 4, "source/memory/8000/")
		if n, err := f.Drop(t.Context(), []string{"source/memory/13000/"}); err != nil || n != 1 {
			t.Errorf("dropped %d, %v", n, err)
		}
		f.replay(t, 4)
		if got := f.Status().DeadLetters; len(f.box.ids()) > 0 || got != 0 {
			t.Errorf("left: %v, counted %d", f.box.ids(), got)
		}
		if got, all := f.sink.IDs(), len(want)-1; len(got) != all || !slices.Equal(got[flow:flow+4], idsOf(8000, 4)) {
			t.Errorf("delivered %d of %d: %v", len(got), all, got)
		}
	})
}

func idsOf(version, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("source/memory/%d/%d", version, i))
	}
	return ids
}

// TestLettersComeInOrder: what comes behind a letter waits, and is not replayed
// before it.
func TestLettersComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2})
		table := entraintest.StandardTable()
		cells := func(id, v string) []entraintest.Cell {
			return []entraintest.Cell{entraintest.Text(id), entraintest.Text(v), entraintest.Text(v), entraintest.Null}
		}
		src.Commit(entraintest.Insert(table, cells("1", "a")...))
		src.Commit(entraintest.Insert(table, cells("2", "b")...))
		src.Commit(entraintest.Update(table, cells("1", "c")...))
		f := openOffice(t, src, pipeline.DeadLetters{}, "source/memory/1000/0")
		defer f.end()
		f.picky.mend()
		if _, err := f.Replay(t.Context(), []string{"source/memory/3000/0"}); err == nil || !strings.Contains(err.Error(), "source/memory/1000/0") {
			t.Errorf("a letter was replayed before the one that it comes behind: %v", err)
		}
		f.replay(t, 2)
		want := entraintest.Rows{"1": cells("1", "c"), "2": cells("2", "b")}
		if diff := f.sink.Rows(table.String()).Diff(want); diff != "" {
			t.Error(diff)
		}
	})
}

// TestWithoutDeadLetters: by default what is refused ends the pipeline.
func TestWithoutDeadLetters(t *testing.T) {
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
	history(src, 3)
	sinks := &picky{bad: map[string]bool{"source/memory/2000/0": true}}
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition, BeforeWrite: sinks.before})
	p, err := run(t, pipeline.Options{Source: src, Sink: sink})
	wantStop(t, err, "row_refused")
	if _, err := p.Replay(t.Context(), nil); err == nil {
		t.Error("there were letters")
	}
}

// TestEachRefusalWaitsAlike: the waits before an event is given up do not go on with
// those of the one before it.
func TestEachRefusalWaitsAlike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		history(src, 5)
		k := &picky{bad: map[string]bool{"source/memory/4000/0": true, "source/memory/4000/1": true, "source/memory/4000/2": true}} // of one batch
		box := &letterBox{letters: map[string]parking.Letter{}}
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition, BeforeWrite: k.before})
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink, Retry: pipeline.Retry{First: time.Second, Most: time.Hour, Steady: true},
			DeadLetters: &pipeline.DeadLetters{Store: box, Rules: parking.Rules{Unit: parking.Events, Attempts: 5}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		<-time.After(3*31*time.Second + time.Second) // at most 1 + 2 + 4 + 8 + 16 for each
		if letters := p.Status().DeadLetters; letters < 3 {
			t.Errorf("%d letters, %v", letters, box.ids())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestAskedWhenItHasEnded: an order that reaches a pipeline which has ended is answered:
// behind a stream another one is in its place, and nobody would ever take it.
func TestAskedWhenItHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		history(src, 3)
		f := openOffice(t, src, pipeline.DeadLetters{}, "source/memory/2000/0")
		f.end()
		if _, err := f.Replay(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "has ended") {
			t.Errorf("replayed by a pipeline that has ended: %v", err)
		}
	})
}

// TestReplayOfMany: what was replayed is removed together, since a removal costs as much
// as reading all letters; what is refused ends that, and whoever asked can.
func TestReplayOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		const many = 1000
		bad := make([]string, many)
		for i := range many {
			src.Commit(entraintest.Insert(entraintest.StandardTable(), entraintest.Text(fmt.Sprint(i)), entraintest.Null, entraintest.Null, entraintest.Null))
			bad[i] = fmt.Sprintf("source/memory/%d/0", 1000*(i+1))
		}
		f := openOffice(t, src, pipeline.DeadLetters{}, bad...)
		defer f.end()
		for range 100 {
			<-time.After(time.Minute) // each refusal is a session
		}
		if n := len(f.box.ids()); n != many {
			t.Fatalf("%d letters", n)
		}
		f.picky.mend()
		f.picky.bad = map[string]bool{bad[600]: true}
		if n, err := f.Replay(t.Context(), nil); err == nil || n != 600 || len(f.box.ids()) != many-600 || f.box.removed > 20 {
			t.Errorf("replayed %d, %d are left, %d removals: %v", n, len(f.box.ids()), f.box.removed, err)
		}
		f.picky.mend()
		asking, end := context.WithCancel(t.Context())
		f.picky.each = end
		if n, err := f.Replay(asking, nil); !errors.Is(err, context.Canceled) || n != 1 || len(f.box.ids()) != many-601 {
			t.Errorf("replayed %d for nobody, %d are left: %v", n, len(f.box.ids()), err)
		}
		f.picky.each = nil
		f.replay(t, many-601)
	})
}

// TestLettersRemovedBehindUs: when somebody emptied the table of letters, what came behind
// them waits until they are looked at, and not longer.
func TestLettersRemovedBehindUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		table := entraintest.StandardTable()
		commit := func(v string) {
			src.Commit(entraintest.Update(table, entraintest.Text("1"), entraintest.Text(v), entraintest.Text(v), entraintest.Null))
			<-time.After(time.Minute)
		}
		src.Commit(entraintest.Insert(table, entraintest.Text("1"), entraintest.Text("a"), entraintest.Text("a"), entraintest.Null))
		f := openOffice(t, src, pipeline.DeadLetters{}, "source/memory/2000/0")
		defer f.end()
		commit("b")
		if got := f.box.ids(); !slices.Equal(got, idsOf(2000, 1)) {
			t.Fatalf("letters %v", got)
		}
		if err := f.box.Unpark(t.Context(), idsOf(2000, 1)); err != nil {
			t.Fatal(err)
		}
		if all, err := f.Letters(t.Context()); err != nil || len(all) != 0 || f.Status().DeadLetters != 0 {
			t.Errorf("%d letters, %d are counted: %v", len(all), f.Status().DeadLetters, err)
		}
		commit("c")
		if got := f.box.ids(); len(got) != 0 || !slices.Contains(f.sink.IDs(), "source/memory/3000/0") {
			t.Errorf("it waits behind a letter that is gone: %v", got)
		}
	})
}
