package simulation

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/packed"
)

// producer names the one sequence that there is.
const producer = "sim"

// sequence is what the stream's server holds durably.
type sequence struct {
	w        *world
	messages []packed.Message
	number   uint64 // that was given out last
	bytes    int64
	values   map[string][]byte
	made     bool
	firm     int // of a server with a planted bug: messages that a crash leaves
}

func newSequence(w *world) *sequence { return &sequence{w: w, values: map[string][]byte{}} }

func (s *sequence) last() uint64 {
	if n := len(s.messages); n > 0 {
		return s.messages[n-1].Number
	}
	return 0
}

// behind is the place of the first message whose number is above the given one.
func (s *sequence) behind(number uint64) int {
	i, _ := slices.BinarySearchFunc(s.messages, number+1, func(m packed.Message, n uint64) int {
		if m.Number < n {
			return -1
		}
		return 1
	})
	return i
}

func (s *sequence) add(messages [][]byte) {
	for _, data := range messages {
		s.number++
		s.messages = append(s.messages, packed.Message{Number: s.number, Data: data})
		s.bytes += int64(len(data))
	}
	if s.w.cfg.Plant != PlantStreamForgets || s.w.rng.IntN(3) == 0 {
		s.firm = len(s.messages)
	}
}

func (s *sequence) remove(goes func(number uint64) bool) {
	s.messages = slices.DeleteFunc(s.messages, func(m packed.Message) bool {
		if goes(m.Number) {
			s.bytes -= int64(len(m.Data))
			return true
		}
		return false
	})
	s.firm = len(s.messages)
}

// crash is for a server with a planted bug.
func (s *sequence) crash() {
	s.messages = s.messages[:min(s.firm, len(s.messages))]
}

// backend is a [packed.Backend] as one process sees it.
type backend struct{ p *process }

// whoKey is the key under which a context says whose session it is.
type whoKey struct{}

// Open implements [packed.Backend].
func (b *backend) Open(ctx context.Context, _ string) (*packed.Sequence, error) {
	who, _ := ctx.Value(whoKey{}).(string)
	s := &stretchOfSequence{sequence: b.p.w.sequence, p: b.p, who: who}
	if err := s.do(ctx, &operation{key: "open", act: func() error { s.made = true; return nil }}); err != nil {
		return nil, err
	}
	return &packed.Sequence{
		ID: "sequence", MessageBytes: 64 << 10, Tail: s, History: s, State: s, Close: func() error { return nil },
	}, nil
}

// Producers implements [packed.Backend]. It is no operation: those who ask cannot be
// told apart.
func (b *backend) Producers(ctx context.Context) ([]string, error) {
	b.p.w.mu.Lock() // who was woken by a timer has not heard from the scheduler
	defer b.p.w.mu.Unlock()
	if !b.p.w.sequence.made {
		return nil, ctx.Err()
	}
	return []string{producer}, ctx.Err()
}

// stretchOfSequence is a session with the sequence.
type stretchOfSequence struct {
	*sequence
	p   *process
	who string
}

// do waits for the turn of an operation, which is told from others by who does it, in
// which goroutine.
func (s *stretchOfSequence) do(ctx context.Context, o *operation) error {
	o.key = "stream of " + s.who + " " + o.key + " in " + goroutine()
	return s.p.do(ctx, o)
}

// Last implements [packed.Tail].
func (s *stretchOfSequence) Last(ctx context.Context) (m packed.Message, err error) {
	err = s.do(ctx, &operation{key: "last", act: func() error {
		if n := len(s.messages); n > 0 {
			m = s.messages[n-1]
		}
		return nil
	}})
	m.Data = bytes.Clone(m.Data)
	return m, err
}

// Append implements [packed.Tail].
func (s *stretchOfSequence) Append(ctx context.Context, after uint64, messages [][]byte) (n int, last uint64, err error) {
	copied, size := make([][]byte, len(messages)), 0 // it may arrive when the writer's memory is used anew
	for i, m := range messages {
		copied[i] = bytes.Clone(m)
		size += len(m)
	}
	fits := func() error {
		if last := s.last(); last != after && s.w.cfg.Plant != PlantStreamUnfenced {
			return fmt.Errorf("%w: the last message is %d, not %d", packed.ErrFenced, last, after)
		}
		return nil
	}
	err = s.do(ctx, &operation{
		key: "append", late: true, size: size,
		act: func() error {
			if err := fits(); err != nil {
				return err
			}
			s.add(copied)
			n, last = len(copied), s.number
			return nil
		},
		part: func() {
			if fits() == nil {
				s.add(copied[:s.w.rng.IntN(len(copied))])
			}
		},
	})
	if err != nil {
		return 0, 0, err
	}
	return n, last, nil
}

