package capture

import (
	"encoding/binary"
	"fmt"

	"github.com/entrainsync/entrain"
)

// The builders below write pgoutput messages as the server does, for tests of
// what is made of them.

type wire []byte

func (w wire) u8(b byte) wire     { return append(w, b) }
func (w wire) u16(n int) wire     { return binary.BigEndian.AppendUint16(w, uint16(n)) }
func (w wire) u32(n uint32) wire  { return binary.BigEndian.AppendUint32(w, n) }
func (w wire) u64(n uint64) wire  { return binary.BigEndian.AppendUint64(w, n) }
func (w wire) str(s string) wire  { return append(append(w, s...), 0) }
func (w wire) text(s string) wire { return append(w.u32(uint32(len(s))), s...) }

func beginMsg(final uint64, xid uint32) wire { return wire{'B'}.u64(final).u64(1_000_000).u32(xid) }

func commitMsg(final, end uint64) wire { return wire{'C', 0}.u64(final).u64(end).u64(1_000_000) }

func originMsg(name string) wire { return wire{'O'}.u64(1).str(name) }

func typeMsg(oid uint32, schema, name string) wire { return wire{'Y'}.u32(oid).str(schema).str(name) }

// wireCol is a column of a relation message; a leading * marks the identity.
type wireCol struct {
	name string
	oid  uint32
}

func relMsg(oid uint32, name string, identity byte, cols ...wireCol) wire {
	w := wire{'R'}.u32(oid).str("public").str(name).u8(identity).u16(len(cols))
	for _, c := range cols {
		flag, colName := byte(0), c.name
		if colName[0] == '*' {
			flag, colName = 1, colName[1:]
		}
		w = w.u8(flag).str(colName).u32(c.oid).u32(0xFFFFFFFF)
	}
	return w
}

// nullCell and sameCell are what a tuple has instead of a text.
const (
	nullCell = "\x00null"
	sameCell = "\x00same"
)

func (w wire) tuple(tag byte, cells ...string) wire {
	w = w.u8(tag).u16(len(cells))
	for _, c := range cells {
		switch c {
		case nullCell:
			w = w.u8('n')
		case sameCell:
			w = w.u8('u')
		default:
			w = w.u8('t').text(c)
		}
	}
	return w
}

func insertMsg(oid uint32, cells ...string) wire { return wire{'I'}.u32(oid).tuple('N', cells...) }

func updateMsg(oid uint32, cells ...string) wire { return wire{'U'}.u32(oid).tuple('N', cells...) }

func deleteMsg(oid uint32, tag byte, cells ...string) wire {
	return wire{'D'}.u32(oid).tuple(tag, cells...)
}

func truncateMsg(flags byte, oids ...uint32) wire {
	w := wire{'T'}.u32(uint32(len(oids))).u8(flags)
	for _, oid := range oids {
		w = w.u32(oid)
	}
	return w
}

func logicalMsg(flags byte, at uint64, content string) wire {
	return wire{'M', flags}.u64(at).str("app").text(content)
}

// keepaliveFrame and walFrame are the replication messages around them;
// copyData is the protocol's envelope.
func keepaliveFrame(end uint64, ask byte) wire { return wire{'k'}.u64(end).u64(0).u8(ask) }

func walFrame(payload []byte) wire { return append(wire{'w'}.u64(0).u64(0).u64(0), payload...) }

func copyData(payload []byte) wire { return pgFrame('d', payload) }

func pgFrame(kind byte, payload []byte) wire {
	return append(wire{kind}.u32(uint32(len(payload)+4)), payload...)
}

// orders is a table of three columns with the key id, tOrders its OID.
const tOrders, tAudit, tFull = 16384, 16385, 16386

func ordersRel() wire {
	return relMsg(tOrders, "orders", 'd', wireCol{"*id", 23}, wireCol{"name", 25}, wireCol{"body", 25})
}

func auditRel() wire { return relMsg(tAudit, "audit", 'd', wireCol{"*id", 23}) }

func fullRel() wire {
	return relMsg(tFull, "full", 'f', wireCol{"*id", 23}, wireCol{"*name", 25}, wireCol{"*body", 25})
}

// showEvent renders an event in one line.
func showEvent(e *entrain.Event) string {
	s := fmt.Sprintf("%d.%d %s", e.Tx.Version, e.Ordinal, e.Op)
	switch e.Op {
	case entrain.OpTruncate:
		for _, t := range e.Truncate.Tables {
			s += " " + t.String()
		}
		return s + fmt.Sprintf(" cascade=%t restart=%t", e.Truncate.Cascade, e.Truncate.RestartIdentity)
	case entrain.OpMessage:
		return s + fmt.Sprintf(" %s %q transactional=%t", e.Message.Prefix, e.Message.Content, e.Message.Transactional)
	}
	s += " " + e.Table.Name
	if e.Before != nil {
		s += " before" + showRow(e.Table, e.Before)
	}
	if e.After != nil {
		s += " after" + showRow(e.Table, e.After)
	}
	return s
}

func showRow(t *entrain.Table, row entrain.Row) string {
	s := "("
	for i, c := range t.Columns {
		value, state := row.Column(i, len(t.Columns))
		switch state {
		case entrain.Null:
			s += c.Name + "=NULL "
		case entrain.Present:
			s += fmt.Sprintf("%s=%q ", c.Name, shorten(string(value)))
		}
	}
	return s[:len(s)-min(1, len(s)-1)] + ")"
}

func shorten(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%s…%d", s[:8], len(s))
	}
	return s
}
