package entrain

import (
	"context"
	"errors"
)

// Chunker is a Source whose tables can be read in chunks, by key, while its
// stream flows. No chunk holds anything at the source for longer than it takes
// to be read, so that a table can be copied beside the others, in pauses, and
// again.
type Chunker interface {
	// Chunks opens a session beside the stream; ctx bounds the opening only.
	Chunks(ctx context.Context) (ChunkSession, error)
}

// ChunkSession reads chunks, for one goroutine. Apart from what the source needs
// to tell transactions apart it writes nothing there. It has 4 methods because a
// chunk means something only beside a table that is known and a log that has
// settled.
type ChunkSession interface {
	// Tables lists what the source captures now, with the shapes under which the
	// stream describes it.
	Tables(ctx context.Context) ([]ChunkTable, error)
	// Settle waits until every transaction has ended that may have begun before
	// the call: from then on the stream has every change of the tables that the
	// source captures. A view of a later chunk contains what ended before. The source
	// moves its stream behind it soon, also when nothing else happens.
	Settle(ctx context.Context) error
	// Read reads one chunk in a transaction of its own. A table that does not fit
	// the query any more, or is locked for too long, is a retryable error.
	Read(ctx context.Context, q ChunkQuery) (*Chunk, error)
	// Close ends the session. It may be called twice.
	Close() error
}

// ErrOtherRows is wrapped by an error of [ChunkSession.Read]: the stream has other
// rows of the table than before (a row filter was changed), and what was read of it
// until then does not fit them.
var ErrOtherRows = errors.New("other rows of the table are captured than before")

// ChunkTable is a table that a source captures.
type ChunkTable struct {
	Table *Table
	// Rows is an estimate, -1 if there is none.
	Rows int64
	// Group is the same number for tables that are tied by references, 0 for a table
	// that no other is tied to: while one of them lacks rows, a sink that enforces
	// references cannot hold the others to theirs.
	Group int
	// Refused is why the table cannot be read in chunks, for people; empty if it
	// can.
	Refused string
	// Definition makes the table elsewhere; nil if the source cannot say.
	Definition *Definition
	// Chosen is what of the table is captured; see [SnapshotTable.Chosen].
	Chosen string
}

// ChunkQuery says which rows to read.
type ChunkQuery struct {
	// Table as [ChunkSession.Tables] or the stream describes it.
	Table *Table
	// After is the key behind which the chunk begins: the canonical texts of the
	// columns that are Key, in their order; nil begins at the first row. The
	// source alone compares keys.
	After []string
	// Where, if not empty, is a condition in the source's own language that the rows
	// have to meet besides.
	Where string
	// Of, if not nil, asks for the one row with this key, if it is there.
	Of []string
	// Rows is how many at most, above zero. A source may return fewer, to bound its
	// memory, with [Chunk.More] set.
	Rows int
}

// Chunk is what a read has found: rows as one view of the source has them.
type Chunk struct {
	// Table is the shape of the rows. If it is another Version than the query's,
	// there are no rows: the table has changed.
	Table *Table
	// Rows in the order of their keys, each with a value or a null in every
	// column. They are the caller's.
	Rows []Row
	// Last is the key of the last row, as in [ChunkQuery.After]. It is nil if
	// there are no rows.
	Last []string
	// More rows may follow behind Last.
	More bool
	// View tells which transactions the rows contain.
	View View
	// Version is not below that of any transaction that the rows contain, and
	// not above any that commits after they were read.
	Version uint64
	// Reached reports whether a stream that has delivered everything before the
	// position has delivered every transaction that the rows contain. The source
	// moves its stream there soon, also when nothing else happens. It may be
	// called from any goroutine.
	Reached func(at Position) bool
}

// View is what one moment shows of a source's transactions, by their IDs, as
// PostgreSQL's pg_snapshot does. IDs are of top-level transactions, widened to 64
// bits: the low 32 bits are [Transaction.ID].
type View struct {
	// Min: every transaction below it has ended. Max: none from it on had begun.
	// Min <= Max.
	Min, Max uint64
	// Open lists those in between that had not ended.
	Open []uint64
}

// Contains reports whether the view shows what the transaction with the 32-bit ID
// did; the transaction has committed. IDs that are compared are less than 2^31
// apart, as the source sees to.
func (v View) Contains(id uint64) bool {
	full := v.Widen(id)
	if full < v.Min {
		return true
	}
	if full >= v.Max {
		return false
	}
	for _, open := range v.Open {
		if open == full {
			return false
		}
	}
	return true
}

// Widen returns the 64-bit ID that a 32-bit one stands for at the time of the
// view.
func (v View) Widen(id uint64) uint64 {
	return v.Max - uint64(int64(int32(uint32(v.Max)-uint32(id))))
}

// Streamer is a Reader that knows its history before the first event. Those of a
// [Chunker] are.
type Streamer interface {
	// Stream is the history that the reader's events will be of. It may be called
	// from any goroutine.
	Stream() *Stream
}

// TableAdder is a Source that can be told to capture a further table.
type TableAdder interface {
	// AddTable makes the source capture the table, from about now on: what
	// [ChunkSession.Settle] says holds for a session that was opened afterwards,
	// and for readers that were. A table that is captured already is no error. One
	// that the source's configuration leaves out, or that it has no right to add,
	// is a *[Stop] which says what to do.
	AddTable(ctx context.Context, schema, name string) error
}

// Renewer is a Source that can begin a new history where the old one is lost.
type Renewer interface {
	// Renew removes what the source keeps for the old history, so that Open from the
	// zero position begins a new one. It refuses, by a *[Stop], what it did not make.
	Renew(ctx context.Context) error
}

// TableMaker is a Sink that can make a table which is copied later than the
// others.
type TableMaker interface {
	// MakeTable makes the table with all that belongs to it, if the sink lacks it
	// and is configured to make tables. One that stays missing is a *[Stop].
	MakeTable(ctx context.Context, t ChunkTable) error
}

// Divided is a Sink that may keep an order between the changes of one key only, so
// that nothing can happen to all rows of a table at one moment: no double takes its
// place.
type Divided interface {
	// Divided returns nil if all changes have one order, else a *[Stop] that says
	// what to do instead. It may dial, and may be called from any goroutine.
	Divided(ctx context.Context) error
}

// DoubleDropper is a Writer that keeps the doubles of tables ([Table.Shadow]) beside
// them, so that one that is given up would stay.
type DoubleDropper interface {
	// DropDoubles removes the pipeline's doubles but for those of the tables to keep,
	// by their names at the sink. It is called between two calls of Write, behind a
	// Through. An error leaves the session as it was, or ended.
	DropDoubles(ctx context.Context, keep []TableName) error
}

// TableFinder is a Source that can tell which tables its configuration takes and
// it does not capture, though it may have them added by [TableAdder] without
// touching what is somebody else's.
type TableFinder interface {
	// MissingTables lists them; none if the source is not to change what it
	// captures.
	MissingTables(ctx context.Context) ([]TableName, error)
}

// OnceLister is a Snapshotter that can deliver the rows of things whose changes it
// never sees, such as views.
type OnceLister interface {
	// CopiedOnce lists them by the names that snapshots have for them.
	CopiedOnce(ctx context.Context) ([]TableName, error)
}

// TableName is a table's name at a source, unquoted.
type TableName struct{ Schema, Name string }
