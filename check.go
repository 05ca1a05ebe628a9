package entrain

import "context"

// Checker is a Source or Sink that can tell, before it runs, what would go
// wrong. Check is read-only, leaves nothing behind and returns within the
// context's time. incoming is what the other end delivers, as far as it is
// known; it is nil for a source. An error means that the examination itself
// could not be made (a server that cannot be reached is an error; a missing
// right is a finding).
type Checker interface {
	Check(ctx context.Context, incoming []*Table) (Report, error)
}

// Report is what a [Checker] found.
type Report struct {
	Findings []Finding
	// Tables are the shapes that this end has now: of a source, what it
	// would deliver; of a sink, what would receive it.
	Tables []*Table
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
	// SQL is one statement without its semicolon, Shell one command line, and
	// Config a piece of the pipeline file; one of them is set.
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
	// FindingError would stop the pipeline or break the source's writers.
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
