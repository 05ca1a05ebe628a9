package entraintest

import (
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// SinkHarness is what [TestSink] needs to know of a sink. New and Rows are
// required.
type SinkHarness struct {
	// New returns a sink on a fresh target: [StandardTable] is there and
	// empty, and no position is kept. The suite opens it several times.
	// Sinks of earlier calls are not used any more.
	New func(t testing.TB) entrain.Sink
	// Rows returns what an independent reader sees in [StandardTable] at the
	// target of the last New, by the text of id. It must not go through the
	// sink. [Rows.Apply] helps where the target keeps changes and not rows.
	Rows func(t testing.TB) Rows
	// Keeps says which of the optional interfaces the writers must have.
	Keeps Keeps
	// VisibleEarly says that Rows may see changes that are not durable yet,
	// until a session restores a mark: the target has no transactions.
	VisibleEarly bool
	// NoDoubles says that the sink takes the double of a table for the table
	// itself; see [entrain.Table.Shadow].
	NoDoubles bool
	// KeepsChanges says that the target keeps changes, of which Rows makes rows:
	// whether one that settles comes out right is up to who reads them.
	KeepsChanges bool
	// Patience is how long the suite waits for what must happen; 0 means a
	// minute.
	Patience time.Duration
}

// sinkCase is one property of a sink.
type sinkCase struct {
	name string
	// only, if set, says to which sinks the property applies.
	only func(h SinkHarness) bool
	run  func(t testing.TB, h SinkHarness)
}

// TestSink checks that a sink keeps the contracts of [entrain.Sink] and
// [entrain.Writer], each case in a subtest on a target of its own:
//
//   - what Write accepted with a Through is durable and visible when it
//     returns; changes apply in order; NULL is not unchanged; key changes keep
//     unchanged columns; a key may go and come in one batch (P1, P3);
//   - a transaction shows only when its end was written, and is rolled back by
//     Close and by errors (P4);
//   - the position, or the mark, fits the data after every reopening, and
//     redelivery from it has no double effect (P2);
//   - changes of tables that are being copied settle: what is there is replaced,
//     what is not there is not missed (P3); the double of a table is filled out
//     of sight and takes the table's place at once, in a transaction (P4);
//   - a session that takes the position over ends the right of others to write;
//   - nothing of a batch is kept after Write: the suite overwrites its memory;
//   - contexts bound what they should, Close may come twice, an operation that
//     does not exist is refused.
//
// Which cases apply depends on the harness's other fields.
func TestSink(t *testing.T, h SinkHarness) {
	for _, c := range sinkCases {
		if c.only == nil || c.only(h) {
			t.Run(c.name, func(t *testing.T) { c.run(t, h) })
		}
	}
}

func hidesOpen(h SinkHarness) bool     { return !h.VisibleEarly }
func undoesOpen(h SinkHarness) bool    { return !h.VisibleEarly || h.Keeps == KeepsMark }
func keepsPosition(h SinkHarness) bool { return h.Keeps == KeepsPosition }
func keepsMark(h SinkHarness) bool     { return h.Keeps == KeepsMark }
func settlesRows(h SinkHarness) bool   { return !h.KeepsChanges }
func resumes(h SinkHarness) bool       { return h.Keeps != KeepsNothing }

var sinkCases = []sinkCase{
	{name: "durable-when-written", run: sinkDurable},
	{name: "operations", run: sinkOperations},
	{name: "random-batches", run: sinkRandom},
	{name: "null-and-unchanged", run: sinkNullAndUnchanged},
	{name: "key-change", run: sinkKeyChange},
	{name: "delete-and-insert", run: sinkDeleteAndInsert},
	{name: "truncate", run: sinkTruncate},
	{name: "settling", only: settlesRows, run: sinkSettling},
	{name: "double", run: sinkDouble},
	{name: "double-anew", run: sinkDoubleAnew},
	{name: "double-in-transactions", only: undoesOpen, run: sinkDoubleTransactions},
	{name: "fragments", run: sinkFragments},
	{name: "fragments-are-invisible", only: hidesOpen, run: sinkInvisible},
	{name: "close-rolls-back", only: undoesOpen, run: sinkRollback},
	{name: "empty-batch", run: sinkEmptyBatch},
	{name: "position-survives", only: keepsPosition, run: sinkPosition},
	{name: "take-over-fences", only: keepsPosition, run: sinkFence},
	{name: "mark-is-restored", only: keepsMark, run: sinkMark},
	{name: "redelivery", only: resumes, run: sinkRedelivery},
	{name: "memory-is-not-kept", run: sinkMemory},
	{name: "unknown-operation", run: sinkUnknownOperation},
	{name: "write-with-ended-context", only: undoesOpen, run: sinkWriteEnded},
	{name: "open-with-ended-context", run: sinkOpenEnded},
	{name: "open-context-bounds-opening-only", run: sinkOpenContext},
	{name: "close-twice", run: sinkCloseTwice},
}
