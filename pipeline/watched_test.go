package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// watchful is a sink whose sessions can say that they are over.
type watchful struct {
	entrain.Sink
	lost  chan error // of the last session
	opens int
}

type watchfulWriter struct {
	entrain.Writer
	entrain.Positioner
	lost chan error
}

func (w watchfulWriter) Lost() <-chan error { return w.lost }

func (s *watchful) Open(ctx context.Context) (entrain.Writer, error) {
	w, err := s.Sink.Open(ctx)
	if err != nil {
		return nil, err
	}
	s.opens++
	s.lost = make(chan error, 1)
	return watchfulWriter{w, w.(entrain.Positioner), s.lost}, nil
}

// TestSinkSaysItIsLost: a session ends when its sink says that it is over, though nothing
// is written; the next one goes on, and a stop is the end, as any stop is.
func TestSinkSaysItIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		memory := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
		sink := &watchful{Sink: memory}
		p, err := pipeline.New(pipeline.Options{Source: src, Sink: sink})
		if err != nil {
			t.Fatal(err)
		}
		history(src, 2)
		done := make(chan error, 1)
		go func() { done <- p.Run(t.Context()) }()
		<-time.After(time.Hour) // of the bubble's clock
		synctest.Wait()
		had := len(memory.IDs())
		sink.lost <- entrain.Retryable(errors.New("the server is gone"))
		<-time.After(time.Hour)
		synctest.Wait()
		one := entraintest.Text("999")
		src.Commit(entraintest.Insert(entraintest.StandardTable(), one, one, one, one))
		<-time.After(time.Hour)
		synctest.Wait()
		if got := len(memory.IDs()); sink.opens != 2 || had == 0 || got != had+1 {
			t.Errorf("%d sessions; %d events before, %d behind", sink.opens, had, got)
		}
		sink.lost <- &entrain.Stop{Code: "denied", What: "it is denied", Next: "type this"}
		wantStop(t, <-done, "denied")
	})
}
