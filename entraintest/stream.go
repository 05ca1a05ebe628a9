package entraintest

import (
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// StreamHarness is what [TestStream] needs to know of a durable stream. New and
// Log are required; a hook that is nil leaves out the cases that need it.
type StreamHarness struct {
	// New makes a fresh, empty store. Logs over earlier ones are not used any more.
	New func(t testing.TB)
	// Log returns a log over the store of the last New, as another process would
	// have it: it shares nothing else with the logs of earlier calls.
	Log func(t testing.TB, c StreamConfig) stream.Log
	// Partition is where the events of a producer come; nil: it has the producer's
	// name.
	Partition func(producer string) stream.Partition
	// Parts says that readers are handed parts of a transaction before its end was
	// written.
	Parts bool
	// Describe says what of an event has to arrive as it was; nil: all of it.
	Describe func(e *entrain.Event) string
	// Remake removes the store's content, so that the next log begins anew, while
	// nobody has it open.
	Remake func(t testing.TB)
	// LoseAnswer makes what is published next by the logs take place without the
	// writer being told: its Write fails.
	LoseAnswer func(t testing.TB)
	// Quota is a room in bytes that a log can be limited to, 1 MB or more; 0 leaves
	// the cases out. A log with it removes what all its cursors have read within
	// the suite's patience.
	Quota int64
	// Rows is a number of inserted rows of about 1 kB that, as one transaction, is a
	// great many messages; 0 means 3000.
	Rows int
	// Quiet is how long the suite waits to see that nothing comes; 0 means 200 ms.
	Quiet time.Duration
	// Patience is how long it waits for what must happen; 0 means a minute.
	Patience time.Duration
}

// StreamConfig says which log a case needs.
type StreamConfig struct {
	// Producer is the name of the one that writes.
	Producer string
	// MaxBytes is the harness's Quota, or 0 for no limit.
	MaxBytes int64
	// Cursors are the readers whose messages are kept; everything else may go at
	// once. Nil: nothing is to be removed.
	Cursors []string
}

// streamCase is one property of a stream.
type streamCase struct {
	name string
	only func(h StreamHarness) bool
	run  func(t testing.TB, h StreamHarness)
}

// TestStream checks that a log keeps the contract of [stream.Log], each case in a
// subtest on a store of its own. The suites [TestSink] and [TestSource] are run on
// its two ends, too:
//
//   - events arrive as they were written, of every kind and in order, in batches
//     that respect transactions, from any position that was seen (P1, P2);
//   - cursors do not disturb each other;
//   - a transaction without an end has no effect: its writer's successor goes on
//     at the position before it, and a reader that was handed a part of it ends its
//     session so that the part is rolled back (P4);
//   - a writer that takes over fences the others, finds the position of the last
//     event, or a later one that was idle, and never one ahead of the events (P2);
//   - what was published though nobody was told is not published twice (P2);
//   - a full log waits, and drops nothing (P6);
//   - what is not there any more is a [entrain.Stop] (P5);
//   - a transaction of any size passes in bounded memory (P6).
func TestStream(t *testing.T, h StreamHarness) {
	for _, c := range streamCases {
		if c.only == nil || c.only(h) {
			t.Run(c.name, func(t *testing.T) { c.run(t, h) })
		}
	}
	t.Run("sink", func(t *testing.T) { TestSink(t, h.sink()) })
	t.Run("source", func(t *testing.T) { TestSource(t, h.source()) })
}

func (h StreamHarness) partition(producer string) stream.Partition {
	if h.Partition == nil {
		return stream.Partition(producer)
	}
	return h.Partition(producer)
}

func (h StreamHarness) quiet() time.Duration {
	if h.Quiet == 0 {
		return 200 * time.Millisecond
	}
	return h.Quiet
}

func (h StreamHarness) rows() int {
	if h.Rows == 0 {
		return 3000
	}
	return h.Rows
}

func handsParts(h StreamHarness) bool   { return h.Parts }
func limited(h StreamHarness) bool      { return h.Quota > 0 }
func remade(h StreamHarness) bool       { return h.Remake != nil }
func losesAnswers(h StreamHarness) bool { return h.LoseAnswer != nil }

var streamCases = []streamCase{
	{name: "every-kind-of-event", run: streamKinds},
	{name: "definitions", run: streamDefinitions},
	{name: "replay-from-any-position", run: streamReplay},
	{name: "rewind", run: streamRewind},
	{name: "cursors-at-their-own-pace", run: streamCursors},
	{name: "reader-comes-first", run: streamReaderFirst},
	{name: "many-transactions-in-one-batch", run: streamManyInBatch},
	{name: "large-transaction", run: streamLarge},
	{name: "large-row", run: streamLargeRow},
	{name: "parts-while-it-is-written", only: handsParts, run: streamParts},
	{name: "torn-transaction", run: streamTorn},
	{name: "torn-transaction-in-hand", only: handsParts, run: streamTornInHand},
	{name: "take-over-fences", run: streamFence},
	{name: "fenced-in-a-transaction", run: streamFenceInside},
	{name: "idle-positions", run: streamIdle},
	{name: "lost-answer", only: losesAnswers, run: streamLostAnswer},
	{name: "full-then-room", only: limited, run: streamFull},
	{name: "full-and-taken-over", only: limited, run: streamFullTakeOver},
	{name: "overrun", only: limited, run: streamOverrun},
	{name: "kept-for-a-cursor", only: limited, run: streamKept},
	{name: "recreated", only: remade, run: streamRecreated},
	{name: "two-producers", run: streamTwoProducers},
}
