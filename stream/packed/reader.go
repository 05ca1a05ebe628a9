package packed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/frame"
)

// source reads one partition under a cursor's name.
type source struct {
	log       *Log
	cursor    string
	partition stream.Partition
	bounded   bool   // readers end: at what is finished when they open, or
	until     *place // there, if it is set

	mu   sync.Mutex
	void []span // what markers said about messages that may still be there
}

// span is the messages between two numbers, both excluded.
type span struct{ after, before uint64 }

func (s *source) isVoid(number uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.void, func(v span) bool { return v.after < number && number < v.before })
}

// maxVoid bounds what is remembered; each span takes the death of a writer.
const maxVoid = 1000

func (s *source) addVoid(v span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.after+1 == v.before || slices.Contains(s.void, v) {
		return
	}
	if s.void = append(s.void, v); len(s.void) > maxVoid {
		s.void = slices.Delete(s.void, 0, 1)
	}
}

// Open implements [entrain.Source].
func (s *source) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	if s.cursor != "" && !cursorName.MatchString(s.cursor) {
		return nil, fmt.Errorf("the cursor's name %q has other characters than letters, digits and any of ._-", s.cursor)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	seq, err := s.log.cfg.Backend.Open(ctx, string(s.partition))
	if err != nil {
		return nil, fmt.Errorf("open the stream of %s: %w", s.partition, err)
	}
	r, err := s.open(ctx, seq, from)
	if err != nil {
		return nil, errors.Join(err, seq.Close())
	}
	return r, nil
}

func (s *source) open(ctx context.Context, seq *Sequence, from entrain.Position) (*reader, error) {
	at, err := s.locate(ctx, seq, from)
	if err != nil {
		return nil, err
	}
	begins, err := s.begins(ctx, seq, at.number)
	if err != nil {
		return nil, err
	}
	if begins != nil && begins.at.From > at.number {
		at = place{number: begins.at.From}
	}
	after := at.number
	if first, err := s.missing(ctx, seq, after); err != nil {
		return nil, err
	} else if first != 0 {
		return nil, s.stopOverrun(from, first)
	}
	f, err := seq.History.Follow(ctx, after)
	if err != nil {
		return nil, fmt.Errorf("read the stream of %s after message %d: %w", s.partition, after, err)
	}
	r := &reader{src: s, seq: seq, follower: f, from: from, read: after, finished: after, solid: after, begins: begins}
	r.tip, r.root = at.digest, at.digest
	if s.bounded {
		if r.last, err = s.end(ctx, seq); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	r.handed.acked.number, r.handed.acked.digest = after, at.digest
	r.at.Store(after)
	r.heard.Store(time.Now().UnixMilli())
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.wg.Go(r.keep)
	return r, nil
}

// locate finds the message that a position is behind.
func (s *source) locate(ctx context.Context, seq *Sequence, from entrain.Position) (at place, err error) {
	if !from.IsZero() {
		if from.Incarnation != seq.ID {
			return at, stopRecreated(s.partition, from, "it was removed and made anew, or FILE leads to another server or folder")
		}
		if at, err = parsePlace(from.Offset); err != nil {
			return at, stopRecreated(s.partition, from, "the position is none of this stream")
		}
	}
	stat, err := seq.State.Stat(ctx)
	if err != nil {
		return at, fmt.Errorf("look into the stream of %s: %w", s.partition, err)
	}
	if at.number > stat.Last {
		return at, stopRecreated(s.partition, from,
			fmt.Sprintf("it ends with message %d: it was restored from a backup, or lost its latest messages", stat.Last))
	}
	return at, nil
}

// missing reports what is there instead of what follows a message, by its number; 0
// if what follows is there, or nothing follows.
func (s *source) missing(ctx context.Context, seq *Sequence, after uint64) (uint64, error) {
	next, err := seq.History.At(ctx, after+1)
	if err != nil || next.Number == 0 {
		return 0, err
	}
	v, _, err := readEnvelope(next.Data)
	if err != nil {
		return 0, seq.unreadable(s.partition, next.Number, err)
	}
	perhapsTorn := v.unfinished() && v.base <= after
	if v.follows(next.Number) > after && !perhapsTorn {
		return next.Number, nil
	}
	return 0, nil
}

// reader is one session with a partition. What is below is for the goroutine that
// calls Read, except what is marked.
type reader struct {
	src      *source
	seq      *Sequence
	follower Follower
	from     entrain.Position
	ctx      context.Context // the session's
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	once     sync.Once
	closed   error

	dec      frame.Decoder
	read     uint64     // the last message that was looked at
	finished uint64     // the last finished one among them; finished <= read
	solid    uint64     // the last finished one that is no marker, of which sinks know
	tip      uint64     // digest of read; 0: it is not known
	root     uint64     // that of solid
	fragment []byte     // of a frame that goes on in the next message
	pending  merged     // frames of a batch that goes on
	parts    bool       // a part of a transaction was handed out, its end was not
	skipping bool       // messages are missing: the next finished one decides
	last     uint64     // where a bounded session ends
	rested   place      // what atRest has handed out
	begins   *beginning // nil: the session goes on where another one ended

	at               atomic.Uint64 // read; from here on from any goroutine
	end              atomic.Uint64 // bytes of the sequence through the last message read
	ahead            atomic.Int64  // about how many bytes are there that were not read yet
	committed, heard atomic.Int64  // times
	handed           handed
	idle             atomic.Pointer[place] // where the source was when nothing came from it
	wake             atomic.Pointer[context.CancelFunc]
	stored           uint64 // the cursor, for keep and then Close
}

// Read implements [entrain.Reader].
func (r *reader) Read(ctx context.Context) (*entrain.Batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.src.bounded && r.finished >= r.last {
			return nil, io.EOF
		}
		if b := r.atRest(); b != nil {
			return b, nil
		}
		m, err := r.next(ctx)
		if err != nil {
			if r.ctx.Err() != nil {
				return nil, errors.New("the session with the stream was closed")
			}
			return nil, fmt.Errorf("after message %d of the stream of %s: %w", r.read, r.src.partition, err)
		}
		if m.Number <= r.read || r.src.isVoid(m.Number) {
			continue
		}
		b, err := r.take(m)
		if b != nil || err != nil {
			return b, err
		}
	}
}

