package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryStore is a Store that can fail to save a position.
type memoryStore struct {
	saved pipeline.Checkpoint
	fail  func() error
}

func (s *memoryStore) Load(context.Context) (pipeline.Checkpoint, error) { return s.saved, nil }

func (s *memoryStore) Save(_ context.Context, c pipeline.Checkpoint) error {
	if s.fail != nil && !c.Position.IsZero() {
		if err := s.fail(); err != nil {
			return err
		}
	}
	s.saved = c
	return nil
}

// history commits transactions of different sizes and returns the ids of all
// their events, in order.
func history(src *entraintest.MemorySource, transactions int) []string {
	table := entraintest.StandardTable()
	var ids []string
	for n := range transactions {
		var events []entrain.Event
		for k := range n%4 + 1 {
			id := entraintest.Text(fmt.Sprint(n*10 + k))
			events = append(events, entraintest.Insert(table, id, id, id, entraintest.Null))
			ids = append(ids, fmt.Sprintf("source/memory/%d/%d", 1000*(n+1), k))
		}
		src.Commit(events...)
	}
	return ids
}

func run(t *testing.T, o pipeline.Options) (*pipeline.Pipeline, error) {
	t.Helper()
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p, p.Run(t.Context())
}

// TestDelivers proves P1 to P3: everything arrives once, in order, is
// acknowledged, and the counters are exact at rest.
func TestDelivers(t *testing.T) {
	for _, keeps := range []entraintest.Keeps{entraintest.KeepsPosition, entraintest.KeepsMark} {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: 3})
		want := history(src, 50)
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: keeps})
		p, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: &memoryStore{}})
		if err != nil {
			t.Fatal(err)
		}
		if got := sink.IDs(); !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		acks := src.Acks()
		if len(acks) == 0 || acks[len(acks)-1].Offset != "50" {
			t.Errorf("acknowledged %v, want up to 50", acks)
		}
		st := p.Status()
		if st.Phase != "stopped" || st.Captured != int64(len(want)) || st.Applied != st.Captured || st.Reread != 0 {
			t.Errorf("status %+v, want %d captured and applied", st, len(want))
		}
		if src.Outstanding() != 0 {
			t.Errorf("%d batches were not freed", src.Outstanding())
		}
	}
}

// TestEveryFailpoint breaks the path once at every boundary, at every visit of
// it: nothing is lost, doubled or reordered, and the counters balance (P1, P2,
// P3, P9).
func TestEveryFailpoint(t *testing.T) {
	points := []pipeline.Point{
		pipeline.PointReceived, pipeline.PointWriting, pipeline.PointDurable,
		pipeline.PointSaved, pipeline.PointAcked,
	}
	for _, point := range points {
		for visit := range 6 {
			t.Run(fmt.Sprintf("%s/%d", point, visit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { failAt(t, point, visit, fault{err: errInjected}) })
			})
			t.Run(fmt.Sprintf("%s/%d/gathered", point, visit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { failAt(t, point, visit, fault{errInjected, 5 * time.Millisecond}) })
			})
		}
	}
}

// TestReturnEarly has what follows of a step left out once, where the next batch makes
// up for it: nothing is read again, and at the other points it is an error.
func TestReturnEarly(t *testing.T) {
	for _, point := range []pipeline.Point{pipeline.PointDurable, pipeline.PointSaved, pipeline.PointAcked} {
		for visit := range 5 { // the last batch has none behind it
			t.Run(fmt.Sprintf("%s/%d", point, visit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					if st := failAt(t, point, visit, fault{err: pipeline.ErrReturn}); st.Reread != 0 {
						t.Errorf("%d events were read again", st.Reread)
					}
				})
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
		history(src, 3)
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
		_, err := run(t, pipeline.Options{Source: src, Sink: sink, Failpoint: func(at pipeline.Point) error {
			if at == pipeline.PointWriting {
				return pipeline.ErrReturn
			}
			return nil
		}})
		if !errors.Is(err, pipeline.ErrReturn) || len(sink.IDs()) != 0 {
			t.Errorf("%v, delivered %v", err, sink.IDs())
		}
	})
}

var errInjected = entrain.Retryable(errors.New("injected"))

// fault is what happens at a point, to a sink that gathers so long.
type fault struct {
	err     error
	gathers time.Duration
}

