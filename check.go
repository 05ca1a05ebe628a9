package entrain

import "context"

// Checker is a Source or Sink that can tell, before it runs, what would go
// wrong. Both methods may be called from any goroutine.
type Checker interface {
	// Check is read-only, leaves nothing behind and returns within the
	// context's time. A sink is given what was found at the source that feeds
	// it; nil for a source, and if that is not known: what depends on it is
	// then not examined and not reported. An error means that the examination
	// itself could not be made (a server that cannot be reached is an error; a
	// missing right is a finding).
	Check(ctx context.Context, source *Report) (Report, error)
	// Codes lists the codes of all findings that Check can report.
	Codes() []string
}

// Report is what a [Checker] found.
type Report struct {
	Findings []Finding
	// Tables are the shapes that this end has now: of a source, what it
	// would deliver; of a sink, what would receive it.
	Tables []*Table
	// Keys are, of a source's Tables, the columns that identify a row, in the
	// order of their index; none where that is unknown or whole rows do.
	Keys map[*Table][]string
	// Sequences of a source that its tables draw from.
	Sequences []Sequence
	// Name of a source in the events that it makes ([Stream]).
	Name string
	// Partitions of a durable stream, and so for a sink that is fed by one: each is
	// delivered by itself, without an order between two. 0 counts as 1.
	Partitions int
	// Class is the class of a table by its name behind the rules, of a pipeline whose
	// tables are delivered by classes: those of two have no order between them. Nil: all
	// are of one.
	Class func(schema, name string) string
	// Copies are the tables whose existing rows will be copied, as a source
	// found them and the rules of the pipeline shaped them.
	Copies []TableCopy
	// CopyOnly: a source captures no changes after that.
	CopyOnly bool
	// Server names the end for people, as the fixes do, and Connect says how
	// its own client reaches it, without a role or a credential: a connection
	// string. Both are empty if it is no server.
	Server, Connect string
	// Database is the same for two ends that are one database, however they
	// are reached; empty if the end is no database. Encoding is its encoding.
	Database, Encoding string
}

// TableCopy is a table whose existing rows will be copied.
type TableCopy struct {
	// Schema and Name are those at the source.
	Schema, Name string
	// Table is the shape that the rows have for the sink.
	Table *Table
	// Defined reports that the source tells the sink how to make this table.
	Defined bool
	// Once: no changes of it will follow.
	Once bool
	// Extensions are what the table needs beside what it is made of itself.
	Extensions []Extension
}

// Extension is something that a server has to have before a table can be made
// there, unquoted; Types are those of the table's columns that are its own, named
// as in [Column].
type Extension struct {
	Schema, Name string
	Types        []string
}

// Finding is one thing that was examined and what came of it.
type Finding struct {
	// Code is the finding's stable name: lower case with underscores. It is
	// also its anchor in the documentation.
	Code string
	// Status says how bad it is.
	Status FindingStatus
	// Object is what was examined, for people: `table public.orders`.
	Object string
	// Why says what would happen, and because of what.
	Why string
	// Fix leads to the finding being gone; empty if all is well or nothing
	// general can be advised.
	Fix []Fix
	// Doc is the page and anchor that says more, relative to docs/.
	Doc string
}

// Fix is one step of a remedy, exact enough to be executed as it stands.
type Fix struct {
	// Where it is to be done and as whom, for people: "source database, as
	// the owner of the table".
	Where string
	// SQL is one statement without its semicolon or, where several must take
	// effect together, one transaction: "BEGIN;", the statements with theirs,
	// "COMMIT", a line each. Shell is one command line, and Config a piece of
	// the pipeline file. One of the three is set.
	SQL, Shell, Config string
	// Restart reports that the server has to be restarted afterwards.
	Restart bool
}

// FindingStatus orders findings by how bad they are.
type FindingStatus uint8

// The statuses of a [Finding].
const (
	// FindingOK was examined and is as it should be.
	FindingOK FindingStatus = iota
	// FindingWarning works now, but costs something or will not always work.
	FindingWarning
	// FindingError would stop the pipeline, break the source's writers, or
	// leave out or alter changes without a word.
	FindingError
)

// String returns ok, warning or error.
func (s FindingStatus) String() string {
	switch s {
	case FindingOK:
		return "ok"
	case FindingWarning:
		return "warning"
	}
	return "error"
}
