package applyplan

import "github.com/entrainsync/entrain"

// Mode says how freely the operations on a table may be arranged.
type Mode uint8

const (
	// Grouped tables allow one net operation per key and any arrangement
	// that the database accepts.
	Grouped Mode = iota
	// Ordered tables, and all that foreign keys connect them to, are applied
	// in source order without compaction. Neighbouring inserts may still be
	// one statement. It is for keys whose equality is not that of their text,
	// for tables without a key, for defaults that depend on the order, and
	// for referential actions.
	Ordered
	// Strict tables run code of the target's own for each row (triggers,
	// rules). It can see every table, so a batch with one of them is applied
	// row by row as a whole.
	Strict
)

// Target is what a plan has to know of the table that the events of one
// [entrain.Table] go to. It is immutable.
type Target struct {
	// Relation identifies the table in the target and in the [Graph].
	Relation uint32
	// Table is the shape of the events' rows.
	Table *entrain.Table
	// Key are the columns, as indexes into Table.Columns, that identify a row
	// in every before image, or in the after image where there is none. Empty
	// means that no set of columns does.
	Key []int
	// Mode of the table by its own properties.
	Mode Mode
	// The following say that a foreign key that points to this table does
	// something to other rows (CASCADE, SET NULL, SET DEFAULT) when a row here
	// is deleted, when its key changes, or when anything in it changes.
	ActsOnDelete, ActsOnRekey, ActsOnUpdate bool
	// Cascaded says that rows of this table can be gone before their delete
	// event comes, because their parent's delete took them along.
	Cascaded bool
	// KeepsDeleted says that a delete marks its row, which stays with the values that
	// it has, and that an insert of the key takes the mark away.
	KeepsDeleted bool
	// Double is set for the double of a table; see [entrain.Table.Shadow].
	Double *Double
}

// Double says what the rows of a double will replace.
type Double struct {
	// Relation is the table, which is never that of the double's [Target].
	Relation uint32
	// Mode is the table's own.
	Mode Mode
}

// Lookup returns the target of a table. It has an answer for every table of
// the events that are planned, and it is the same until the plan is executed.
type Lookup func(*entrain.Table) *Target

// Op is what an [Item] does to the target.
type Op uint8

// The operations.
const (
	Insert   Op = iota + 1 // add Row, whole
	Update                 // set the columns that Row carries in the row that Key identifies
	Delete                 // remove the row that Key identifies
	Rekey                  // as Update, and the key is among what changes
	Truncate               // empty the tables of the event
	Begin                  // make Target's double anew, empty
	Swap                   // put the rows of Target's double in the place of the table's
)

// String returns the operation's name.
func (o Op) String() string {
	return [...]string{"", "insert", "update", "delete", "key change", "truncate", "start of the double", "swap"}[o]
}

// Item is one operation on one row (or, for [Truncate], on the tables of its
// event, for [Begin] and [Swap] on a whole double). Its rows alias the events.
type Item struct {
	Op Op
	// MayMiss says that finding no row is expected and not worth counting.
	MayMiss bool
	// Settling says that an event of the item is one that may meet a later state
	// of the table: see [entrain.Event.Settling]. An Insert may then find the key
	// taken, and a Rekey that carries the whole row stores it in any case.
	Settling bool
	// Event is the index in the batch of the event, or the last of the
	// events, that the item stands for.
	Event int32
	// Target is nil for Truncate.
	Target *Target
	// Key is an image with the columns that identify the row as it is before
	// the operation; for a target without a key it is the whole row. Not set
	// for Insert, Truncate, Begin and Swap.
	Key entrain.Row
	// Row is the new image; set for Insert, Update and Rekey.
	Row entrain.Row
}

// Kind says what a [Step] is.
type Kind uint8

const (
	// Rows is any mixture of items, to be applied one by one in order.
	Rows Kind = iota
	// Inserts are inserts on one target, best applied by one statement. This
	// and the next two kinds are sets: in a [Grouped] unit no key is in a set
	// twice and any order does; in others the order is that of the items. Only
	// in a unit that is nothing but inserts on one table the keys are not
	// looked at: if one is there twice, the table's own key refuses the set.
	Inserts
	// Updates are updates on one target that all carry the same columns.
	Updates
	// Deletes are deletes on one target.
	Deletes
)

// Step is a part of a plan that is done before the next one begins.
type Step struct {
	Kind Kind
	// Target of all items; nil for Rows.
	Target *Target
	Items  []Item
}

// Unit is a part of a batch that touches no table that another unit touches.
type Unit struct {
	// Events are the indexes in the batch of the unit's events, ascending.
	Events []int32
	Mode   Mode
	// Linked says that a table of the unit refers to another one or is
	// referred to, or is part of another one, so that another [Order] may fare
	// better; see [Graph.Linked].
	Linked bool
	Steps  []Step
}
