package pipeline

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/entrainsync/entrain/pipeline/backfill"
)

// TableState is where a table is in its life; docs/states.md draws it.
type TableState string

// The states of a table. A table that nothing is remembered of is streaming.
const (
	// TableNew: the table was added, and nothing of it has been read yet.
	TableNew TableState = "new"
	// TableCopying: its rows are read in chunks, its changes are delivered.
	TableCopying TableState = "copying"
	// TableCatchingUp: all rows are read, the last are on their way to the sink.
	TableCatchingUp TableState = "catching-up"
	// TableStreaming: the sink has its rows, its changes are delivered.
	TableStreaming TableState = "streaming"
	// TablePaused: its changes are left out, so that it has to be resynced.
	TablePaused TableState = "paused"
	// TableFailed: the sink refused something of it; its changes are left out.
	TableFailed TableState = "failed"
	// TableResyncing: its rows are read anew, into a double of the table.
	TableResyncing TableState = "resyncing"
	// TableCopied and TableLeftOut are no part of a life: of what has no changes, such
	// as a view, the sink has the rows of the first copy, or nothing.
	TableCopied  TableState = "copied"
	TableLeftOut TableState = "left-out"
)

// lifeMoves are the possible transitions.
var lifeMoves = map[TableState][]TableState{
	TableNew:        {TableCopying, TablePaused, TableFailed, TableResyncing},
	TableCopying:    {TableCatchingUp, TableStreaming, TablePaused, TableFailed, TableResyncing},
	TableCatchingUp: {TableStreaming, TableCopying, TablePaused, TableFailed, TableResyncing},
	TableStreaming:  {TableNew, TableCopying, TablePaused, TableFailed, TableResyncing},
	TablePaused:     {TableResyncing},
	TableFailed:     {TableResyncing, TablePaused},
	TableResyncing:  {TableCatchingUp, TablePaused, TableFailed, TableResyncing},
}

// TableLife is what a pipeline remembers of a table that is not simply
// streaming.
type TableLife struct {
	Schema string     `json:"schema"`
	Name   string     `json:"name"`
	State  TableState `json:"state"`
	// Reason of a failure, for people, and the code of the stop that it is, if it is
	// one.
	Reason string `json:"reason,omitempty"`
	Code   string `json:"code,omitempty"`
	// Since when it is in that state.
	Since time.Time `json:"since"`
	// Held: no further chunk is read until somebody says so.
	Held bool `json:"held,omitempty"`
	// Anew: rows and changes go to a double of the table, which takes its place
	// when it is complete.
	Anew bool `json:"anew,omitempty"`
	// Shape is the version of the table that the double was made for; 0: not known.
	Shape uint64 `json:"shape,omitempty"`
	// Ending: the end of the double has been handed to a sink that leads it on and could
	// not tell whether it has it, such as a stream. Found behind a crash, the double has
	// to be begun anew: it may be gone, in the table's place.
	Ending bool `json:"ending,omitempty"`
	// Refresh: the sink had the rows before, and they are delivered once more.
	Refresh bool `json:"refresh,omitempty"`
	// Where restricts the rows of a refresh, in the source's own language.
	Where string `json:"where,omitempty"`
	// Chosen stands for what is taken of the rows and columns; see [CopiedTable].
	Chosen string `json:"chosen,omitempty"`
	// Copy is how far the copying has come.
	Copy backfill.Progress `json:"copy"`
}

// TableStore is a [Store] that also keeps what is remembered of single tables.
// A pipeline whose tables are added, paused or resynced while it runs needs one.
type TableStore interface {
	// LoadTables returns what was saved last.
	LoadTables(ctx context.Context) ([]TableLife, error)
	// SaveTables replaces it, and the checkpoint with it if that is not nil: after
	// a crash there are both or neither.
	SaveTables(ctx context.Context, lives []TableLife, c *Checkpoint) error
}

// become moves the table to another state; an impossible move is an error.
func (l *TableLife) become(to TableState, now time.Time) error {
	if !slices.Contains(lifeMoves[l.State], to) {
		return fmt.Errorf("table %s.%s cannot go from %s to %s", l.Schema, l.Name, l.State, to)
	}
	l.State, l.Since = to, now
	if to != TableFailed {
		l.Reason, l.Code = "", ""
	}
	return nil
}

// reads reports whether the table's rows are being read, or are to be.
func (l *TableLife) reads() bool {
	switch l.State {
	case TableNew, TableCopying, TableCatchingUp, TableResyncing:
		return true
	}
	return false
}

// silent reports whether the table's changes are left out.
func (l *TableLife) silent() bool { return l.State == TablePaused || l.State == TableFailed }