func failAt(t *testing.T, point pipeline.Point, visit int, f fault) pipeline.Status {
	t.Helper()
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true, BatchEvents: 2})
	want := history(src, 12)
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition, Gathers: f.gathers})
	visits, failed := 0, false
	p, err := run(t, pipeline.Options{Source: src, Sink: sink, BatchBytes: 1,
		Failpoint: func(at pipeline.Point) error {
			if at != point {
				return nil
			}
			visits++
			if visits == visit+1 {
				failed = true
				return f.err
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if !failed {
		t.Fatalf("the point was visited %d times only", visits)
	}
	if got := sink.IDs(); !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
	st := p.Status()
	if st.Captured != st.Applied+st.Reread || st.Applied < int64(len(want))-3 {
		t.Errorf("captured %d ≠ applied %d + reread %d", st.Captured, st.Applied, st.Reread)
	}
	if src.Outstanding() != 0 {
		t.Errorf("%d batches were not freed", src.Outstanding())
	}
	return st
}

// TestUnknownOutcome proves P2: the sink committed, but the answer was lost.
func TestUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
		want := history(src, 10)
		commits := 0
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{
			Keeps: entraintest.KeepsPosition,
			AfterCommit: func(context.Context, *entrain.Batch) error {
				if commits++; commits%3 == 0 {
					return fmt.Errorf("commit: %w", entrain.ErrDisconnected)
				}
				return nil
			},
		})
		if _, err := run(t, pipeline.Options{Source: src, Sink: sink, BatchBytes: 1}); err != nil {
			t.Fatal(err)
		}
		if got := sink.IDs(); !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
	})
}

// TestSavedBeforeConfirmed proves the order that P1 hangs on: while the
// position cannot be saved, nothing is confirmed to the source.
func TestSavedBeforeConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
		history(src, 3)
		failures := 0
		store := &memoryStore{}
		store.fail = func() error {
			if failures++; failures <= 4 {
				if acks := src.Acks(); len(acks) > 0 {
					t.Errorf("confirmed %v, but nothing was saved", acks)
				}
				return entrain.Retryable(errors.New("no space left on device"))
			}
			return nil
		}
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsMark})
		if _, err := run(t, pipeline.Options{Source: src, Sink: sink, Store: store}); err != nil {
			t.Fatal(err)
		}
		if store.saved.Position.Offset != "3" || failures < 5 {
			t.Errorf("saved %v after %d failures", store.saved.Position, failures)
		}
	})
}

// TestSavesAreSpaced: many small writes share a save, and the last of them does
// not wait for the next write.
func TestSavesAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		history(src, 200)
		saves := 0
		store := &memoryStore{fail: func() error { saves++; return nil }}
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{
			Keeps: entraintest.KeepsMark,
			BeforeWrite: func(context.Context, *entrain.Batch) error {
				<-time.After(time.Millisecond)
				return nil
			},
		})
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink, Store: store, BatchBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		<-time.After(time.Second)
		synctest.Wait()
		if saves < 2 || saves > 10 || store.saved.Position.Offset != "200" {
			t.Errorf("%d saves of 200 writes in 200 ms, the last at %s", saves, store.saved.Position)
		}
		if acks := src.Acks(); len(acks) == 0 || acks[len(acks)-1].Offset != "200" {
			t.Errorf("acknowledged %v", acks)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestFirstErrorIsFinal: a pipeline that never ran says so at once, and one
// that ran keeps trying (P9).
func TestFirstErrorIsFinal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := fmt.Errorf("dial: %w", entrain.ErrDisconnected)
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{
			BeforeOpen: func(context.Context) error { return gone },
		})
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
		p, err := run(t, pipeline.Options{Source: src, Sink: sink})
		if !errors.Is(err, entrain.ErrDisconnected) || p.Status().Phase != "failed" {
			t.Errorf("first connection failed: %v, phase %s", err, p.Status().Phase)
		}
	})
}

