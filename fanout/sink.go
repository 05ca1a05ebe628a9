package fanout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// sink is one sink at work.
type sink struct {
	Sink
	f   *Fanout
	log *slog.Logger

	mu    sync.Mutex
	parts map[stream.Partition]*part
	turns map[stream.Partition]*turns
}

// full is the delivery's name: the sink's, and the class if it is none of all tables.
func (s *Sink) full() string {
	if s.Lane == nil || s.Lane.main() {
		return s.Name
	}
	return s.Name + "." + s.Lane.Class
}

// is reports whether a name is the delivery's, or its sink's.
func (s *Sink) is(name string) bool {
	return name == s.Name || name == s.full() || s.Lane != nil && name == s.Name+"."+s.Lane.Class
}

// part is the delivery of one partition.
type part struct {
	engine *pipeline.Pipeline // the last one, nil before the first
	failed error              // why the last try was given up
	since  time.Time          // when the first one of those in a row was
	tries  int                // how many those are
	next   time.Time          // when the window begins that is waited for
	still  *still             // nil unless it stands still
}

// mended reports whether the try at hand has got further than the last one.
func mended(st pipeline.Status) bool {
	return st.Applied > 0 || st.Phase == "streaming" && st.Waiting == "source" && st.WaitingSeconds >= 1
}

// lookEvery is how often a log that does not assign its partitions is asked for
// new ones; before the first one is there, which a capture is just about to make,
// it begins with firstLook and waits twice as long each time.
const (
	lookEvery = 5 * time.Second
	firstLook = 20 * time.Millisecond
)

// codeMoved is the stop of a stream that is in another place than the file says:
// trying again reads the same file.
const codeMoved = "stream_topic_changed"

