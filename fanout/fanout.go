// Package fanout puts one capture, a durable stream and any number of sinks
// together: a pipeline from the source into the log, and one from each partition
// of the log into each sink. They share nothing but the log, so that none waits for
// another: see docs/adr/0009.
package fanout

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// Options say what belongs together. Log and at least one of Capture and Sinks
// are required.
type Options struct {
	// Capture moves changes from the source into the log. It is nil in a process
	// that only delivers.
	Capture *pipeline.Pipeline
	// Stream is the log between them.
	Stream stream.Log
	// Sinks that are fed from the log by this process.
	Sinks []Sink
	// Handovers, if set, tells when Run begins what comes before the deliveries of sinks
	// whose classes have changed.
	Handovers func() ([]Handover, error)
	// Bounded: the capture ends by itself, and Run ends when the sinks have
	// what the log has then.
	Bounded bool
	// Pauses remembers which deliveries stand still. It may be nil: then nothing is
	// remembered beyond the process.
	Pauses PauseStore
	// Log may be nil.
	Log *slog.Logger
}

// Sink is one sink and how changes get there.
type Sink struct {
	// Name of the sink in the configuration.
	Name string
	// Cursor is its name in the log.
	Cursor string
	// Lane, if set, is the class of tables that is delivered; several sinks of one name
	// are its classes. Nil: everything is.
	Lane *Lane
	// Deliver makes the pipeline from a partition, which source reads, into the
	// sink. It is called for every try, one at a time for each partition; ctx covers
	// the call only.
	Deliver func(ctx context.Context, p stream.Partition, source entrain.Source) (*Delivery, error)
}

// Delivery is a pipeline from a partition of the log into a sink.
type Delivery struct {
	Engine *pipeline.Pipeline
	// Close frees what the pipeline needed, when it has ended. It may be nil.
	Close func() error
	// Explain puts into what ended the pipeline what only its maker knows, such as
	// where its state is. It may be nil.
	Explain func(context.Context, error) error
}

// Fanout runs what its options say. Run may be called once, Sinks at any time
// from any goroutine.
type Fanout struct {
	opt    Options
	log    *slog.Logger
	sinks  []*sink
	handed map[string]*handing // by the sink's name; guarded by mu

	pausing sync.Mutex // held while pauses are saved
	paused  []Pause    // guarded by mu
	mu      sync.Mutex
	changed chan struct{} // closed when paused changes; guarded by mu
}

// New checks the options. It neither dials nor starts anything.
func New(o Options) (*Fanout, error) {
	if o.Stream == nil || o.Capture == nil && len(o.Sinks) == 0 {
		return nil, errors.New("fanout: a log, and a capture or a sink, are required")
	}
	if o.Bounded && o.Capture == nil {
		return nil, errors.New("fanout: what only delivers has no end")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fanout{opt: o, log: o.Log}
	for _, s := range o.Sinks {
		f.sinks = append(f.sinks, f.sinkOf(s))
	}
	if o.Pauses == nil {
		return f, nil
	}
	var err error
	f.paused, err = o.Pauses.Load()
	return f, err
}

func (f *Fanout) sinkOf(s Sink) *sink {
	return &sink{Sink: s, f: f, log: f.log.With("sink", s.full()), parts: map[stream.Partition]*part{}}
}

// Run captures and delivers until ctx ends or the capture does. What ends the
// capture ends all; its error is returned. Where there is none, a stream that is in
// another place than the file says ends all. What ends a delivery is logged and shown
// by Sinks, and the delivery is tried again: the others and the capture do not wait
// for it. In a bounded run it is returned when the others are done.
func (f *Fanout) Run(ctx context.Context) error {
	if err := f.handings(); err != nil {
		return err
	}
	delivering, end := context.WithCancelCause(ctx)
	defer end(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		each(f.sinks, func(_ int, s *sink) {
			if !f.handOver(delivering, s.Name) {
				return
			}
			if err := s.run(delivering); err != nil {
				end(err)
			}
		})
	}()
	var err error
	if f.opt.Capture != nil {
		err = f.opt.Capture.Run(ctx)
		end(nil)
	}
	<-ended
	if f.opt.Capture == nil && ctx.Err() == nil {
		return context.Cause(delivering)
	}
	if err != nil || !f.opt.Bounded || ctx.Err() != nil {
		return err
	}
	return f.drain(ctx)
}

// drain delivers what is in the log.
func (f *Fanout) drain(ctx context.Context) error {
	errs := make([]error, len(f.sinks))
	each(f.sinks, func(i int, s *sink) {
		if errs[i] = f.handOverOnce(ctx, s.Name); errs[i] == nil {
			errs[i] = s.drain(ctx)
		}
	})
	return errors.Join(errs...)
}

// Sinks tells how the deliveries of this process are, by sink and partition. A
// sink that has no partition yet is not among them.
func (f *Fanout) Sinks() []pipeline.SinkStatus {
	var all []pipeline.SinkStatus
	for _, s := range f.sinks {
		all = append(all, s.status()...)
	}
	for _, s := range f.before() {
		all = append(all, s.status()...)
	}
	return all
}

// Engines are the pipelines at work that deliver into a sink, or into all sinks if
// the name is empty, by class and partition.
func (f *Fanout) Engines(name string) []*pipeline.Pipeline {
	var all []*pipeline.Pipeline
	for _, s := range f.sinks {
		if name == "" || s.is(name) {
			all = append(all, s.engines()...)
		}
	}
	return all
}

// patience is how long a delivery that a person has to help waits for the next
// try; a variable for tests.
var patience = 15 * time.Second