// TestKeepsTrying proves P9: hours of refusals, then everything arrives.
func TestKeepsTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opens := 0
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{
			BeforeOpen: func(context.Context) error {
				if opens++; opens > 1 && opens < 2000 {
					return fmt.Errorf("dial: %w", entrain.ErrDisconnected)
				}
				return nil
			},
		})
		want := history(src, 5)
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		src.Disconnect(entrain.ErrDisconnected)
		want = append(want, "source/memory/6000/0")
		one := entraintest.Text("999")
		src.Commit(entraintest.Insert(entraintest.StandardTable(), one, one, one, one))
		<-time.After(24 * time.Hour) // of the bubble's clock
		if got := sink.IDs(); !slices.Equal(got, want) {
			t.Errorf("after %d attempts: %v, want %v", opens, got, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// replaced is a sink whose database is another one from the second session on.
type replaced struct {
	sinks []entrain.Sink
	opens int
}

func (r *replaced) Open(ctx context.Context) (entrain.Writer, error) {
	sink := r.sinks[min(r.opens, len(r.sinks)-1)]
	r.opens++
	return sink.Open(ctx)
}

// TestLostPosition proves P5: a sink that lost its position is a named stop,
// while the pipeline runs and after a restart.
func TestLostPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keeps := entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition}
		old := entraintest.NewMemorySink(keeps)
		anew := entraintest.NewMemorySink(keeps)
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		history(src, 3)
		store := &memoryStore{}
		p, err := pipeline.New(pipeline.Options{Source: src, Store: store, Sink: &replaced{sinks: []entrain.Sink{old, anew}}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- p.Run(t.Context()) }()
		synctest.Wait()
		src.Disconnect(entrain.ErrDisconnected)
		wantStop(t, <-done, "position_lost")
		_, err = run(t, pipeline.Options{Source: src, Store: store, Sink: anew})
		wantStop(t, err, "position_lost")
		if len(anew.IDs()) != 0 {
			t.Errorf("the new sink got %v", anew.IDs())
		}
	})
}

func wantStop(t *testing.T, err error, code string) {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != code {
		t.Errorf("%v, want stop %s", err, code)
	}
}

// TestStopIsFinal proves P5: a named stop is not retried.
func TestStopIsFinal(t *testing.T) {
	stop := &entrain.Stop{Code: "slot_lost", What: "it is lost", Next: "type this"}
	var opens atomic.Int32
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{
		BeforeRead: func(context.Context) error { opens.Add(1); return fmt.Errorf("read: %w", stop) },
	})
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
	_, err := run(t, pipeline.Options{Source: src, Sink: sink})
	var got *entrain.Stop
	if !errors.As(err, &got) || got != stop || opens.Load() != 1 {
		t.Errorf("%v after %d sessions, want the stop after one", err, opens.Load())
	}
}

// TestDrain proves that the end of the context loses nothing of what was read
// and does not wait for ever for a sink that hangs.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		want := history(src, 20)
		release := make(chan struct{})
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{
			Keeps: entraintest.KeepsPosition,
			BeforeWrite: func(ctx context.Context, _ *entrain.Batch) error {
				select {
				case <-release:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
		})
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if st := p.Status(); st.Phase != "draining" || st.Waiting != "sink" {
			t.Errorf("status %+v, want draining and waiting for the sink", st)
		}
		close(release)
		if err := <-done; err != nil || !slices.Equal(sink.IDs(), want) {
			t.Errorf("drained with %v: %d events, want %d", err, len(sink.IDs()), len(want))
		}
		if acks := src.Acks(); len(acks) == 0 || acks[len(acks)-1].Offset != "20" {
			t.Errorf("acknowledged %v", acks)
		}
	})
}

func TestDrainTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		history(src, 3)
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{
			Keeps:       entraintest.KeepsPosition,
			BeforeWrite: func(ctx context.Context, _ *entrain.Batch) error { <-ctx.Done(); return ctx.Err() },
		})
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink, ShutdownTimeout: 7 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		start := time.Now()
		cancel()
		err = <-done
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "7s") {
			t.Errorf("a sink that hangs: %v", err)
		}
		if waited := time.Since(start); waited != 7*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{})
	for name, o := range map[string]pipeline.Options{
		"no source":     {Sink: sink},
		"no sink":       {Source: src},
		"negative size": {Source: src, Sink: sink, BufferBytes: -1},
	} {
		if _, err := pipeline.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "store") {
		t.Errorf("a sink without memory and no store: %v", err)
	}
	if err := p.Run(t.Context()); err == nil {
		t.Error("Run twice was accepted")
	}
}
