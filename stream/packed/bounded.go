package packed

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
)

// Until implements [entrain.Bounder]. The only target is "now": the end of what is
// finished when a reader opens.
func (s *source) Until(target string) (entrain.Source, error) {
	if target != "now" {
		return nil, fmt.Errorf("a stream ends now, not at %q", target)
	}
	return &source{log: s.log, cursor: s.cursor, partition: s.partition, bounded: true}, nil
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
