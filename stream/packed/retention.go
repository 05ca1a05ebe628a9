package packed

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// room is what the writer knows of how full the sequence is.
type room struct {
	log *Log
	seq *Sequence

	mu     sync.Mutex
	used   int64         // as measured, plus what was appended since
	freed  chan struct{} // is closed when messages were removed; then replaced
	wanted chan struct{} // has a token when somebody waits: the retention is to look at once
	since  time.Time     // when waiting began; zero: nobody waits
	logged time.Time
}

// logEvery is how often a log that stays full is mentioned.
const logEvery = 30 * time.Second

// overhead is about what a back end needs for a message besides its bytes.
const overhead = 128

func newRoom(l *Log, seq *Sequence) *room {
	return &room{log: l, seq: seq, freed: make(chan struct{}), wanted: make(chan struct{}, 1)}
}

// reserve is kept for markers: a writer that takes over a full log needs room for
// one before it can remove anything.
func (r *room) reserve() int64 { return min(r.log.cfg.MaxBytes/16, 1<<20) }

func (r *room) fits(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := r.log.cfg.MaxBytes
	return limit == 0 || r.used+int64(n)+overhead <= limit-r.reserve()
}

func (r *room) took(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used += int64(n) + overhead
}

func (r *room) measure(ctx context.Context) error {
	s, err := r.seq.State.Stat(ctx)
	if err != nil {
		return fmt.Errorf("measure the stream: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used = s.Bytes
	return nil
}

// free wakes a writer that waits.
func (r *room) free() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.freed)
	r.freed = make(chan struct{})
}

func (r *room) waiting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.since.IsZero()
}

// wait returns err unless it says that there is no room; then it waits until it
// is worth another attempt.
func (r *room) wait(ctx context.Context, err error) error {
	if !errors.Is(err, ErrFull) {
		return err
	}
	freed := r.noteFull(err)
	select {
	case r.wanted <- struct{}{}:
	default: // it is about to look
	}
	t := time.NewTimer(r.log.cfg.Every)
	defer t.Stop()
	select {
	case <-freed:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.measure(ctx)
}

func (r *room) noteFull(err error) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.since.IsZero() {
		r.since = now
	}
	if now.Sub(r.logged) >= logEvery {
		r.logged = now
		cursors, _ := r.log.readers()
		next := "see which sink is behind (entrain status FILE), or raise stream.max_bytes and restart"
		if errors.Is(err, ErrDiskFull) {
			next = "make room on that disk: capture goes on by itself then; or give the stream another one"
		}
		r.log.cfg.Log.Warn("the stream is full: capture waits and the source keeps its log; nothing is lost",
			"stream", r.log.cfg.Producer, "error", err, "bytes", r.used, "max_bytes", r.log.cfg.MaxBytes, "waiting", now.Sub(r.since).Round(time.Second),
			"readers", cursors, "next", next)
	}
	return r.freed
}

// found ends the waiting, if there was any. It returns no error.
func (r *room) found() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.since.IsZero() {
		r.log.cfg.Log.Info("the stream has room again", "stream", r.log.cfg.Producer, "waited", time.Since(r.since).Round(time.Second))
		r.since, r.logged = time.Time{}, time.Time{}
	}
	return nil
}

// retain removes, until the session ends, what nobody needs any more. It looks at once
// when the writer waits for room: a session may be given up before the next tick, and so
// may each one behind it.
func (w *writer) retain() {
	t := trimmer{w: w}
	tick := time.NewTicker(w.log.cfg.Every)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		case <-w.room.wanted:
		}
		err := t.trim(w.ctx)
		if err != nil && w.ctx.Err() == nil && !failed {
			w.log.cfg.Log.Warn("messages that are not needed could not be removed from the stream; trying again",
				"stream", w.log.cfg.Producer, "error", err)
		}
		failed = err != nil
	}
}

// trimmer finds what can be removed.
type trimmer struct {
	w      *writer
	number uint64 // of the first message when it was looked at last
	first  envelope
}

// trim removes messages that all cursors have read, if they are old enough or room
// is scarce. The last finished message stays: it has the source's position.
func (t *trimmer) trim(ctx context.Context) error {
	low, err := t.readByAll(ctx)
	if err != nil || low == 0 {
		return err
	}
	s, err := t.w.seq.State.Stat(ctx)
	if err != nil || s.First == 0 || s.First > low {
		return err
	}
	through := low
	if t.w.log.cfg.Retention > 0 {
		if through, err = t.search(ctx, s, low); err != nil || through == 0 {
			return err
		}
	}
	if err := t.w.seq.History.Trim(ctx, through); err != nil {
		return err
	}
	if err := t.w.room.measure(ctx); err != nil {
		return err
	}
	t.w.room.free()
	return nil
}

// readByAll is the last message that nobody needs; 0 if there is none.
func (t *trimmer) readByAll(ctx context.Context) (uint64, error) {
	cursors, known := t.w.log.readers()
	if !known {
		return 0, nil
	}
	low := t.w.finish.Load()
	if low == 0 { // the writer has not taken over yet: perhaps it waits for room
		e, err := t.w.ending(ctx)
		if err != nil {
			return 0, err
		}
		low = e.base
	}
	low = max(low, 1) - 1
	values, err := t.w.seq.State.Values(ctx)
	if err != nil {
		return 0, err
	}
	for _, c := range cursors {
		m, _ := readMarked(values[cursorPrefix+c])
		low = min(low, m.Number)
	}
	return low, nil
}

// search returns the last message through low that is old enough, or in the way;
// 0 if there is none.
func (t *trimmer) search(ctx context.Context, s Stat, low uint64) (uint64, error) {
	if err := t.look(ctx, s.First); err != nil {
		return 0, err
	}
	keep := t.w.log.cfg.Retention
	cutoff, floor := time.Now().Add(-keep), uint64(0)
	if over := t.over(s.Bytes); over > 0 {
		floor = t.first.total + uint64(over)
	}
	goes := func(v *envelope) bool { return v.written.Before(cutoff) || v.total < floor }
	// Now and then is enough: finding the place takes reading a few messages.
	lazy := t.first
	lazy.written = lazy.written.Add(min(keep/10, time.Minute))
	if !goes(&lazy) {
		return 0, nil
	}
	from, to := s.First, low
	for from < to {
		mid := from + (to-from+1)/2
		m, err := t.w.seq.History.At(ctx, mid)
		if err != nil {
			return 0, err
		}
		if m.Number == 0 || m.Number > to {
			to = mid - 1
			continue
		}
		v, _, err := readEnvelope(m.Data)
		if err != nil {
			return 0, err
		}
		if goes(&v) {
			from = m.Number
		} else {
			to = mid - 1
		}
	}
	return from, nil
}

// look reads the first message's envelope, unless it is known.
func (t *trimmer) look(ctx context.Context, first uint64) error {
	if t.number == first {
		return nil
	}
	m, err := t.w.seq.History.At(ctx, first)
	if err != nil {
		return err
	}
	if t.first, _, err = readEnvelope(m.Data); err != nil {
		return err
	}
	t.number = first
	return nil
}

// over is how many bytes are too many: from nine tenths of what there may be on,
// all above eight tenths, and half of it when the writer waits.
func (t *trimmer) over(bytes int64) int64 {
	limit := t.w.log.cfg.MaxBytes
	if limit == 0 {
		limit = math.MaxInt64
	}
	switch {
	case t.w.room.waiting():
		if limit == math.MaxInt64 {
			return bytes / 2
		}
		return bytes - limit/2
	case bytes > limit/10*9:
		return bytes - limit/10*8
	}
	return 0
}
