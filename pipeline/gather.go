package pipeline

import (
	"context"
	"time"

	"github.com/entrainsync/entrain"
)

// gathering is what a session knows of an [entrain.Gatherer]: writes of whole
// transactions that are accepted and not durable yet.
type gathering struct {
	writer entrain.Gatherer // nil: every write is made durable at once
	// through is the position behind what is accepted; zero if nothing waits.
	through entrain.Position
	ended   time.Time // when something was made durable last
}

// due is when what is accepted is to be made durable.
func (g *gathering) due() time.Time { return g.ended.Add(g.writer.Gather()) }

// gathers reports whether a batch is only to be accepted for now. Rows of tables that
// are copied, a probe and what comes once more are made durable one by one: others
// wait for just that. So is the end of a large transaction.
func (s *session) gathers(b *entrain.Batch) bool {
	return s.gathered.writer != nil && !b.Through.IsZero() && !b.Replay && !s.within && !s.p.tables.busy() &&
		!s.p.opt.Circuit.probes() && time.Now().Before(s.gathered.due())
}

// deliverMerged delivers a batch, which may be durable later. A large transaction is
// one of the sink's with nothing before it.
func (s *session) deliverMerged(work context.Context, b *entrain.Batch) error {
	if s.gathers(b) {
		return s.gather(work, b)
	}
	if b.Through.IsZero() && !s.within {
		if err := s.endGathered(work); err != nil {
			return err
		}
	}
	return s.deliver(work, b)
}

// gather has the sink accept a batch of whole transactions. It is durable, and told to
// the source, with the next write that has a position (P1, P2).
func (s *session) gather(work context.Context, b *entrain.Batch) error {
	if err := s.p.point(PointWriting); err != nil {
		return err
	}
	part := *b
	part.Through = entrain.Position{}
	out, err := s.hand(work, &part)
	if err != nil {
		return err
	}
	s.p.seen.accepted(out.doubled)
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.gathered.through = b.Through
	return s.fed.noteWritten(uint64(len(s.parts)), &part, out)
}

// endGathered makes durable what waits for it, before a large transaction begins,
// when somebody asks for something, or when it is time.
func (s *session) endGathered(work context.Context) error {
	if s.gathered.through.IsZero() {
		return nil
	}
	parts := s.parts // none of them is written with it
	s.parts = nil
	defer func() { s.parts = parts }()
	return s.deliver(work, &entrain.Batch{Through: s.gathered.through})
}

// settleAll makes durable what waits for it, and saves the position that is owed.
func (s *session) settleAll(work context.Context) error {
	if err := s.endGathered(work); err != nil {
		return err
	}
	return s.settle(work)
}
