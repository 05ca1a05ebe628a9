package fanout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/packed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// history commits transactions and returns the ids of their events, in order.
func history(src *entraintest.MemorySource, from, to int) (ids []string) {
	table := entraintest.StandardTable()
	for n := from; n < to; n++ {
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

// rig is a source, a log and sinks.
type rig struct {
	t       *testing.T
	bounded bool
	source  *entraintest.MemorySource
	log     *packed.Log
	sinks   map[string]*entraintest.MemorySink
}

type rigConfig struct{ bounded bool }

// newRig makes one whose source ends by itself, or not.
func newRig(t *testing.T, c rigConfig) *rig {
	t.Helper()
	log, err := packed.New(packed.Config{Backend: &packed.Memory{}, Producer: "shop", MessageBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{
		t: t, bounded: c.bounded, log: log, sinks: map[string]*entraintest.MemorySink{},
		source: entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: c.bounded, BatchEvents: 3}),
	}
}

// sink adds a sink; hook is called before each of its writes.
func (r *rig) sink(name string, hook func(ctx context.Context) error) Sink {
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{
		Keeps: entraintest.KeepsPosition, BeforeWrite: func(ctx context.Context, _ *entrain.Batch) error { return hook(ctx) },
	})
	r.sinks[name] = sink
	return Sink{Name: name, Cursor: "shop." + name, Deliver: func(_ context.Context, _ stream.Partition, source entrain.Source) (*Delivery, error) {
		engine, err := pipeline.New(pipeline.Options{Source: source, Sink: sink})
		return &Delivery{Engine: engine}, err
	}}
}

func (r *rig) fanout(sinks ...Sink) *Fanout {
	r.t.Helper()
	capture, err := pipeline.New(pipeline.Options{Source: r.source, Sink: r.log})
	if err != nil {
		r.t.Fatal(err)
	}
	f, err := New(Options{Capture: capture, Stream: r.log, Sinks: sinks, Bounded: r.bounded})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

func (r *rig) expect(name string, want []string) {
	r.t.Helper()
	if got := r.sinks[name].IDs(); !slices.Equal(got, want) {
		r.t.Errorf("sink %s has %d events, want %d, or in another order", name, len(got), len(want))
	}
}

func well(context.Context) error { return nil }

// TestEverySinkGetsAll: P1 to P3 for each of several sinks, over faults of all of
// them.
func TestEverySinkGetsAll(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, rigConfig{bounded: true})
			want := history(r.source, 0, 60)
			rng := rand.New(rand.NewPCG(seed, 1))
			faults := make(chan error, 40)
			for range 1000 {
				var err error
				if rng.IntN(4) == 0 {
					err = entrain.Retryable(errors.New("planted"))
				}
				select {
				case faults <- err:
				default:
				}
			}
			close(faults)
			hook := func(context.Context) error { return <-faults }
			f := r.fanout(r.sink("a", hook), r.sink("b", hook), r.sink("c", hook))
			if err := f.Run(t.Context()); err != nil && !strings.Contains(err.Error(), "planted") {
				t.Fatal(err)
			} else if err == nil {
				for name := range r.sinks {
					r.expect(name, want)
				}
			}
			if got := r.source.Acks(); len(got) == 0 || got[len(got)-1].Offset == "" {
				t.Errorf("seed %d: the source was told %v", seed, got)
			}
		})
	}
}