// run delivers every partition that this process is to deliver, until ctx ends. It
// returns what ends the others, too; with a capture that is for the capture to do.
func (s *sink) run(ctx context.Context) error {
	take := s.takeAll
	if assigner, ok := s.f.opt.Stream.(stream.Assigner); ok {
		take = func(ctx context.Context) error { return assigner.Assign(ctx, s.Cursor, s.deliver) }
	}
	for {
		err := take(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var stop *entrain.Stop
		if s.f.opt.Capture == nil && errors.As(err, &stop) && stop.Code == codeMoved {
			return err
		}
		s.log.Error("the stream's partitions cannot be taken, will try again", "error", err, "in", patience)
		if !sleep(ctx, patience) {
			return nil
		}
	}
}

// takeAll delivers all partitions that there are, and those that there will be.
func (s *sink) takeAll(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	taken := map[stream.Partition]bool{}
	for wait := firstLook; ; wait = min(2*wait, lookEvery) {
		partitions, err := s.f.opt.Stream.Partitions(ctx)
		if err != nil && len(taken) == 0 {
			return err
		}
		for _, p := range partitions {
			if !taken[p] {
				taken[p] = true
				work.Go(func() { _ = s.deliver(ctx, p) }) // it ends with ctx only
			}
		}
		if len(taken) > 0 {
			wait = lookEvery
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// codeFenced is the stop of a sink, or of a stream, that another process delivers
// into.
const codeFenced = "fenced"

// deliver delivers one partition until ctx ends. A delivery that ends is tried
// again, but for one that another process has taken over: two that take it from each
// other in turns would deliver next to nothing.
func (s *sink) deliver(ctx context.Context, p stream.Partition) error {
	defer s.forget(p)
	var said string
	for {
		running, stood := s.running(ctx, p)
		if running == nil {
			return nil
		}
		err := s.turn(running, p)
		held := running.Err() != nil
		if stood(); ctx.Err() != nil {
			return nil
		}
		if err == nil && (held || s.Lane != nil) {
			continue // it is to stand still, or a window has ended
		}
		if err == nil {
			err = errors.New("the stream ended")
		}
		first := s.failed(p, err)
		var stop *entrain.Stop
		_, assigned := s.f.opt.Stream.(stream.Assigner)
		if errors.As(err, &stop) && stop.Code == codeFenced && !assigned {
			s.log.Error("delivery ended: another process delivers", "partition", p, "error", err)
			<-ctx.Done()
			return nil
		}
		if text := err.Error(); first || text != said { // once, not with every try
			said = text
			s.log.Error("delivery stopped, will be tried again; the other sinks go on",
				"partition", p, "error", err, "every", patience)
		}
		if !sleep(ctx, patience) {
			return nil
		}
	}
}

// drain delivers what the log has now, of all partitions.
func (s *sink) drain(ctx context.Context) error {
	partitions, err := s.f.opt.Stream.Partitions(ctx)
	if err != nil {
		return fmt.Errorf("sink %s: %w", s.Name, err)
	}
	for _, p := range partitions {
		if s.f.stands(&s.Sink, p) {
			return fmt.Errorf("sink %s stands still and does not have everything: entrain sink resume FILE %[1]s", s.full())
		}
		if err := s.upTo(ctx, p, stretchEnd{"now", nil}); err != nil {
			s.failed(p, err)
			s.log.Error("delivery stopped, this sink does not have everything", "partition", p, "error", err)
			return fmt.Errorf("sink %s: %w", s.full(), err)
		}
	}
	return nil
}

// once runs one pipeline to its end.
func (s *sink) once(ctx context.Context, p stream.Partition, source entrain.Source) error {
	d, err := s.Deliver(ctx, p, source)
	if err != nil {
		return err
	}
	s.mu.Lock()
	now := &part{engine: d.Engine}
	if before := s.parts[p]; before != nil {
		now.failed, now.since, now.tries = before.failed, before.since, before.tries
	}
	s.parts[p] = now
	s.mu.Unlock()
	seen := s.whenMended(ctx, p, now)
	err = d.Engine.Run(ctx)
	seen()
	if err != nil && d.Explain != nil {
		err = d.Explain(ctx, err)
	}
	if d.Close != nil {
		err = errors.Join(err, d.Close())
	}
	return err
}

// failed keeps why a try was given up, and reports whether it is the first one in a row.
func (s *sink) failed(p stream.Partition, err error) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[p] == nil {
		s.parts[p] = &part{}
	}
	s.parts[p].failed = err
	s.parts[p].tries++
	if s.parts[p].since.IsZero() {
		s.parts[p].since = time.Now()
		return true
	}
	return false
}

// whenMended logs when a delivery that had failed delivers again, until the function
// that it returns is called.
func (s *sink) whenMended(ctx context.Context, name stream.Partition, p *part) (end func()) {
	if p.failed == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() {
		for sleep(ctx, time.Second) {
			s.mu.Lock()
			if p.failed != nil && mended(p.engine.Status()) {
				s.mended(name, p)
			}
			over := p.failed == nil
			s.mu.Unlock()
			if over {
				return
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
	}
}

// mended forgets that a delivery had failed. s.mu is held.
func (s *sink) mended(name stream.Partition, p *part) {
	s.log.Info("the sink takes changes again", "partition", name,
		"away", time.Since(p.since).Round(time.Second), "attempts", p.tries)
	p.failed, p.since, p.tries = nil, time.Time{}, 0
}

// forget drops a partition that another process delivers from now on.
func (s *sink) forget(p stream.Partition) {
	if _, assigned := s.f.opt.Stream.(stream.Assigner); !assigned {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parts, p)
}

func (s *sink) status() []pipeline.SinkStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []pipeline.SinkStatus
	for name, p := range s.parts {
		one := pipeline.SinkStatus{Name: s.full(), Partition: name, Paused: s.f.stands(&s.Sink, name)}
		one.Status.Phase, one.Status.LagBytes = "stopped", -1
		if !p.next.IsZero() {
			next := p.next
			one.Window = &next
		}
		if p.engine != nil {
			one.Status = p.engine.Status()
		}
		least := 0.0 // while it stands still
		switch st := &one.Status; {
		case p.failed != nil && mended(*st):
			s.mended(name, p)
		case p.failed != nil:
			one.Failed = p.failed.Error()
			st.LagSeconds = max(st.LagSeconds, time.Since(p.since).Seconds())
			least = st.LagSeconds
		case st.Phase == "connecting":
			one.Failed = st.Error // empty before the first try has failed
		}
		if one.Paused && p.still != nil {
			p.still.show(&one, least)
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b pipeline.SinkStatus) int { return cmp.Compare(a.Partition, b.Partition) })
	return all
}

func (s *sink) engines() []*pipeline.Pipeline {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*pipeline.Pipeline
	for _, at := range slices.Sorted(maps.Keys(s.parts)) {
		if e := s.parts[at].engine; e != nil {
			all = append(all, e)
		}
	}
	return all
}

// each calls do for all sinks at the same time and waits.
func each(sinks []*sink, do func(i int, s *sink)) {
	var work sync.WaitGroup
	defer work.Wait()
	for i, s := range sinks {
		work.Go(func() { do(i, s) })
	}
}

// sleep waits; false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