// take looks at the next message and returns the batch that it completes.
func (r *reader) take(m Message) (*entrain.Batch, error) {
	v, body, err := readEnvelope(m.Data)
	if err != nil {
		return nil, r.seq.unreadable(r.src.partition, m.Number, err)
	}
	r.handed.begin(v.total)
	if v.follows(m.Number) > r.read {
		r.skipping = true
	}
	if err := r.descends(&v, m.Number); err != nil {
		return nil, err
	}
	r.read, r.tip = m.Number, digest(m.Data)
	r.at.Store(m.Number)
	r.heard.Store(time.Now().UnixMilli())
	r.end.Store(v.total + uint64(len(m.Data)))
	if v.marker() {
		return nil, r.passMarker(&v, m.Number)
	}
	if r.skipping {
		if v.base <= r.finished && v.unfinished() {
			return nil, nil // perhaps of a torn transaction; the marker will tell
		}
		return nil, r.overrun(m.Number)
	}
	if v.flags&flagFragment != 0 {
		r.fragment = append(r.fragment, body...)
		return nil, nil
	}
	if len(r.fragment) > 0 {
		body, r.fragment = append(r.fragment, body...), nil
	}
	h, b, err := r.dec.Decode(body)
	if err != nil {
		return nil, r.seq.unreadable(r.src.partition, m.Number, err)
	}
	if !h.Committed.IsZero() {
		r.committed.Store(h.Committed.UnixMicro())
	}
	return r.hand(&v, place{m.Number, r.tip, h.Through}, b), nil
}

// hand returns the batch that the frame completes; nil if more belongs to it.
func (r *reader) hand(v *envelope, at place, b *entrain.Batch) *entrain.Batch {
	if r.begins != nil {
		r.begins.pass(at.number, b)
	}
	r.pending.add(b)
	if v.flags&flagMore != 0 {
		return nil
	}
	b = r.pending.take()
	if v.flags&flagPart != 0 {
		r.parts = true
		if len(b.Events) == 0 && r.begins != nil {
			freeAll([]*entrain.Batch{b})
			return nil
		}
		return b
	}
	b.Through = entrain.Position{Incarnation: r.seq.ID, Offset: at.offset()}
	r.finished, r.solid, r.root, r.parts = at.number, at.number, at.digest, false
	r.handed.add(handedEnd{at.number, at.digest, r.end.Load()})
	return b
}

// passMarker goes on behind the messages that a marker makes void. What was
// handed out of them, the sink has to forget.
func (r *reader) passMarker(v *envelope, number uint64) error {
	if v.base > r.finished {
		return r.overrun(number)
	}
	torn := r.parts
	r.src.addVoid(span{after: v.base, before: number})
	r.finished, r.skipping, r.parts, r.fragment = number, false, false, nil
	r.pending.drop()
	if torn {
		return entrain.Retryable(fmt.Errorf("a writer of the stream of %s ended in the middle of a transaction: "+
			"its part after message %d is given up, what follows is delivered", r.src.partition, v.base))
	}
	r.handed.pass(r.end.Load())
	return nil
}

func (r *reader) overrun(first uint64) error {
	return r.src.stopOverrun(r.position(), first)
}

// position is that of the last finished message.
func (r *reader) position() entrain.Position {
	if r.finished == 0 {
		return r.from
	}
	return entrain.Position{Incarnation: r.seq.ID, Offset: strconv.FormatUint(r.finished, 10)}
}

// merged is the frames of one batch.
type merged struct {
	first *entrain.Batch
	rest  []*entrain.Batch
}

func (g *merged) add(b *entrain.Batch) {
	if g.first == nil {
		g.first = b
		return
	}
	g.rest = append(g.rest, b)
}

// take makes one batch of all. Events of frames are copied, what they point to
// stays where it is until the batch is freed.
func (g *merged) take() *entrain.Batch {
	if len(g.rest) == 0 {
		b := g.first
		g.first = nil
		return b
	}
	all := append([]*entrain.Batch{g.first}, g.rest...)
	b := &entrain.Batch{}
	for _, f := range all {
		b.Events = append(b.Events, f.Events...)
		b.Bytes += f.Bytes
	}
	b.Free = func() { freeAll(all) }
	g.first, g.rest = nil, nil
	return b
}

func (g *merged) drop() {
	if g.first != nil {
		freeAll(append([]*entrain.Batch{g.first}, g.rest...))
	}
	g.first, g.rest = nil, nil
}

func freeAll(batches []*entrain.Batch) {
	for _, b := range batches {
		if b.Free != nil {
			b.Free()
		}
	}
}
