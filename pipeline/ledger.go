package pipeline

import (
	"context"

	"github.com/entrainsync/entrain"
)

// Ledger is what a pipeline remembers of the copying of existing rows: which
// tables have theirs, and as of when. A crash loses a snapshot, not the tables
// that were finished. The zero Ledger means that nothing was ever copied.
type Ledger struct {
	// Incarnation of the source's history that the versions belong to.
	Incarnation string `json:"incarnation,omitempty"`
	// Complete: every table of the snapshot has its rows.
	Complete bool `json:"complete,omitempty"`
	// From is where the stream begins.
	From entrain.Position `json:"from"`
	// Tables in the order in which they were finished.
	Tables []CopiedTable `json:"tables,omitempty"`
	// Pending are tables that were about to be finished together, written down
	// before the sink's position says so by their digest: there are too many to be
	// in it.
	Pending []CopiedTable `json:"pending,omitempty"`
	// Made names what the copying made at the source and what keeps its log there
	// (a slot). It is written down before that is made. Empty: nothing, or it was
	// there before.
	Made string `json:"made,omitempty"`
	// Before is the sink's mark before the first row; see [entrain.Marker].
	Before []byte `json:"before,omitempty"`
	// Withdrawn: the copying was cancelled, and what is Made is to be removed. The
	// tables then count for nothing.
	Withdrawn bool `json:"withdrawn,omitempty"`
}

// CopiedTable is a table whose rows were copied. Events of it up to the version
// are contained in what was copied.
type CopiedTable struct {
	Schema      string `json:"schema"`
	Name        string `json:"name"`
	Incarnation string `json:"incarnation"`
	Version     uint64 `json:"version"`
	Rows        int64  `json:"rows"`
	// Chosen stands for what was taken of the rows and columns, by the source's
	// configuration and the pipeline's rules; empty: not known.
	Chosen string `json:"chosen,omitempty"`
}

// LedgerStore is a [Store] that keeps a [Ledger], too. A pipeline that copies
// existing rows needs one.
type LedgerStore interface {
	// LoadLedger returns the last saved ledger, the zero Ledger if none was.
	LoadLedger(ctx context.Context) (Ledger, error)
	// SaveLedger saves the ledger, and the checkpoint with it if it is not nil:
	// after a crash there are both or neither.
	SaveLedger(ctx context.Context, l Ledger, c *Checkpoint) error
}

// find returns the entry of a table that has its rows, nil if it lacks them.
func (l *Ledger) find(schema, name string) *CopiedTable {
	for i := range l.Tables {
		if t := &l.Tables[i]; t.Schema == schema && t.Name == name {
			return t
		}
	}
	return nil
}

func (l *Ledger) has(t *entrain.Table) bool { return l.find(t.Schema, t.Name) != nil }

// gate keeps events from a sink that has their effect from a snapshot: those of
// the copied tables up to the version at which each was copied. It is pure. The
// zero gate lets everything through.
type gate struct {
	incarnation string
	versions    map[tableName]uint64
	last        uint64 // the highest of the versions
}

type tableName struct{ schema, name string }

func newGate(l Ledger) gate {
	g := gate{incarnation: l.Incarnation, versions: make(map[tableName]uint64, len(l.Tables))}
	for _, t := range l.Tables {
		g.versions[tableName{t.Schema, t.Name}] = t.Version
		g.last = max(g.last, t.Version)
	}
	return g
}

// closed reports whether an event of the transaction may have to be kept back.
func (g *gate) closed(tx *entrain.Transaction) bool {
	return tx.Version <= g.last && tx.Stream.Incarnation == g.incarnation
}

// contains reports whether the table's rows were copied as of the version or
// later.
func (g *gate) contains(t *entrain.Table, version uint64) bool {
	at, copied := g.versions[tableName{t.Schema, t.Name}]
	return copied && version <= at
}

// pass returns the events that are to be delivered, in place, and how many were
// left out.
func (g *gate) pass(events []entrain.Event) ([]entrain.Event, int) {
	if len(events) == 0 || !g.closed(events[0].Tx) {
		return events, 0 // versions only grow
	}
	kept := events[:0]
	for i := range events {
		if e := events[i]; g.lets(&e) {
			kept = append(kept, e)
		}
	}
	return kept, len(events) - len(kept)
}

// lets reports whether an event is to be delivered; from a truncate it takes the
// tables that were copied after it.
func (g *gate) lets(e *entrain.Event) bool {
	switch {
	case !g.closed(e.Tx):
		return true
	case e.Table != nil:
		return !g.contains(e.Table, e.Tx.Version)
	case e.Truncate == nil:
		return true
	}
	rest := *e.Truncate
	rest.Tables = nil
	for _, t := range e.Truncate.Tables {
		if !g.contains(t, e.Tx.Version) {
			rest.Tables = append(rest.Tables, t)
		}
	}
	e.Truncate = &rest
	return len(rest.Tables) > 0
}

// withoutCopied leaves out what a snapshot contained. The events stay counted:
// as filtered (P1).
func (p *Pipeline) withoutCopied(b *entrain.Batch) *entrain.Batch {
	events, n := p.gate.pass(b.Events)
	b.Events = events
	b.Filtered += n
	return b
}
