package entraintest

import (
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// SourceHarness is what [TestSource] needs to know of a source. New and Commit
// are required.
type SourceHarness struct {
	// New returns a source over a fresh history in which [StandardTable] is
	// empty. Everything that Commit does after New returned belongs to the
	// history (a replication slot exists by then). Sources of earlier calls
	// are not used any more.
	New func(t testing.TB) entrain.Source
	// Commit makes one transaction of the events happen where the last source
	// of New captures, and returns when it is committed. See [SQL].
	Commit func(t testing.TB, events ...entrain.Event)
	// Bounded says that Read returns io.EOF at the end of the history as it
	// was when the session was opened, instead of waiting for more.
	Bounded bool
	// FragmentRows is a number of inserted rows of about 1 kB which, as one
	// transaction, the source cannot deliver in one batch. 0 means that it
	// never splits one; the suite then uses 500.
	FragmentRows int
	// Patience is how long the suite waits for what must happen; 0 means a
	// minute.
	Patience time.Duration
	// elsewhere: positions are of a stream between the source and its reader, not of
	// the history that events name.
	elsewhere bool
}

func (h SourceHarness) patience() time.Duration { return patience(h.Patience) }

func patience(d time.Duration) time.Duration {
	if d == 0 {
		return time.Minute
	}
	return d
}

// sourceCase is one property of a source.
type sourceCase struct {
	name string
	// only, if set, says to which sources the property applies.
	only func(h SourceHarness) bool
	run  func(t testing.TB, h SourceHarness)
}

// TestSource checks that a source keeps the contracts of [entrain.Source] and
// [entrain.Reader], each case in a subtest on a history of its own:
//
//   - every change arrives once, in commit order, with its values; NULL is not
//     unchanged; a key change has the old key; truncate arrives (P1, P3);
//   - batches respect transactions, whatever their size; versions and ordinals
//     increase; positions exist only at transaction ends (P4);
//   - a session opened at any position that was seen delivers exactly what
//     follows, with the same ids (P1, P2);
//   - what was not acknowledged is delivered again; Ack may run beside Read and
//     does not wait (P1, P7);
//   - a batch stays intact until it is freed;
//   - contexts bound what they should, Close may come twice and in the middle;
//   - an unknown history is a [entrain.Stop] (P5).
//
// A source that waits for more is also tested for being interrupted while it
// waits; one that is Bounded, for io.EOF. The suite passes events with
// [entrain.OpMessage] over, since a source may send messages of its own.
func TestSource(t *testing.T, h SourceHarness) {
	for _, c := range sourceCases {
		if c.only == nil || c.only(h) {
			t.Run(c.name, func(t *testing.T) { c.run(t, h) })
		}
	}
}

func endless(h SourceHarness) bool    { return !h.Bounded }
func bounded(h SourceHarness) bool    { return h.Bounded }
func fragmented(h SourceHarness) bool { return h.FragmentRows > 0 }

var sourceCases = []sourceCase{
	{name: "operations", run: sourceOperations},
	{name: "null-and-unchanged", run: sourceNullAndUnchanged},
	{name: "key-change", run: sourceKeyChange},
	{name: "truncate", run: sourceTruncate},
	{name: "large-transaction", run: sourceLarge},
	{name: "interrupted-transaction", only: fragmented, run: sourceInterrupted},
	{name: "resume-at-every-position", run: sourceResume},
	{name: "unacknowledged-comes-again", run: sourceUnacknowledged},
	{name: "acknowledged-in-part", run: sourceAcknowledgedInPart},
	{name: "ack-in-order", run: sourceAckInOrder},
	{name: "ack-beside-blocked-read", only: endless, run: sourceAckBesideRead},
	{name: "memory-until-free", run: sourceMemory},
	{name: "read-with-ended-context", run: sourceReadEnded},
	{name: "cancel-blocked-read", only: endless, run: sourceCancel},
	{name: "deadline-of-blocked-read", only: endless, run: sourceDeadline},
	{name: "close-twice", run: sourceCloseTwice},
	{name: "close-while-reading", only: endless, run: sourceCloseWhileReading},
	{name: "open-with-ended-context", run: sourceOpenEnded},
	{name: "open-context-bounds-opening-only", run: sourceOpenContext},
	{name: "unknown-history", run: sourceUnknownHistory},
	{name: "end-of-bounded-history", only: bounded, run: sourceEOF},
}
