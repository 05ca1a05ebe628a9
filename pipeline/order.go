package pipeline

import (
	"fmt"

	"github.com/entrainsync/entrain"
)

// Verb is what a person wants done.
type Verb string

// The verbs of an [Order].
const (
	// OrderAdd captures a further table and copies its rows.
	OrderAdd Verb = "add"
	// OrderPause leaves the table's changes out from now on.
	OrderPause Verb = "pause"
	// OrderResume resyncs a paused table, or reads on for one that was held.
	OrderResume Verb = "resume"
	// OrderResync reads the table anew into a double, which takes its place.
	OrderResync Verb = "resync"
	// OrderRefresh delivers the table's rows once more, in place.
	OrderRefresh Verb = "refresh"
	// OrderHold reads no further chunk of the table's rows until it is resumed.
	OrderHold Verb = "hold"
	// OrderCancel gives the copying of the table's rows up.
	OrderCancel Verb = "cancel"
	// OrderStand has a delivery stand still until an OrderGo.
	OrderStand Verb = "stand"
	OrderGo    Verb = "go"
	// OrderFlush delivers what waits for a window.
	OrderFlush Verb = "flush"
	// OrderReplay delivers dead letters once more, OrderDrop removes them for good.
	OrderReplay Verb = "replay"
	OrderDrop   Verb = "drop"
	// OrderEdit delivers one dead letter with other values.
	OrderEdit Verb = "edit"
)

// command is the verb as it is typed.
func (v Verb) command() string {
	switch v {
	case OrderRefresh:
		return "snapshot start"
	case OrderHold:
		return "snapshot pause"
	case OrderCancel:
		return "snapshot cancel"
	case OrderStand:
		return "sink pause"
	case OrderGo:
		return "sink resume"
	case OrderFlush:
		return "sink flush"
	case OrderReplay, OrderDrop, OrderEdit:
		return "dlq " + string(v)
	case OrderAdd, OrderPause, OrderResume, OrderResync:
		return "table " + string(v)
	}
	return string(v)
}

// AboutLetters reports whether the verb is about dead letters.
func (v Verb) AboutLetters() bool { return v == OrderReplay || v == OrderDrop || v == OrderEdit }

// Mistake is why an order cannot be carried out as it was typed: it names what there is
// not, or what cannot be asked for. Nothing was done.
type Mistake struct {
	// Text for people; commands in it have FILE in the place of the pipeline's file.
	Text string
}

// Error implements error.
func (m *Mistake) Error() string { return m.Text }

func mistake(format string, args ...any) error { return &Mistake{fmt.Sprintf(format, args...)} }

// Order is what a person wants done with a table while the pipeline runs.
type Order struct {
	Do Verb `json:"do"`
	// Table is schema.table as the source has it. Hold, resume and cancel take an
	// empty one for all tables whose rows are being copied.
	Table string `json:"table"`
	// With are further tables of a resync, which begins for all of them before the first
	// is put in place: those that references tie together need that.
	With []string `json:"with,omitempty"`
	// Where restricts the rows of a refresh by a condition in the source's own
	// language.
	Where string `json:"where,omitempty"`
	// Held, of a refresh: no row is read before an [OrderResume].
	Held bool `json:"held,omitempty"`
	// Sink, for a refresh without a table behind a stream, is the sink that begins with
	// the rows of all tables; where changes go through a stream only.
	// For dead letters behind a stream it is the sink whose letters are meant.
	// It is also the sink that is to stand still.
	Sink string `json:"sink,omitempty"`
	// Partition, of a sink that is to stand still, is the only one that is; empty for all.
	Partition entrain.Partition `json:"partition,omitempty"`
	// Letters, of a replay or a drop, are ids of dead letters, or of their transactions
	// (with a / at the end); none for all.
	Letters []string `json:"letters,omitempty"`
	// Edits, of an [OrderEdit], are the values that the letter gets, and By is who
	// wants it.
	Edits []Edit `json:"edits,omitempty"`
	By    string `json:"by,omitempty"`
}
