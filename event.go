package entrain

import (
	"strconv"
	"time"
)

// Op is what happened.
type Op uint8

// The operations. A source sends no others, and a writer that does not know
// one must refuse it.
const (
	OpInsert   Op = iota + 1 // After is set
	OpUpdate                 // After is set; Before too if the key changed or the source logs it
	OpDelete                 // Before is set, at least its key columns
	OpTruncate               // Truncate is set
	OpMessage                // Message is set
	OpRead                   // After is set: a row that was there before the stream
	OpReadEnd                // Table's rows were all read; without a Table, those of all tables
	OpSchema                 // Schema is set: Table is the shape of the table's rows from here on
)

var opNames = [...]string{"", "insert", "update", "delete", "truncate", "message", "read", "read_end", "schema"}

// SchemaOrdinal is the ordinal of the [OpSchema] event that comes before an event
// of the same transaction, whose ordinal is first: the highest bit is set, and
// bits 40 to 62 are the number of the table among those of a truncate.
func SchemaOrdinal(first uint64, table int) uint64 { return 1<<63 | uint64(table)<<40 | first }

// String returns the operation's name as the native format writes it.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "op(" + strconv.Itoa(int(o)) + ")"
}

// Event is one change. Its rows and details belong to the batch that delivered
// it; Table and Tx are immutable.
type Event struct {
	Op Op
	// Settling: rows of the table, or of one that references tie it to, are being
	// copied while the stream flows or are left out, so that a sink may lack the row
	// or one that it refers to, or have a state of it already. An insert then
	// replaces the row with its key, a change of the key with a whole row removes
	// the old one and puts the new one, and an update or delete of a row that is
	// not there is nothing.
	Settling bool
	// Ordinal counts the data messages of the transaction as the source sent
	// them, from 0, before any filter of ours: with Tx.Version it identifies
	// the change, and the same change has the same ordinal every time. That of an
	// [OpSchema] is made of the first event that has the new shape: see
	// [SchemaOrdinal].
	Ordinal uint64
	// Table is the shape of Before and After; nil for truncate and message, for
	// the [OpReadEnd] of all tables, and for a source's announcement of DDL: see
	// [SchemaChange].
	Table *Table
	// Tx is the transaction that made the change; never nil.
	Tx *Transaction
	// Before is the row's old image, After its new one. Columns of Before
	// that the source did not log are [Unchanged].
	Before, After Row
	// Truncate is set for [OpTruncate] only.
	Truncate *Truncate
	// Message is set for [OpMessage] only.
	Message *Message
	// Schema is set for [OpSchema] only. It is immutable, as Table is.
	Schema *SchemaChange
}

// Transaction is what the events of one source transaction share. It is valid
// as long as the batch that delivered the event.
type Transaction struct {
	// Stream names where the transaction was captured.
	Stream *Stream
	// ID is the source's own number for the transaction (PostgreSQL: the
	// 32-bit xid), 0 if it has none. It is not unique over time.
	ID uint64
	// Version increases strictly with commit order inside one incarnation of
	// the source (PostgreSQL: the LSN of the commit record). It may be
	// compared only inside an incarnation.
	Version uint64
	// CommitTime by the source's clock.
	CommitTime time.Time
	// Origin names where the change first happened, if the source knows
	// (PostgreSQL: the replication origin); else empty.
	Origin string
}

// Stream identifies one unbroken history of one source. Event ids are built
// from it.
type Stream struct {
	// Source is the source's name in the pipeline.
	Source string
	// Incarnation changes when the history breaks: another server, another
	// slot. It does not change by a promotion or a reconnect.
	Incarnation string
	// Database is the source's name of the database, empty if it has none.
	Database string
}

// Truncate empties several tables in one operation.
type Truncate struct {
	Tables          []*Table
	Cascade         bool
	RestartIdentity bool
}

// Message is an application's own message in the log
// (PostgreSQL: pg_logical_emit_message).
type Message struct {
	Prefix  string
	Content []byte
	// Transactional messages belong to the transaction around them; others
	// are a transaction of their own, whatever became of the one that sent
	// them.
	Transactional bool
}

// CopyOrdinals is where the ordinals of events begin that are made by a copying of rows
// while changes flow: its rows and their end, and the truncate that a resync begins with.
// They are above those of changes, and begin somewhere else in each process.
const CopyOrdinals uint64 = 3 << 62

// OfCopy reports whether a copying of existing rows has made the event, instead of a change
// at the source. A copying that was cut off makes events anew, with other ids: none of them
// may be left out for having come before.
func (e *Event) OfCopy() bool {
	return e.Op == OpRead || e.Op == OpReadEnd || e.Ordinal >= CopyOrdinals
}

// AppendID appends the event's id, source/incarnation/version/ordinal, to dst.
// The same change always has the same id (P2).
func (e *Event) AppendID(dst []byte) []byte {
	dst = append(dst, e.Tx.Stream.Source...)
	dst = append(dst, '/')
	dst = append(dst, e.Tx.Stream.Incarnation...)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, e.Tx.Version, 10)
	dst = append(dst, '/')
	return strconv.AppendUint(dst, e.Ordinal, 10)
}

// ID returns [Event.AppendID] as a string.
func (e *Event) ID() string { return string(e.AppendID(nil)) }
