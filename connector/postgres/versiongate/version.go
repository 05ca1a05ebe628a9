package versiongate

import (
	"cmp"
	"fmt"
	"math"

	"github.com/entrainsync/entrain"
)

// Version is the place of a change among all that a pipeline ever captures.
type Version struct {
	// Era counts the incarnations of the source from 1, in the order in which the gate
	// met them; 0 is before all of them. Versions of two incarnations cannot be compared,
	// their eras can.
	Era int32
	// Number is the [entrain.Transaction]'s version, Ordinal the event's.
	Number, Ordinal uint64
}

// Most is the greatest number or ordinal that a gate can keep: that of a bigint.
const Most = math.MaxInt64

// Of returns the version of an event of the era. A version that a bigint cannot hold is
// an error.
func Of(era int32, e *entrain.Event) (Version, error) {
	if e.Tx.Version > Most || e.Ordinal > Most {
		return Version{}, fmt.Errorf("event %s: its version or ordinal is too large for the version gate", e.ID())
	}
	return Version{era, e.Tx.Version, e.Ordinal}, nil
}

// Compare returns -1, 0 or 1 as v is before w, the same change, or behind it.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Era, w.Era), cmp.Compare(v.Number, w.Number), cmp.Compare(v.Ordinal, w.Ordinal))
}

// Before returns the greatest version below all changes of v's transaction.
func (v Version) Before() Version {
	if v.Number == 0 {
		return Version{Era: v.Era}
	}
	return Version{v.Era, v.Number - 1, Most}
}

// Start returns the version that rows count as having when the gate is turned on: first
// is the first change that it meets, applied the greatest version that the sink applied
// before, 0 for nothing, and same says whether both are of one history.
func Start(first Version, applied uint64, same History) Version {
	switch {
	case applied == 0:
		return Version{}
	case bool(same):
		return Version{first.Era, min(applied, Most), Most}
	}
	return first.Before()
}

// History says whether two versions are of one history.
type History bool

// Way is how changes pass the gate.
type Way uint8

// The ways.
const (
	InOrder Way = iota + 1 // above the mark, or nothing that has a version: as without a gate
	Late                   // at or below the mark: one by one, compared
)

// Run is a run of events, from (included) to (excluded), that go one way.
type Run struct {
	Way      Way
	From, To int
}

// Gated reports whether the gate compares the event: rows that are copied, what is done
// to doubles of tables, messages and shapes have no version.
func Gated(e *entrain.Event) bool {
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete:
		return !e.Table.Shadow
	case entrain.OpTruncate:
		return len(e.Truncate.Tables) > 0 && !e.Truncate.Tables[0].Shadow
	}
	return false
}

// Runs divides events into runs, given the mark before the first; versions has the
// version of each. It returns the mark behind the last. Late events do not move it.
func Runs(mark Version, events []entrain.Event, versions []Version) ([]Run, Version) {
	var runs []Run
	for i := range events {
		way := InOrder
		if Gated(&events[i]) {
			if versions[i].Compare(mark) > 0 {
				mark = versions[i]
			} else {
				way = Late
			}
		}
		if n := len(runs); n > 0 && runs[n-1].Way == way {
			runs[n-1].To = i + 1
		} else {
			runs = append(runs, Run{way, i, i + 1})
		}
	}
	return runs, mark
}
