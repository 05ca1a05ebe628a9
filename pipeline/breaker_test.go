package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// state is how a server is.
type state int

const (
	well state = iota
	away
	hangs
)

// server is a sink's server that can be away, or hang.
type server struct {
	mu      sync.Mutex
	state   state
	tries   []time.Time
	batches []int // events of the writes since it was back
	hung    int
}

func (s *server) open(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries = append(s.tries, time.Now())
	if s.state == away {
		return fmt.Errorf("nobody listens: %w", entrain.ErrDisconnected)
	}
	return nil
}

func (s *server) write(ctx context.Context, b *entrain.Batch) error {
	s.mu.Lock()
	is := s.state
	if is == hangs {
		s.hung++
	}
	s.batches = append(s.batches, len(b.Events))
	s.mu.Unlock()
	if is == hangs {
		<-ctx.Done()
		return &entrain.Stop{Code: "interrupted", Data: true, Err: ctx.Err()} // as if it were the event's fault
	}
	if is == away {
		return fmt.Errorf("it went away: %w", entrain.ErrDisconnected)
	}
	return nil
}

// set changes how it is, and returns the tries since the last change.
func (s *server) set(to state) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	tries := s.tries
	s.state, s.tries, s.batches = to, nil, nil
	return tries
}

// seen is what came to it since the last change, and how often it hung.
func (s *server) seen() (tries, hung int, batches []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tries), s.hung, slices.Clone(s.batches)
}

// started runs a pipeline into the server until end is called.
func started(t *testing.T, src entrain.Source, s *server, o pipeline.Options) (p *pipeline.Pipeline, sink *entraintest.MemorySink, end func()) {
	t.Helper()
	sink = entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition, BeforeOpen: s.open, BeforeWrite: s.write})
	o.Source, o.Sink = src, sink
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	return p, sink, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestCircuitOpens: a sink that is away is left alone after some failures, and tried
// once in a while; when it is back, one batch is tried first, then all flow. Nothing is
// lost, and no event is refused by it.
func TestCircuitOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		s := &server{}
		box := &letterBox{letters: map[string]parking.Letter{}}
		circuit := pipeline.NewCircuit(pipeline.CircuitRules{Failures: 3, Open: 5 * time.Minute})
		p, sink, end := started(t, src, s, pipeline.Options{Circuit: circuit, DeadLetters: &pipeline.DeadLetters{Store: box, Rules: parking.Rules{Attempts: 1}}})
		want := history(src, 4)
		<-time.After(time.Minute)
		if st := p.Status().Circuit; st == nil || st.State != "closed" || st.Failures != 0 {
			t.Errorf("closed: %+v", st)
		}
		s.set(away)
		want = append(want, later(src, 8)...)
		<-time.After(21 * time.Minute)
		if st := p.Status().Circuit; st.State != "open" || st.Failures < 3 || st.Seconds <= 0 || st.Opened < 2 {
			t.Errorf("open: %+v", st)
		}
		tries := s.set(well)
		if len(tries) < 4 || len(tries) > 7 {
			t.Fatalf("%d tries in 21 minutes", len(tries))
		}
		for i := 3; i < len(tries); i++ {
			if d := tries[i].Sub(tries[i-1]); d < 5*time.Minute || d > 6*time.Minute {
				t.Errorf("try %d comes %s behind the one before", i, d)
			}
		}
		<-time.After(6 * time.Minute)
		if st := p.Status().Circuit; st.State != "closed" || st.Failures != 0 {
			t.Errorf("closed again: %+v", st)
		}
		if got := sink.IDs(); !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		if _, _, batches := s.seen(); len(batches) < 2 || batches[0] != 1 {
			t.Errorf("the probe and the rest were writes of %v events", batches)
		}
		if letters := box.ids(); len(letters) > 0 {
			t.Errorf("dead letters %v", letters)
		}
		end()
	})
}

var keys atomic.Int64

// later commits transactions of one event each.
func later(src *entraintest.MemorySource, n int) (ids []string) {
	for range n {
		id := entraintest.Text(fmt.Sprint(1000 + keys.Add(1)))
		at := src.Commit(entraintest.Insert(entraintest.StandardTable(), id, id, id, entraintest.Null))
		ids = append(ids, "source/memory/"+at.Offset+"000/0")
	}
	return ids
}

