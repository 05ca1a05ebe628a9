package packed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

const (
	// cursorEvery is the least time between two stored values of a cursor.
	cursorEvery = time.Second
	// closing bounds storing the last one.
	closing = 2 * time.Second
)

// handed are the finished messages that were handed out and not acknowledged yet,
// and the last one that was.
type handed struct {
	mu    sync.Mutex
	ends  []handedEnd
	acked handedEnd
	known bool // acked.end is known
}

// handedEnd is a message, its digest, and how many bytes of the sequence end with it.
type handedEnd struct{ number, digest, end uint64 }

func (h *handed) add(e handedEnd) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = append(h.ends, e)
}

// begin says how many bytes end with the message that the session began behind.
func (h *handed) begin(end uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.known {
		h.acked.end, h.known = end, true
	}
}

// ack takes all through a message for acknowledged, and reports whether it was
// handed out.
func (h *handed) ack(number uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for n < len(h.ends) && h.ends[n].number <= number {
		h.acked, h.known = h.ends[n], true
		n++
	}
	h.ends = append(h.ends[:0], h.ends[n:]...)
	return number <= h.acked.number
}

// pass counts the bytes through a marker as acknowledged once everything before it is. The cursor stays where it is: no sink has the marker's number, and what is
// behind a sink's position must not begin with a gap.
func (h *handed) pass(end uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.ends); n > 0 {
		h.ends[n-1].end = end // counted with what is before it
		return
	}
	h.acked.end, h.known = end, true
}

func (h *handed) last() (e handedEnd, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked, h.known
}

// Ack implements [entrain.Reader]. The cursor is stored a little later.
func (r *reader) Ack(ctx context.Context, through entrain.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at, err := parsePlace(through.Offset)
	if err != nil || through.Incarnation != r.seq.ID {
		return fmt.Errorf("position %s is none of the stream of %s", through, r.src.partition)
	}
	if !r.handed.ack(at.number) {
		return fmt.Errorf("position %s of the stream of %s was not delivered by this session", through, r.src.partition)
	}
	return nil
}

// keep stores the cursor and measures how much is ahead, until the session ends.
func (r *reader) keep() {
	tick := time.NewTicker(cursorEvery)
	defer tick.Stop()
	for {
		if err := r.storeCursor(r.ctx); err != nil && r.ctx.Err() == nil {
			r.src.log.cfg.Log.Debug("store a cursor of the stream", "cursor", r.src.cursor, "error", err)
		}
		r.measure()
		r.findIdle(r.ctx)
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *reader) storeCursor(ctx context.Context) error {
	e, _ := r.handed.last()
	if r.begins != nil {
		if err := r.begins.store(ctx, r, e.number); err != nil {
			return err
		}
	}
	if e.number == r.stored || r.src.cursor == "" {
		return nil
	}
	text, err := json.Marshal(marked{Number: e.number, Digest: e.digest, At: time.Now()})
	if err == nil {
		err = r.seq.State.Store(ctx, cursorPrefix+r.src.cursor, text)
	}
	if err == nil {
		r.stored = e.number
	}
	return err
}

// CursorAt implements [stream.CursorKeeper].
func (l *Log) CursorAt(ctx context.Context, cursor string, p stream.Partition) (at entrain.Position, err error) {
	seq, err := l.cfg.Backend.Open(ctx, string(p))
	if err != nil {
		return at, fmt.Errorf("open the stream of %s: %w", p, err)
	}
	values, err := seq.State.Values(ctx)
	if err = errors.Join(err, seq.Close()); err != nil {
		return at, fmt.Errorf("look into the stream of %s: %w", p, err)
	}
	if m, ok := readMarked(values[cursorPrefix+cursor]); ok && m.Number > 0 {
		at = entrain.Position{Incarnation: seq.ID, Offset: place{number: m.Number, digest: m.Digest}.offset()}
	}
	return at, nil
}

// measure estimates what is there beyond the last message read, by the average
// size of all.
func (r *reader) measure() {
	s, err := r.seq.State.Stat(r.ctx)
	if err != nil || s.Messages == 0 {
		return
	}
	r.ahead.Store(0)
	if at := r.at.Load(); s.Last > at {
		r.ahead.Store(int64(min(s.Last-at, s.Messages)) * (s.Bytes / int64(s.Messages)))
	}
}

// Lag implements [entrain.Lagger]: exact for what was read, an estimate for what
// was not.
func (r *reader) Lag() entrain.Lag {
	lag := entrain.Lag{Heard: time.UnixMilli(r.heard.Load()), Bytes: r.ahead.Load()}
	if acked, known := r.handed.last(); known {
		lag.Bytes += int64(r.end.Load()) - int64(acked.end)
	}
	if c := r.committed.Load(); c != 0 {
		lag.Committed = time.UnixMicro(c)
	}
	return lag
}

// Close implements [entrain.Reader]: the cursor is stored first.
func (r *reader) Close() error {
	r.once.Do(func() {
		r.cancel()
		err := r.follower.Close()
		r.wg.Wait()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), closing)
		defer cancel()
		r.closed = errors.Join(err, r.storeCursor(ctx), r.seq.Close())
	})
	return r.closed
}
