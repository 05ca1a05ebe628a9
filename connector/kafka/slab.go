package kafka

import (
	"context"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// slabRecords is how many records a slab has; slabs of them bound what is
	// under way at once (P6).
	slabRecords = 2048
	slabs       = 8
	// slabBytes is when a slab is full; one event may be larger than that.
	slabBytes = 1 << 20
	// slabRoom is for the event that fills a slab: a buffer that grows leaves its
	// older self to the records in it, and so takes twice the memory.
	slabRoom = 64 << 10
	// eventRecords is the most records that are made of one event at once.
	eventRecords = 4
	// headersEach is how many headers a record has, as a rule.
	headersEach = 4
)

// slab is memory for records on their way: their bytes lie in one buffer one
// behind the other. It is used again when all its records are done.
type slab struct {
	buf     []byte
	records []kgo.Record
	headers []kgo.RecordHeader
	n       int // records in use
	// left counts the records that are not done, and the writer as one.
	left atomic.Int32
	done func(*kgo.Record, error)
}

// room reports whether the slab takes all records of another event.
func (s *slab) room() bool {
	return s.n+eventRecords <= len(s.records) && len(s.buf) < slabBytes
}

// empty makes the slab as it was; only when all its records are done.
func (s *slab) empty() {
	clear(s.records[:s.n])
	s.n, s.headers = 0, s.headers[:0]
	s.buf = s.buf[:0]
	if cap(s.buf) > 2*slabBytes {
		s.buf = nil
	}
	s.left.Store(1)
}

// slabPool hands out slabs, for one writer. Records are done in other
// goroutines.
type slabPool struct {
	free    chan *slab
	current *slab
	failed  func(s *slab, r *kgo.Record, err error)
	// waits runs what waits for records to be done.
	waits func(do func() error) error
}

// newSlabPool makes a pool that tells failed of records that were not written,
// from any goroutine.
func newSlabPool(failed func(s *slab, r *kgo.Record, err error)) *slabPool {
	p := &slabPool{free: make(chan *slab, slabs), failed: failed,
		waits: func(do func() error) error { return do() }}
	for range slabs {
		p.free <- &slab{}
	}
	return p
}

// take returns a slab with room, waiting for one.
func (p *slabPool) take(ctx context.Context) (*slab, error) {
	if p.current != nil && p.current.room() {
		return p.current, nil
	}
	p.release()
	s, err := p.unused(ctx)
	if err != nil {
		return nil, err
	}
	p.prepare(s)
	p.current = s
	return s, nil
}

// unused returns a slab whose records are all done.
func (p *slabPool) unused(ctx context.Context) (s *slab, err error) {
	select {
	case s = <-p.free:
		return s, nil
	default:
	}
	err = p.waits(func() error {
		select {
		case s = <-p.free:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return s, err
}

// prepare gives a slab its memory when it is used the first time.
func (p *slabPool) prepare(s *slab) {
	if s.records == nil {
		s.records = make([]kgo.Record, slabRecords)
		s.headers = make([]kgo.RecordHeader, 0, slabRecords*headersEach)
		s.buf = make([]byte, 0, slabBytes+slabRoom)
		s.done = func(r *kgo.Record, err error) {
			if err != nil {
				p.failed(s, r, err)
			}
			p.drop(s)
		}
	}
	s.empty()
}

// drop counts one down; the last one brings the slab back.
func (p *slabPool) drop(s *slab) {
	if s.left.Add(-1) == 0 {
		p.free <- s
	}
}

// release ends the writer's use of the current slab.
func (p *slabPool) release() {
	if p.current != nil {
		p.drop(p.current)
		p.current = nil
	}
}

// flushed says that all records are done: the current slab is filled anew.
func (p *slabPool) flushed() {
	if p.current != nil {
		p.current.empty()
	}
}

// next returns the slab's next record, which is under way from now on.
func (s *slab) next() *kgo.Record {
	r := &s.records[s.n]
	s.n++
	s.left.Add(1)
	return r
}
