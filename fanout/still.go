package fanout

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// still is what a delivery that stands still is behind by; guarded by the sink's mutex.
type still struct {
	since  time.Time      // when the first change that waits was committed; zero if none is known to
	behind entrain.Lagger // the reader that looks; nil before the first
	gone   error          // the stop of a stream that has no longer what follows
}

// lookAnew is how often the stream is asked whether it still has what a delivery that
// stands still has not.
const lookAnew = time.Minute

// codeOverrun is the stop of a stream that has no longer what follows a position.
const codeOverrun = "stream_overrun"

// show puts into a status what is known; the lag is at least so many seconds.
func (s *still) show(one *pipeline.SinkStatus, least float64) {
	st := &one.Status
	st.LagSeconds = least
	if !s.since.IsZero() {
		st.LagSeconds = max(st.LagSeconds, time.Since(s.since).Seconds())
	}
	if s.behind != nil {
		st.LagBytes = s.behind.Lag().Bytes
	}
	if s.gone != nil {
		one.Failed = s.gone.Error()
	}
}

// watchStill looks how far a delivery that stands still is behind, until the function
// that it returns is called.
func (s *sink) watchStill(ctx context.Context, p stream.Partition) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	now := &still{}
	s.setStill(p, now)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			err := s.lookBehind(ctx, p, now)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.noteGone(p, now, err)
			}
			if !sleep(ctx, patience) {
				return
			}
		}
	})
	return func() {
		cancel()
		work.Wait()
		s.setStill(p, nil)
	}
}

func (s *sink) setStill(p stream.Partition, to *still) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts[p] != nil {
		s.parts[p].still = to
	}
}

// noteGone keeps that the stream has no longer what the sink lacks; other errors pass.
func (s *sink) noteGone(p stream.Partition, now *still, err error) {
	if !isOverrun(err) {
		s.log.Debug("how far a sink that stands still is behind cannot be seen", "partition", p, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.gone == nil {
		s.log.Error("the stream has no longer what a sink lacks that stands still", "partition", p, "error", err)
	}
	now.gone = err
}

func isOverrun(err error) bool {
	var stop *entrain.Stop
	return errors.As(err, &stop) && stop.Code == codeOverrun
}

// lookBehind reads the first change that the sink lacks, and stays a while, since the
// reader knows how much is there besides.
func (s *sink) lookBehind(ctx context.Context, p stream.Partition, now *still) error {
	from, err := s.standsAt(ctx, p)
	if err != nil {
		return err
	}
	reader, err := s.f.opt.Stream.Read("", p).Open(ctx, from)
	if from.IsZero() && isOverrun(err) {
		return nil // where it begins will be said when it does
	}
	if err != nil {
		return err
	}
	defer reader.Close() //nolint:errcheck // it stores nothing
	if lagger, ok := reader.(entrain.Lagger); ok {
		s.mu.Lock()
		now.behind = lagger
		s.mu.Unlock()
	}
	since, err := firstWaits(ctx, reader)
	if err != nil {
		return err
	}
	s.mu.Lock()
	now.since = since
	s.mu.Unlock()
	sleep(ctx, lookAnew)
	return nil
}

// standsAt is the position of a delivery that stands still: of its last pipeline, or
// else of its cursor in the stream; zero for the beginning.
func (s *sink) standsAt(ctx context.Context, p stream.Partition) (at entrain.Position, err error) {
	s.mu.Lock()
	if part := s.parts[p]; part != nil && part.engine != nil {
		at = part.engine.Position()
	}
	s.mu.Unlock()
	if keeper, ok := s.f.opt.Stream.(stream.CursorKeeper); ok && at.IsZero() {
		return keeper.CursorAt(ctx, s.Cursor, p)
	}
	return at, nil
}

// firstWaits waits for the first change and returns when it was committed, but not
// later than now.
func firstWaits(ctx context.Context, reader entrain.Reader) (time.Time, error) {
	for {
		b, err := reader.Read(ctx)
		if err != nil {
			return time.Time{}, err
		}
		since, some := time.Now(), len(b.Events) > 0
		if some {
			if tx := b.Events[0].Tx; tx != nil && !tx.CommitTime.IsZero() && tx.CommitTime.Before(since) {
				since = tx.CommitTime
			}
		}
		free(b)
		if some {
			return since, nil
		}
	}
}
