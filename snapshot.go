package entrain

import (
	"context"
	"time"
)

// Snapshotter is a Source that can also deliver the rows that were there before
// its stream began.
type Snapshotter interface {
	// Snapshot opens a view of the source's tables at one moment, which the
	// stream joins without a gap or an overlap: see [SnapshotPoint]. ctx bounds
	// the opening only. What the snapshot needs at the source ends with it, even
	// if the process dies; what the stream needs (a slot) is made first and
	// stays.
	Snapshot(ctx context.Context, r SnapshotRequest) (Snapshot, error)
}

// SnapshotRequest says what a snapshot is wanted for.
type SnapshotRequest struct {
	// Wants chooses among the tables that the source captures; nil means all.
	Wants func(schema, name string) bool
	// PartRows is about how many rows a part of a table should have; a source
	// estimates. Zero leaves it to the source.
	PartRows int
	// Standalone: no stream will follow, and nothing that lasts is made at the
	// source.
	Standalone bool
	// Making, if set, is called before something is made at the source that keeps
	// its log (a slot), with the name, so that it is known whose it is if it is to
	// go again ([Withdrawer]); an error makes nothing. With "" it takes that back:
	// nothing was made after all.
	Making func(ctx context.Context, name string) error
}

// Withdrawer is a Snapshotter that can take back what keeps its log.
type Withdrawer interface {
	// Withdraw removes what Snapshot made by this name, while no stream has begun
	// there. incarnation is that of the snapshot's stream; if it is not empty and
	// what has the name now belongs to another, that is somebody else's and stays.
	// What is gone already is no error.
	Withdraw(ctx context.Context, name, incarnation string) error
}

// Snapshot is a view of a source's tables at one moment. Its methods may be
// called from several goroutines. It has 4 methods because what it shows is
// known, and decided upon, before a row is read.
type Snapshot interface {
	// Point is the moment.
	Point() SnapshotPoint
	// Tables that can be read, in an order in which referenced tables come
	// before those that refer to them, as far as there is one.
	Tables() []SnapshotTable
	// Read opens one part of a table. Every row of the table is in exactly one
	// part. Parts may be read at the same time and more than once. ctx bounds
	// the opening only.
	Read(ctx context.Context, p SnapshotPart) (RowReader, error)
	// Close ends the view and frees what it holds at the source. It may be
	// called twice.
	Close() error
}

// SnapshotPoint is where a snapshot lies in the source's history.
type SnapshotPoint struct {
	// Stream is the history.
	Stream *Stream
	// Version divides it: what transactions of this or a lower version did to
	// the tables is in the snapshot, and nothing else is. No transaction has
	// exactly this version.
	Version uint64
	// Time of the snapshot by the source's clock.
	Time time.Time
	// From is a position from which a stream has everything that the snapshot
	// has not; it may have more. Zero in a standalone snapshot.
	From Position
}

// SnapshotTable is a table of a snapshot.
type SnapshotTable struct {
	Table *Table
	// Rows is an estimate, -1 if there is none.
	Rows int64
	// Parts is in how many parts the table can be read, at least 1.
	Parts int
	// Group is the same number for tables that are tied by references: a sink
	// that enforces these can only have their rows of one moment. 0 is a table
	// that no other is tied to.
	Group int
	// Definition makes the table elsewhere; nil if the source cannot say.
	Definition *Definition
	// Chosen is what the source's configuration takes of the table's rows and columns
	// (a row filter, a list of columns), in the source's own words; empty: all. Other
	// words are another choice.
	Chosen string
}

// Definition is how a table is made, in statements of the source's own SQL,
// without semicolons. Names are qualified and quoted.
type Definition struct {
	// Dialect names the SQL: "postgres".
	Dialect string
	// Before is executed before rows are stored, in order: schema, types, the
	// table, without what identifies its rows unless that can be made with it
	// only. Here and below, statements do no harm if what they make is there.
	Before []string
	// Indexes are executed when the rows are stored, in any order, also at the
	// same time: those of the keys and all others.
	Indexes []string
	// After is executed behind Indexes, in order: primary key, unique and check
	// constraints.
	After []string
	// References is executed when all tables have their rows: foreign keys.
	References []string
}

// SnapshotPart names one part of a table of a snapshot: an index into Tables and
// a number from 0 to Parts-1.
type SnapshotPart struct{ Table, Number int }

// RowReader delivers rows of a snapshot, for one goroutine.
type RowReader interface {
	// Read returns the next rows: a batch of [OpRead] events of one table, all
	// with the same transaction, whose version is the snapshot's. Through is
	// zero. It returns io.EOF when there are no more.
	Read(ctx context.Context) (*Batch, error)
	// Close ends the reading. It may be called twice, also before the end.
	Close() error
}

// Loader is a Sink that takes the rows of a snapshot by sessions of their own,
// several parts at a time. The rows of other sinks go through their Writer.
//
// It has 4 methods because a crash between any two of them must leave no doubt.
type Loader interface {
	// Load prepares for the rows of a table. What an earlier load of the same
	// pipeline has left there, unfinished, is removed first; rows of others
	// stay. ctx bounds the preparation only.
	Load(ctx context.Context, t SnapshotTable) (TableLoad, error)
	// Notes returns what was noted by the loads that were finished since the last
	// Forget.
	Notes(ctx context.Context) ([]string, error)
	// Complete is called when all tables of a snapshot have their rows. It may be
	// called again.
	Complete(ctx context.Context, tables []SnapshotTable) error
	// Forget is called when it is written down elsewhere that the snapshot is
	// complete: the notes are not needed any more.
	Forget(ctx context.Context) error
}

// TableLoad is one table on its way into a sink.
type TableLoad interface {
	// Part stores the rows that r delivers and returns how many; they are
	// durable when the error is nil, and of no effect after an error. It may be
	// called from several goroutines, for different parts, and does not close r.
	Part(ctx context.Context, r RowReader) (int64, error)
	// Finish makes the rows of all parts the table's. A row whose key the table
	// had already is replaced. The note is kept with them, in the same
	// transaction.
	Finish(ctx context.Context, note string) error
	// Close ends the load; one that is not finished is redone by the next Load.
	// It may be called twice. Loads that are finished stay open until the last
	// table has its rows, so that what one has at the sink can serve the next.
	Close() error
}