// TestStalledSinkHoldsNobodyUp: the source and the other sinks go on, and the one
// that hung gets all when it works again.
func TestStalledSinkHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		var stalled atomic.Bool
		stalled.Store(true)
		hang := func(ctx context.Context) error {
			for stalled.Load() && sleep(ctx, time.Second) {
			}
			return ctx.Err()
		}
		f := r.fanout(r.sink("good", well), r.sink("bad", hang))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		want := history(r.source, 0, 40)
		<-time.After(time.Minute)
		r.expect("good", want)
		r.expect("bad", nil)
		if acks := r.source.Acks(); len(acks) == 0 || acks[len(acks)-1].Offset != "40" {
			t.Errorf("the source was told %v", acks)
		}
		stalled.Store(false)
		want = append(want, history(r.source, 40, 50)...)
		<-time.After(time.Minute)
		r.expect("bad", want)
		for _, s := range f.Sinks() {
			if s.Failed != "" || s.Partition != "shop" || s.Status.Applied != int64(len(want)) {
				t.Errorf("%+v", s)
			}
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSinkAwayIsShown: while a sink cannot be reached its lag grows, and why is shown;
// when it is back, both end.
func TestSinkAwayIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		var away atomic.Bool
		gone := func(context.Context) error {
			if away.Load() {
				return fmt.Errorf("no route: %w", entrain.ErrDisconnected)
			}
			return nil
		}
		f := r.fanout(r.sink("far", gone))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		history(r.source, 0, 10)
		<-time.After(time.Minute)
		away.Store(true)
		want := history(r.source, 10, 20)
		<-time.After(time.Minute)
		if s := f.Sinks()[0]; s.Status.LagSeconds < 50 || s.Failed == "" && s.Status.Phase == "connecting" {
			t.Errorf("a sink that is away for a minute: %+v", s)
		}
		away.Store(false)
		<-time.After(time.Minute)
		if s := f.Sinks()[0]; s.Status.LagSeconds != 0 || s.Failed != "" || s.Status.Applied < int64(len(want)) {
			t.Errorf("a sink that is back: %+v", s)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestRefusingSinkIsTriedAgain: what a person has to mend ends the one delivery
// only; it is shown, and goes on where it was when it is mended.
func TestRefusingSinkIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		var refuses atomic.Bool
		refuse := func(context.Context) error {
			if refuses.Load() {
				return &entrain.Stop{Code: "column_missing", What: "no column"}
			}
			return nil
		}
		f := r.fanout(r.sink("good", well), r.sink("bad", refuse))
		var said bytes.Buffer
		for _, s := range f.sinks {
			s.log = slog.New(slog.NewTextHandler(&said, nil)).With("sink", s.Name)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		want := history(r.source, 0, 10)
		<-time.After(time.Minute)
		refuses.Store(true)
		want = append(want, history(r.source, 10, 20)...)
		<-time.After(time.Minute)
		r.expect("good", want)
		failed := 0
		for _, s := range f.Sinks() {
			if strings.Contains(s.Failed, "column_missing") && s.Name == "bad" {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("the sinks are %+v", f.Sinks())
		}
		refuses.Store(false)
		<-time.After(time.Minute)
		r.expect("bad", want)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		const again = "level=INFO msg=\"the sink takes changes again\" sink=bad partition=shop away=1m"
		if text := said.String(); strings.Count(text, "takes changes again") != 1 || !strings.Contains(text, again) || !strings.Contains(text, "attempts=") {
			t.Errorf("the log has no %s:\n%s", again, text)
		}
	})
}

// TestFencedDeliveryEnds: a sink that another process delivers into is left to it.
func TestFencedDeliveryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		var tries atomic.Int64
		fenced := func(context.Context) error {
			tries.Add(1)
			return &entrain.Stop{Code: "fenced", What: "another session"}
		}
		f := r.fanout(r.sink("good", well), r.sink("taken", fenced))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		want := history(r.source, 0, 10)
		<-time.After(5 * time.Minute)
		r.expect("good", want)
		if n := tries.Load(); n != 1 {
			t.Errorf("%d tries", n)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestBoundedRunTellsOfARefusal: a run with an end says what is missing.
func TestBoundedRunTellsOfARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{bounded: true})
		want := history(r.source, 0, 10)
		stop := &entrain.Stop{Code: "row_refused", What: "a row"}
		f := r.fanout(r.sink("good", well), r.sink("bad", func(context.Context) error { return stop }))
		err := f.Run(t.Context())
		if !errors.Is(err, stop) || !strings.Contains(err.Error(), "sink bad") {
			t.Errorf("run: %v", err)
		}
		r.expect("good", want)
	})
}

// TestCaptureEndsAll: what the source cannot do any more is the run's end.
func TestCaptureEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		want := history(r.source, 0, 5)
		f := r.fanout(r.sink("good", well))
		done := make(chan error, 1)
		go func() { done <- f.Run(t.Context()) }()
		<-time.After(time.Minute)
		stop := &entrain.Stop{Code: "slot_lost", What: "gone"}
		r.source.Disconnect(stop)
		if err := <-done; !errors.Is(err, stop) {
			t.Errorf("run: %v", err)
		}
		r.expect("good", want)
	})
}

func TestOptions(t *testing.T) {
	r := newRig(t, rigConfig{bounded: true})
	for _, o := range []Options{{}, {Stream: r.log}, {Stream: r.log, Sinks: []Sink{r.sink("a", well)}, Bounded: true}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// elsewhere is a log that is in another place than the file says.
type elsewhere struct {
	stream.Log
	err error
}

func (e *elsewhere) Partitions(context.Context) ([]stream.Partition, error) { return nil, e.err }

// TestDeliveryFromElsewhereEnds: a process that only delivers ends where its file has to
// be mended; what may mend itself is tried again.
func TestDeliveryFromElsewhereEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for code, ends := range map[string]bool{"stream_topic_changed": true, "kafka_denied": false} {
			r := newRig(t, rigConfig{})
			stop := &entrain.Stop{Code: code, What: "the topic"}
			f, err := New(Options{Stream: &elsewhere{r.log, stop}, Sinks: []Sink{r.sink("one", well), r.sink("two", well)}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			if err := f.Run(ctx); errors.Is(err, stop) != ends || (ctx.Err() == nil) != ends || err != nil && !ends {
				t.Errorf("%s: %v, %v", code, err, ctx.Err())
			}
			cancel()
		}
	})
}
