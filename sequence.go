package entrain

import "context"

// Sequencer is a Source whose columns can take their values from sequences. A
// log of changes has the rows, not how far the sequences are: a sink that takes
// over from the source would give out numbers a second time.
type Sequencer interface {
	// Sequences are those of the columns of the captured tables, as they stand
	// now.
	Sequences(ctx context.Context) ([]Sequence, error)
}

// Advancer is a Sink whose columns can take their values from sequences.
type Advancer interface {
	// Advance moves the sequences of the columns that receive those of s to where
	// the source's are and margin numbers further; none is ever moved back. It
	// returns an entry for each of s, in order.
	Advance(ctx context.Context, s []Sequence, margin int64) ([]Advance, error)
}

// Sequence is where a column of a table takes its values from.
type Sequence struct {
	// Table and Column (an index) draw from it. For a sink they are as it gets
	// them.
	Table  *Table
	Column int
	// Name of the sequence for people, quoted.
	Name string
	// Last is the number that was given out last; Drawn is false if none was.
	Last  int64
	Drawn bool
	// Increment from one number to the next; negative if they go down.
	Increment int64
	// Refused is why it cannot be read, with the SQL that mends it; empty if it
	// can.
	Refused string
}

// Advance is what became of a sequence of a sink.
type Advance struct {
	// Name of the sink's sequence for people, quoted; empty if the column has
	// none there.
	Name string
	// Before and After are where it stood, as Last of [Sequence]; equal if it was
	// not moved. Drawn is false if it had given out no number before.
	Before, After int64
	Drawn         bool
	// Short reports that there was no room for the margin.
	Short bool
	// Refused is as in [Sequence].
	Refused string
	// Lacks is the SQL that gives the column a sequence; empty if it has one or can
	// have none.
	Lacks string
}
