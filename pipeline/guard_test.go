package pipeline_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// guarded is a source that counts its guards.
type guarded struct {
	entrain.Source
	now, total atomic.Int32
}

func (g *guarded) Guard(ctx context.Context) {
	g.now.Add(1)
	g.total.Add(1)
	<-ctx.Done()
	g.now.Add(-1)
}

// closedAtTimes is a sink that can be reached only while it is open.
type closedAtTimes struct {
	entrain.Sink
	closed atomic.Bool
}

func (s *closedAtTimes) Open(ctx context.Context) (entrain.Writer, error) {
	if s.closed.Load() {
		return nil, entrain.Retryable(errors.New("the sink cannot be reached"))
	}
	return s.Sink.Open(ctx)
}

// TestGuardWhileTheSinkIsAway: a source is looked after as long as there is no
// session, by one guard, and not during one (P7).
func TestGuardWhileTheSinkIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		src := &guarded{Source: memory}
		var broken atomic.Bool
		sink := &closedAtTimes{Sink: entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})}
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink, Failpoint: func(pipeline.Point) error {
			if broken.CompareAndSwap(true, false) {
				return entrain.Retryable(errors.New("the sink went away"))
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		expect := func(when string, now, total int32) {
			t.Helper()
			<-time.After(time.Hour) // of the bubble's clock
			synctest.Wait()
			if src.now.Load() != now || src.total.Load() != total {
				t.Errorf("%s: %d guards, %d in all; want %d and %d", when, src.now.Load(), src.total.Load(), now, total)
			}
		}
		expect("during the first session", 0, 1)
		broken.Store(true)
		sink.closed.Store(true)
		history(memory, 1)
		expect("without a sink", 1, 2)
		sink.closed.Store(false)
		expect("during the second session", 0, 2)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