// TestCircuitOutlives: a pipeline that takes over from one that ended finds the circuit
// as it was, and waits.
func TestCircuitOutlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		s := &server{state: away}
		o := pipeline.Options{Circuit: pipeline.NewCircuit(pipeline.CircuitRules{Failures: 2, Open: time.Hour})}
		for range 2 {
			sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition, BeforeOpen: s.open})
			o.Source, o.Sink = src, sink
			if _, err := run(t, o); !errors.Is(err, entrain.ErrDisconnected) {
				t.Fatal(err)
			}
		}
		s.set(well)
		want := later(src, 3)
		p, sink, end := started(t, src, s, o)
		<-time.After(50 * time.Minute)
		tries, _, _ := s.seen()
		if st := p.Status(); tries > 0 || st.Circuit.State != "open" || st.Phase != "connecting" {
			t.Errorf("%d tries, %+v", tries, st)
		}
		<-time.After(11 * time.Minute)
		if got := sink.IDs(); !slices.Equal(got, want) || p.Status().Circuit.State != "closed" {
			t.Errorf("delivered %v, %+v", got, p.Status().Circuit)
		}
		end()
	})
}

// TestCircuitEnds: a pipeline whose circuit is open ends at once when it is told to.
func TestCircuitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		s := &server{}
		p, _, end := started(t, src, s, pipeline.Options{Circuit: pipeline.NewCircuit(pipeline.CircuitRules{Failures: 1, Open: time.Hour})})
		later(src, 1)
		<-time.After(time.Minute)
		s.set(away)
		later(src, 1)
		<-time.After(time.Minute)
		if st := p.Status().Circuit; st.State != "open" {
			t.Errorf("%+v", st)
		}
		begun := time.Now()
		end()
		if d := time.Since(begun); d > time.Second {
			t.Errorf("it took %s", d)
		}
	})
}

// TestAttemptTimeout: a sink that hangs is opened anew after the time, for as long as it
// hangs; that is no refusal of the event and no stop, and nothing is lost.
func TestAttemptTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		s := &server{}
		box := &letterBox{letters: map[string]parking.Letter{}}
		p, sink, end := started(t, src, s, pipeline.Options{Retry: pipeline.Retry{Attempt: 10 * time.Second},
			Circuit:     pipeline.NewCircuit(pipeline.CircuitRules{Failures: 1000, Open: time.Hour}),
			DeadLetters: &pipeline.DeadLetters{Store: box, Rules: parking.Rules{Attempts: 1}}})
		want := later(src, 2)
		<-time.After(time.Minute)
		s.set(hangs)
		want = append(want, later(src, 2)...)
		<-time.After(5 * time.Minute)
		_, hung, _ := s.seen()
		if n := p.Status().Circuit.Failures; n < 10 || n > 30 || hung < 10 {
			t.Errorf("%d failures, %d attempts in 5 minutes", n, hung)
		}
		s.set(well)
		<-time.After(time.Minute)
		if got := sink.IDs(); !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		if letters := box.ids(); len(letters) > 0 {
			t.Errorf("dead letters %v", letters)
		}
		end()
	})
}

// TestReplayIsAnAttempt: a sink that hangs is given up in a replay, too: nothing flows
// meanwhile.
func TestReplayIsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		s := &server{}
		box := &letterBox{letters: map[string]parking.Letter{}}
		p, sink, end := started(t, src, s, pipeline.Options{Retry: pipeline.Retry{Attempt: 10 * time.Second}, DeadLetters: &pipeline.DeadLetters{Store: box}})
		want := later(src, 2)
		<-time.After(time.Minute)
		lost := parking.Letter{Event: entraintest.Insert(entraintest.StandardTable(), entraintest.Text("77"), entraintest.Null, entraintest.Null, entraintest.Null), At: time.Now()}
		lost.Event.Tx = &entrain.Transaction{Stream: &entrain.Stream{Source: "source", Incarnation: "memory"}, Version: 1}
		if err := box.Park(t.Context(), []parking.Letter{lost}); err != nil {
			t.Fatal(err)
		}
		s.set(hangs)
		begun := time.Now()
		if n, err := p.Replay(t.Context(), nil); err == nil || n != 0 || time.Since(begun) != 10*time.Second {
			t.Errorf("replayed %d in %s: %v", n, time.Since(begun), err)
		}
		s.set(well)
		want = append(want, later(src, 2)...)
		<-time.After(time.Minute)
		if n, err := p.Replay(t.Context(), nil); err != nil || n != 1 {
			t.Errorf("replayed %d: %v", n, err)
		}
		if got, want := sink.IDs(), append(want, lost.Event.ID()); !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		end()
	})
}
