package fanout

import (
	"context"
	"fmt"
	"slices"

	"github.com/entrainsync/entrain/stream"
)

// Pause is a delivery that stands still until a person has it go on.
type Pause struct {
	// Sink by its name, with a class (copy.night) for the delivery of that only.
	Sink string `json:"sink"`
	// Partition is the only one; empty for all.
	Partition stream.Partition `json:"partition,omitempty"`
}

// PauseStore remembers which deliveries stand still. Its methods are called one at a
// time.
type PauseStore interface {
	// Load returns what was saved last.
	Load() ([]Pause, error)
	// Save returns when it survives a crash.
	Save([]Pause) error
}

// Pause has a delivery stand still: what it has begun to write is finished, the stream
// keeps the rest. It is remembered when Pause returns; the delivery may end a moment
// later. What stands still already is no error. It may be called from any goroutine.
func (f *Fanout) Pause(p Pause) error {
	return f.change(p, func(all []Pause) ([]Pause, error) {
		if slices.Contains(all, p) {
			return all, nil
		}
		return append(all, p), nil
	})
}

// Resume has a delivery go on that was paused; without a partition, all of the sink.
// That nothing of it stands still by a pause of its own is an error.
func (f *Fanout) Resume(p Pause) error {
	return f.change(p, func(all []Pause) ([]Pause, error) {
		n := len(all)
		all = slices.DeleteFunc(all, func(q Pause) bool { return q.Sink == p.Sink && (p.Partition == "" || q.Partition == p.Partition) })
		if len(all) == n {
			return nil, fmt.Errorf("sink %s does not stand still, or not this partition alone", p.Sink)
		}
		return all, nil
	})
}

func (f *Fanout) change(p Pause, how func([]Pause) ([]Pause, error)) error {
	if !slices.ContainsFunc(slices.Concat(f.sinks, f.before()), func(s *sink) bool { return s.is(p.Sink) }) {
		return fmt.Errorf("this process does not deliver into a sink %q", p.Sink)
	}
	f.pausing.Lock()
	defer f.pausing.Unlock()
	f.mu.Lock()
	next, err := how(slices.Clone(f.paused))
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if f.opt.Pauses != nil {
		if err := f.opt.Pauses.Save(next); err != nil {
			return fmt.Errorf("remember that sink %s stands still, or not: %w", p.Sink, err)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = next
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
	return nil
}

// stands reports whether a delivery is to stand still.
func (f *Fanout) stands(s *Sink, p stream.Partition) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.standsLocked(s, p)
}

func (f *Fanout) standsLocked(s *Sink, p stream.Partition) bool {
	return slices.ContainsFunc(f.paused, func(q Pause) bool { return s.is(q.Sink) && (q.Partition == "" || q.Partition == p) })
}

// holds reports whether a delivery, or any partition's if p is empty, is to stand still.
func (f *Fanout) holds(s *Sink, p stream.Partition) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.standsLocked(s, p) || p == "" && slices.ContainsFunc(f.paused, func(q Pause) bool { return s.is(q.Sink) })
}

// look reports whether a delivery is to stand still, and when to look again.
func (f *Fanout) look(s *Sink, p stream.Partition) (stands bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.standsLocked(s, p), f.changed
}

// running waits until a partition may be delivered and returns a context that ends when
// it is to stand still, or ctx ends; nil if ctx ended before. stop frees what it takes.
func (s *sink) running(ctx context.Context, p stream.Partition) (running context.Context, stop func()) {
	stands, changed := s.f.look(&s.Sink, p)
	for stands {
		s.stood(p)
		end := s.watchStill(ctx, p)
		select {
		case <-changed:
			stands, changed = s.f.look(&s.Sink, p)
		case <-ctx.Done():
		}
		if end(); ctx.Err() != nil {
			return nil, nil
		}
	}
	running, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for {
			select {
			case <-changed:
			case <-running.Done():
				return
			}
			if stands, changed = s.f.look(&s.Sink, p); stands {
				return
			}
		}
	}()
	return running, cancel
}

// stood notes a partition of which nothing was delivered by this process yet.
func (s *sink) stood(p stream.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[p] == nil {
		s.parts[p] = &part{}
	}
	s.log.Info("the sink stands still until it is resumed", "partition", p)
}
