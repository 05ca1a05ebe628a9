package simulation

import (
	"context"

	"github.com/entrainsync/entrain"
)

// followed is the stream's source for one sink. It notes how many events are before
// each position, and judges the order in which they are handed out and acknowledged.
type followed struct {
	entrain.Source
	t *target
	p *process
}

// Open implements [entrain.Source].
func (f *followed) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	w := f.p.w
	w.mu.Lock()
	at, known := f.t.eventsAt(from)
	w.mu.Unlock()
	if !known {
		w.violate("P5", "the stream is opened at a position that it did not hand out: %q", from)
	}
	r, err := f.Source.Open(context.WithValue(ctx, whoKey{}, f.t.name), from)
	if err != nil {
		return nil, err
	}
	return &followedReader{Reader: r, followed: f, at: at}, nil
}

type followedReader struct {
	entrain.Reader
	*followed
	at int // events that were handed out, or were there before
}

// Read implements [entrain.Reader].
func (r *followedReader) Read(ctx context.Context) (*entrain.Batch, error) {
	b, err := r.Reader.Read(ctx)
	if b == nil {
		return b, err
	}
	w := r.p.w
	// The decoder counts the memory that it had free by chance.
	b.Bytes = sizeOf(b.Events)
	for i := range b.Events {
		n, err := w.history.index(&b.Events[i])
		switch {
		case err != nil:
			w.violate("P1", "the stream for %s: %v", r.t.name, err)
		case n > r.at:
			w.violate("P1", "the stream hands out event %d for %s behind %d", n, r.t.name, r.at-1)
		case n < r.at:
			w.violate("P2", "the stream hands out event %d for %s again, behind %d", n, r.t.name, r.at-1)
		}
		r.at = n + 1
	}
	if !b.Through.IsZero() {
		r.note(b.Through)
	}
	return b, err
}

// note keeps what is before a position: always the same.
func (r *followedReader) note(at entrain.Position) {
	w := r.p.w
	w.mu.Lock()
	if r.t.place == nil {
		r.t.place = map[entrain.Position]int{}
	}
	was, known := r.t.place[at]
	r.t.place[at] = r.at
	w.mu.Unlock()
	if known && was != r.at {
		w.violate("P1", "position %q of the stream was behind %d events, and is behind %d for %s", at, was, r.at, r.t.name)
	}
}

// Ack implements [entrain.Reader].
func (r *followedReader) Ack(ctx context.Context, through entrain.Position) error {
	w := r.p.w
	w.mu.Lock()
	n, known := r.t.eventsAt(through)
	saved, dead := r.t.saved, r.p.dead
	w.mu.Unlock()
	if !dead && (!known || n > saved) {
		w.violate("P7", "the stream is told that %d events are safe at %s, and a crash would leave %d", n, r.t.name, saved)
	}
	return r.Reader.Ack(ctx, through)
}