// Remove implements [packed.Tail].
func (s *stretchOfSequence) Remove(ctx context.Context, after, before uint64) error {
	return s.do(ctx, &operation{
		key: "remove", late: true,
		act: func() error {
			s.remove(func(n uint64) bool { return after < n && n < before })
			return nil
		},
		part: func() {
			from := after + 1 + s.w.rng.Uint64N(before-after-1) // the newest go first
			s.remove(func(n uint64) bool { return from <= n && n < before })
		},
	})
}

// At implements [packed.History].
func (s *stretchOfSequence) At(ctx context.Context, number uint64) (m packed.Message, err error) {
	err = s.do(ctx, &operation{key: "at", act: func() error {
		if i := s.behind(number - 1); i < len(s.messages) {
			m = s.messages[i]
		}
		return nil
	}})
	m.Data = bytes.Clone(m.Data)
	return m, err
}

// Trim implements [packed.History].
func (s *stretchOfSequence) Trim(ctx context.Context, through uint64) error {
	return s.do(ctx, &operation{key: "trim", late: true, act: func() error {
		if s.w.cfg.Plant == PlantTrimAhead {
			through = min(through+3, max(s.last(), 1)-1)
		}
		s.remove(func(n uint64) bool { return n <= through })
		return nil
	}})
}

// Stat implements [packed.State].
func (s *stretchOfSequence) Stat(ctx context.Context) (st packed.Stat, err error) {
	err = s.do(ctx, &operation{key: "stat", act: func() error {
		st = packed.Stat{Messages: uint64(len(s.messages)), Bytes: s.bytes}
		if n := len(s.messages); n > 0 {
			st.First, st.Last = s.messages[0].Number, s.messages[n-1].Number
		}
		return nil
	}})
	return st, err
}

// Values implements [packed.State].
func (s *stretchOfSequence) Values(ctx context.Context) (values map[string][]byte, err error) {
	err = s.do(ctx, &operation{key: "values", act: func() error { values = maps.Clone(s.values); return nil }})
	return values, err
}

// Store implements [packed.State].
func (s *stretchOfSequence) Store(ctx context.Context, name string, value []byte) error {
	value = bytes.Clone(value)
	return s.do(ctx, &operation{key: "store " + name, late: true, act: func() error {
		if value == nil {
			delete(s.values, name)
		} else {
			s.values[name] = value
		}
		return nil
	}})
}

// Follow implements [packed.History].
func (s *stretchOfSequence) Follow(ctx context.Context, after uint64) (packed.Follower, error) {
	f := &follower{stretchOfSequence: s, after: after, closed: make(chan struct{})}
	if err := s.do(ctx, &operation{key: "follow", act: func() error { return nil }}); err != nil {
		return nil, err
	}
	return f, nil
}

type follower struct {
	*stretchOfSequence
	after  uint64
	asleep bool // by a planted bug
	once   sync.Once
	closed chan struct{}
}

// Next implements [packed.Follower].
func (f *follower) Next(ctx context.Context) (m packed.Message, err error) {
	err = f.do(ctx, &operation{
		key: "next", cut: f.closed,
		ready: func() bool { return !f.asleep && f.behind(f.after) < len(f.messages) },
		act: func() error {
			m = f.messages[f.behind(f.after)]
			f.after = m.Number
			f.asleep = f.w.cfg.Plant == PlantMissedWake && f.w.rng.IntN(50) == 0
			return nil
		},
	})
	m.Data = bytes.Clone(m.Data)
	return m, err
}

// Close implements [packed.Follower].
func (f *follower) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// river is the stream as the fan-out sees it: whose session it is goes along, and what
// sinks are handed is followed.
type river struct {
	*packed.Log
	p *process
}

// Open implements [entrain.Sink].
func (r *river) Open(ctx context.Context) (entrain.Writer, error) {
	return r.Log.Open(context.WithValue(ctx, whoKey{}, "capture"))
}

// Read implements [stream.Log].
func (r *river) Read(cursor string, part stream.Partition) entrain.Source {
	for _, t := range r.p.w.targets {
		if t.name == cursor {
			return &followed{Source: r.Log.Read(cursor, part), t: t, p: r.p}
		}
	}
	panic("simulation: no sink " + cursor)
}
