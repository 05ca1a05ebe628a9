package kafka

import (
	"strings"

	"github.com/entrainsync/entrain"
)

// Guarantees implements [entrain.Guarantor], as a consumer of committed records
// sees it.
func (s *Sink) Guarantees() entrain.Guarantees {
	g := entrain.Guarantees{Once: s.exactly, Whole: s.exactly}
	if !s.exactly {
		g.Why = "without transactions (exactly_once: false) events come again after a crash, with the same ids"
		return g
	}
	several := s.shape.format == "debezium" || s.shape.topic != s.shape.messages || strings.Contains(s.shape.topic, "{") || s.partitions != 1
	if several {
		g.Whole = false
		g.Why = "a transaction's events are in several partitions, which consumers read one by one"
	}
	return g
}

// Guarantees implements [entrain.Guarantor].
func (l *Log) Guarantees() entrain.Guarantees {
	g := entrain.Guarantees{Once: true, Whole: l.sink.partitions == 1}
	if !g.Whole {
		g.Why = "the stream may have several partitions: each is delivered by itself, in the order of its keys, so that references between tables cannot be enforced at a sink"
	}
	return g
}
