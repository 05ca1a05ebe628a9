package pgoutput

import "time"

// Kind is a message's first byte.
type Kind byte

// The messages of protocol version 1, and StreamAbort, which PostgreSQL 18 can
// send under it and which means nothing there.
const (
	Begin       Kind = 'B'
	Commit      Kind = 'C'
	Origin      Kind = 'O'
	Relation    Kind = 'R'
	Type        Kind = 'Y'
	Insert      Kind = 'I'
	Update      Kind = 'U'
	Delete      Kind = 'D'
	Truncate    Kind = 'T'
	Logical     Kind = 'M'
	StreamAbort Kind = 'A'
)

// Message is one decoded message: Kind says which of the other fields are set.
// It is meant to be used again for the next message; everything in it aliases
// the bytes it was parsed from.
type Message struct {
	Kind Kind

	// LSN is the commit record's start for Begin and Commit, the origin's
	// commit LSN for Origin, the message's own LSN for Logical.
	LSN uint64
	// EndLSN is the end of the commit record, for Commit.
	EndLSN uint64
	// Time of the commit, for Begin and Commit.
	Time time.Time
	// XID of the transaction, for Begin.
	XID uint32

	// OID of the relation for Relation, Insert, Update and Delete; of the type
	// for Type.
	OID uint32
	// Namespace and Name of the relation or type; Name alone for Origin and
	// as the prefix of Logical. An empty Namespace means pg_catalog.
	Namespace, Name []byte
	// Identity is the relation's replica identity setting: d, n, f or i.
	Identity byte
	// Columns of the relation. The slice is reused by the next Parse.
	Columns []Column

	// OldKind is 'K' (key columns only), 'O' (all columns) or 0 (none).
	OldKind byte
	// Old and New tuple of Insert, Update and Delete.
	Old, New Tuple

	// OIDs of the relations of Truncate. The slice is reused by the next
	// Parse.
	OIDs []uint32
	// Flags of Truncate (TruncateCascade, TruncateRestart) or Logical
	// (LogicalTransactional).
	Flags byte
	// Content of Logical.
	Content []byte
}

// Flag bits of Truncate and Logical.
const (
	TruncateCascade      = 1
	TruncateRestart      = 2
	LogicalTransactional = 1
)

// Column describes a column of a Relation message.
type Column struct {
	// Key is set for columns of the replica identity.
	Key      bool
	Name     []byte
	TypeOID  uint32
	Modifier int32
}

// postgresEpoch is 2000-01-01 in Unix microseconds, where the server's
// timestamps start.
const postgresEpoch = 946_684_800_000_000

// Time converts a timestamp of the replication protocol, microseconds since
// 2000-01-01 UTC.
func Time(microseconds int64) time.Time {
	return time.UnixMicro(postgresEpoch + microseconds).UTC()
}

// Timestamp is the inverse of [Time].
func Timestamp(t time.Time) int64 { return t.UnixMicro() - postgresEpoch }
