package fanout

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// Handover is what comes before the deliveries of a sink whose classes are others than
// they were: those of before deliver up to one place in each partition, and the new
// ones begin there. So nothing is lost or comes twice, and no table's changes
// overtake each other.
type Handover struct {
	// Sink by its name in the configuration.
	Sink string
	// From are the deliveries of before.
	From []Sink
	// Done remembers the place in each partition that had any, before the new deliveries
	// begin. An error has all of it done again.
	Done func(ends map[stream.Partition]entrain.Position) error
}

// handing is a handover at work.
type handing struct {
	Handover
	from []*sink

	turn chan struct{} // holds something while it is tried
	done atomic.Bool
}

// handings asks for what is to come first.
func (f *Fanout) handings() error {
	if f.opt.Handovers == nil {
		return nil
	}
	list, err := f.opt.Handovers()
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handed = map[string]*handing{}
	for _, h := range list {
		at := &handing{Handover: h, turn: make(chan struct{}, 1)}
		for _, s := range h.From {
			at.from = append(at.from, f.sinkOf(s))
		}
		f.handed[h.Sink] = at
	}
	return nil
}

func (f *Fanout) handing(name string) *handing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.handed[name]
}

// handOver tries a sink's handover until it is done; false if ctx ended before.
func (f *Fanout) handOver(ctx context.Context, name string) bool {
	for {
		err := f.handOverOnce(ctx, name)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			return true
		}
		f.log.Error("the sink's classes have changed, and what was to come before was not delivered; will be tried again, the other sinks go on",
			"sink", name, "error", err, "every", patience)
		if !sleep(ctx, patience) {
			return false
		}
	}
}

// handOverOnce does what is to be done of a sink's handover, if there is one.
func (f *Fanout) handOverOnce(ctx context.Context, name string) error {
	h := f.handing(name)
	if h == nil {
		return nil
	}
	select {
	case h.turn <- struct{}{}:
		defer func() { <-h.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if h.done.Load() {
		return nil
	}
	f.log.Info("the sink's classes have changed: everything so far is delivered as before", "sink", name)
	partitions, err := f.opt.Stream.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("sink %s: look for the stream's partitions: %w", name, err)
	}
	ends := map[stream.Partition]entrain.Position{}
	for _, p := range partitions {
		end, err := h.align(ctx, p)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("sink %s: %w", name, err)
		}
		ends[p] = end
	}
	if err := h.Done(ends); err != nil {
		return fmt.Errorf("remember the classes of sink %s: %w", name, err)
	}
	h.done.Store(true)
	f.log.Info("the sink's classes are the new ones from here on", "sink", name)
	return nil
}

// align brings the deliveries of before to the same place: the first one to what the
// stream has now, which none is beyond since none is at work, and the others there.
func (h *handing) align(ctx context.Context, p stream.Partition) (end entrain.Position, err error) {
	until := "now"
	for _, s := range h.from {
		if s.f.stands(&s.Sink, p) {
			return end, fmt.Errorf("it stands still: entrain sink resume FILE %s", s.full())
		}
		var at entrain.Position
		if err := s.upTo(ctx, p, stretchEnd{until, func(p entrain.Position) { at = p }}); err != nil {
			s.failed(p, err)
			return end, fmt.Errorf("deliver up to where the classes change: %w", err)
		}
		if at.IsZero() {
			return at, nil // the stream is empty
		}
		if until == "now" {
			end, until = at, at.Offset
		}
	}
	return end, nil
}

// before are the deliveries under former rules, of handovers that are not done.
func (f *Fanout) before() (all []*sink) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.handed {
		if !h.done.Load() {
			all = append(all, h.from...)
		}
	}
	return all
}
