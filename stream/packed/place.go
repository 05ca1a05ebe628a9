package packed

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
)

// place is a position in a sequence: behind a message, with the source's position
// there, which the message has told or which was stored later.
type place struct {
	number uint64
	digest uint64 // of the message; 0: it is not known
	source entrain.Position
}

// offset is the place as a text: the number, a dot and the digest in hexadecimal if it is
// known, and the source's position if that is known.
func (p place) offset() string {
	text := strconv.FormatUint(p.number, 10)
	if p.digest != 0 {
		text += "." + strconv.FormatUint(p.digest, 16)
	}
	if p.source.IsZero() {
		return text
	}
	return text + " " + p.source.Incarnation + " " + p.source.Offset
}

// parsePlace reads what offset has written.
func parsePlace(offset string) (p place, err error) {
	message, source, known := strings.Cut(offset, " ")
	number, hex, exact := strings.Cut(message, ".")
	if p.number, err = strconv.ParseUint(number, 10, 64); err == nil && exact {
		p.digest, err = strconv.ParseUint(hex, 16, 64)
	}
	if err != nil || !known {
		return p, err
	}
	var whole bool
	if p.source.Incarnation, p.source.Offset, whole = strings.Cut(source, " "); !whole {
		return p, fmt.Errorf("%q is no place in a stream", offset)
	}
	return p, nil
}

// SourcePosition implements [stream.Tracer].
func (l *Log) SourcePosition(at entrain.Position) (entrain.Position, bool) {
	p, err := parsePlace(at.Offset)
	return p.source, err == nil && !p.source.IsZero()
}

// findIdle notes the source's position that was stored since the last finished
// message, and wakes the reading goroutine for it.
func (r *reader) findIdle(ctx context.Context) {
	values, err := r.seq.State.Values(ctx)
	if err != nil {
		return
	}
	at := r.at.Load()
	for name, value := range values {
		m, ok := readMarked(value)
		if !ok || !strings.HasPrefix(name, idlePrefix) || m.Number != at {
			continue
		}
		p := place{at, m.Digest, entrain.Position{Incarnation: m.Incarnation, Offset: m.Offset}}
		if old := r.idle.Swap(&p); old != nil && *old == p {
			continue
		}
		if wake := r.wake.Load(); wake != nil {
			(*wake)()
		}
	}
}

// atRest returns a batch that only moves the position, if the source has moved on
// without an event.
func (r *reader) atRest() *entrain.Batch {
	p := r.idle.Load()
	if p == nil || !r.rests(p) || r.read != r.finished {
		return nil
	}
	r.rested = *p
	at := place{r.solid, r.root, p.source} // a marker between the two is nothing that could be acknowledged
	return &entrain.Batch{Through: entrain.Position{Incarnation: r.seq.ID, Offset: at.offset()}}
}

// rests reports whether a position was stored for what is the last message now, and was
// not handed out yet.
func (r *reader) rests(p *place) bool {
	return p.number == r.finished && same(p.digest, r.tip) && *p != r.rested
}

// next waits for a message. It returns early, without one, when the source has
// moved on.
func (r *reader) next(ctx context.Context) (Message, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	r.wake.Store(&cancel)
	defer r.wake.Store(nil)
	if p := r.idle.Load(); p != nil && r.rests(p) {
		return Message{}, nil // it has, just now
	}
	m, err := r.follower.Next(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil && r.ctx.Err() == nil {
		return Message{}, nil
	}
	return m, err
}
