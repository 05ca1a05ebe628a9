package packed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// Until implements [entrain.Bounder]: "now" is the end of what is finished when a
// reader opens, everything else the offset of a position.
func (s *source) Until(target string) (entrain.Source, error) {
	until := &source{log: s.log, cursor: s.cursor, partition: s.partition, bounded: true}
	if target == "now" {
		return until, nil
	}
	p, err := parsePlace(target)
	if err != nil {
		return nil, fmt.Errorf("a stream ends now or at a position, not at %q", target)
	}
	until.until = &p
	return until, nil
}

// end is the number of the message that ends a bounded session.
func (s *source) end(ctx context.Context, seq *Sequence) (uint64, error) {
	last, err := lastFinished(ctx, seq)
	switch {
	case err != nil:
		return 0, fmt.Errorf("find the end of the stream of %s: %w", s.partition, err)
	case s.until == nil:
		return last, nil
	case s.until.number > last:
		return 0, fmt.Errorf("the stream of %s ends with message %d, before %d", s.partition, last, s.until.number)
	}
	return s.until.number, nil
}

// Rewind implements [stream.Rewinder]: it goes back to the first message there is,
// since messages do not tell when they were written.
func (l *Log) Rewind(ctx context.Context, p stream.Partition, _ time.Time) (from entrain.Position, whole bool, err error) {
	seq, err := l.cfg.Backend.Open(ctx, string(p))
	if err != nil {
		return from, false, fmt.Errorf("open the stream of %s: %w", p, err)
	}
	first, err := seq.History.At(ctx, 1)
	after := max(first.Number, 1) - 1
	if err == nil && first.Number == 0 { // there is nothing
		var st Stat
		st, err = seq.State.Stat(ctx)
		after = st.Last
	}
	if err = errors.Join(err, seq.Close()); err != nil {
		return from, false, fmt.Errorf("find the beginning of the stream of %s: %w", p, err)
	}
	return entrain.Position{Incarnation: seq.ID, Offset: place{number: after}.offset()}, after == 0, nil
}

// lastFinished is the number of the last message that ends a batch, or of a marker
// behind it.
func lastFinished(ctx context.Context, seq *Sequence) (uint64, error) {
	m, err := seq.Tail.Last(ctx)
	if err != nil || m.Number == 0 {
		return 0, err
	}
	v, _, err := readEnvelope(m.Data)
	if err != nil {
		return 0, err
	}
	if v.unfinished() {
		return v.base, nil
	}
	return m.Number, nil
}
