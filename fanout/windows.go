package fanout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// turns are who wants a window of one partition now.
type turns struct {
	mu    sync.Mutex
	asked []chan<- error
	wake  chan struct{} // closed when somebody asks; then replaced
}

func (s *sink) turnsOf(p stream.Partition) *turns {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns == nil {
		s.turns = map[stream.Partition]*turns{}
	}
	if s.turns[p] == nil {
		s.turns[p] = &turns{wake: make(chan struct{})}
	}
	return s.turns[p]
}

// ask wants a window; how it ends is sent.
func (t *turns) ask(how chan<- error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked = append(t.asked, how)
	close(t.wake)
	t.wake = make(chan struct{})
}

// take returns who has asked, and what is closed when somebody asks next.
func (t *turns) take() (asked []chan<- error, wake <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked, t.asked = t.asked, nil
	return asked, t.wake
}

// turn delivers a partition until it ends, or until a window has ended.
func (s *sink) turn(ctx context.Context, p stream.Partition) error {
	source := s.f.opt.Stream.Read(s.Cursor, p)
	if s.Lane == nil {
		return s.once(ctx, p, source)
	}
	asked, wake := s.turnsOf(p).take()
	if len(asked) > 0 {
		err := s.window(ctx, p)
		for _, how := range asked {
			how <- err // has room
		}
		return err
	}
	if s.Lane.Schedule != nil {
		return s.scheduled(ctx, p, wake)
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-wake:
			cancel()
		case <-running.Done():
		}
	}()
	err := s.once(running, p, &laneSource{Source: source, lane: s.Lane, at: p, small: s.Lane.Small})
	if err == nil && running.Err() == nil {
		return errors.New("the stream ended")
	}
	return err
}

// scheduled waits for the next window and delivers it. One that was missed, or that
// failed, begins at once.
func (s *sink) scheduled(ctx context.Context, p stream.Partition, wake <-chan struct{}) error {
	ran, err := s.Lane.Memory.Ran(p)
	if err != nil {
		return fmt.Errorf("look when the last window was: %w", err)
	}
	for {
		next, left := s.Lane.due(&ran, time.Now())
		s.waits(p, next)
		if left == 0 {
			break
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-wake:
			timer.Stop()
			return nil
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
	begun := time.Now()
	if err := s.window(ctx, p); err != nil || ctx.Err() != nil {
		return err
	}
	return s.Lane.Memory.SetRan(p, begun)
}

// lookAgain is how long a wait for a window lasts without a look at the clock, which
// may be set meanwhile.
const lookAgain = time.Minute

// due is the first window behind ran, and how long to wait before that is asked again;
// 0 if it has come. If ran is behind now, the clock was set back since: the windows
// count from now on, not from when it comes there once more.
func (l *Lane) due(ran *time.Time, now time.Time) (next time.Time, left time.Duration) {
	now = now.Round(0) // the clock may have been set since: only times of day can be compared
	if ran.After(now) {
		*ran = now
	}
	next = l.Schedule.Next(*ran)
	return next, min(max(0, next.Sub(now)), lookAgain)
}

// waits notes when the next window begins; the zero time that one has begun.
func (s *sink) waits(p stream.Partition, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[p] == nil {
		s.parts[p] = &part{}
	}
	s.parts[p].next = next
}

// window delivers what the stream has now.
func (s *sink) window(ctx context.Context, p stream.Partition) error {
	s.waits(p, time.Time{})
	err := s.upTo(ctx, p, stretchEnd{"now", nil})
	if err != nil || ctx.Err() != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.parts[p]; at != nil && at.failed != nil {
		s.mended(p, at)
	}
	return nil
}

// stretchEnd is where a delivery ends: now, or at the offset of a position.
type stretchEnd struct {
	until string
	noted func(entrain.Position) // called with how far the sink is; may be nil
}

// upTo delivers up to the end of a transaction in the stream, and ends.
func (s *sink) upTo(ctx context.Context, p stream.Partition, end stretchEnd) error {
	bounder, ok := s.f.opt.Stream.Read(s.Cursor, p).(entrain.Bounder)
	if !ok {
		return errors.New("this kind of stream has no end")
	}
	source, err := bounder.Until(end.until)
	if err != nil {
		return err
	}
	if s.Lane != nil {
		source = &laneSource{Source: source, lane: s.Lane, at: p, noted: end.noted}
	}
	return s.once(ctx, p, source)
}

// Flush delivers into a sink, or into one of its classes (copy.night), what the stream
// has now of the classes that wait for windows, without waiting for these. It returns
// when that is durable there. It may be called while Run works, from any goroutine.
func (f *Fanout) Flush(ctx context.Context, name string) error {
	var waiting []*sink
	for _, s := range f.sinks {
		if s.is(name) && s.Lane != nil && (s.Lane.Small != nil || s.Lane.Schedule != nil) {
			waiting = append(waiting, s)
		}
	}
	if len(waiting) == 0 {
		return fmt.Errorf("this process delivers nothing into %q that waits for a window", name)
	}
	var answers []chan error
	for _, s := range waiting {
		if f.holds(&s.Sink, "") {
			return fmt.Errorf("sink %s stands still, and takes nothing: entrain sink resume FILE %[1]s", s.full())
		}
		list, err := s.delivered(ctx)
		if err != nil {
			return err
		}
		for _, p := range list {
			how := make(chan error, 1)
			s.turnsOf(p).ask(how)
			answers = append(answers, how)
		}
	}
	var all error
	for _, how := range answers {
		select {
		case err := <-how:
			all = errors.Join(all, err)
		case <-ctx.Done():
			return errors.Join(all, ctx.Err())
		}
	}
	return all
}

// delivered are the partitions that this process delivers.
func (s *sink) delivered(ctx context.Context) (list []stream.Partition, err error) {
	if _, assigned := s.f.opt.Stream.(stream.Assigner); !assigned {
		if list, err = s.f.opt.Stream.Partitions(ctx); err != nil {
			err = fmt.Errorf("look for the stream's partitions: %w", err)
		}
		return list, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.turns)), nil
}
