package entrain

import (
	"context"
	"iter"
)

// Digester is a Source or Sink whose rows can be summed up where they are, so
// that two ends are compared without moving their rows.
type Digester interface {
	// Digest starts a session that only reads; ctx bounds the opening only. That
	// of a source is a [Horizon], that of a sink a [Reacher].
	Digest(ctx context.Context) (DigestSession, error)
}

// DigestSession is one session with one end, for one goroutine. Nothing that it
// does changes anything there.
type DigestSession interface {
	// Tables returns, of a source, what it captures as it would deliver it;
	// delivered is nil then. Of a sink it returns what receives the delivered
	// tables, in their order.
	Tables(ctx context.Context, delivered []*Table) ([]DigestTable, error)
	// Read sums rows up. The sequence ends after an error; ctx covers it to its
	// end, and nothing else is asked of the session before.
	Read(ctx context.Context, q DigestQuery) iter.Seq2[Digest, error]
	// Close ends the session. It may be called twice.
	Close() error
}

// Horizon is a session with a source that knows how far its history reaches.
type Horizon interface {
	// End is where the history ends now: what a Read has shown was committed
	// before it.
	End(ctx context.Context) (Position, error)
	// Behind says for people why a sink at the position lacks something of what
	// lies before the end; it is empty if the sink has it all.
	Behind(ctx context.Context, sink, end Position) (string, error)
}

// Reacher is a session with a sink that keeps the pipeline's position.
type Reacher interface {
	// Reached is the position now, without taking it over; zero if there is none.
	// What is read afterwards has everything before it.
	Reached(ctx context.Context) (Position, error)
}

// DigestTable is a table of one end.
type DigestTable struct {
	// Table is its shape; nil if a sink has none. A sink's has only the columns
	// that changes are written to, with the target's types, and Key for those of
	// its primary key.
	Table *Table
	// Filtered: a source leaves out some of its rows.
	Filtered bool
	// Once: a source delivers it by a snapshot and has no changes of it.
	Once bool
	// Refused is why its rows cannot be read, empty if they can.
	Refused string
	// Computed are columns that a sink fills in itself.
	Computed []string
	// Rows is an estimate, at least 0.
	Rows int64
	// Encoding of its texts. Digests of tables with different ones are to be
	// Portable.
	Encoding string
}

// DigestQuery says what to sum up.
type DigestQuery struct {
	// Table as [DigestSession.Tables] returned it.
	Table *Table
	// Columns are what counts of a row, in the same order at both ends.
	Columns []DigestColumn
	// Key are indexes into Columns of what identifies a row; none: the whole row
	// does, and equal rows are counted.
	Key []int
	// Portable makes digests that do not depend on the encoding. They cost more.
	Portable bool
	// Buckets is into how many buckets the keys are dealt, a power of two. With
	// nothing else there is one Digest for each bucket that has rows.
	Buckets int
	// In asks for one Digest for each key of these buckets, in the order of Hash.
	In []int
	// Of asks for one Digest for each of these keys that has rows.
	Of []string
}

// DigestColumn is a column of a table.
type DigestColumn struct {
	Name string
	// As, if not nil, is the other end's column, whose type the values are read
	// as before they are looked at.
	As *Column
}

// Digest sums up the rows of a bucket or of a key. Two digests of the same query
// at two ends stand for the same rows if Rows and Sum are equal.
type Digest struct {
	Bucket int
	// Hash of the key, and the key itself in the end's own form, for Of.
	Hash int64
	Key  string
	// Show is the key for people, cut if it is long.
	Show string
	Rows int64
	Sum  string
	// Version differs after any of the rows was written anew, even with the same
	// values. Only equal versions say something. It is empty for buckets.
	Version string
}
