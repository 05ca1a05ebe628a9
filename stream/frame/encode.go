package frame

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/entrainsync/entrain"
)

// The first byte of an event: its operation in the low bits, and what there is.
const (
	tagOp       = 0x0f
	tagSettling = 0x10
	tagTx       = 0x20 // the event's transaction is another than that before it
	tagBefore   = 0x40
	tagAfter    = 0x80
)

// maxCached bounds the caches of a process that sees shapes come and go.
const maxCached = 10_000

// Encoder makes messages. It keeps the encodings of the tables that it has seen
// and is for one goroutine. The zero Encoder is ready.
type Encoder struct {
	tables  map[*entrain.Table]*shape
	message uint64 // counts the messages made, so that a shape knows whether it is in this one

	// Of the message that is being made:
	streams  map[entrain.Stream]uint64
	shapes   uint64               // tables that are in it
	table    *entrain.Table       // of the last event
	ref      uint64               // of table
	tx       *entrain.Transaction // of the last event
	expected uint64               // the ordinal that the next event has if none is left out
	counts   sizes
}

// shape is what stays the same for a table.
type shape struct {
	text    []byte
	message uint64 // the last one that it was defined in
	ref     uint64 // there
}

// Append appends the message of the events to dst and returns the extended
// buffer; an error leaves dst as it was. Events that the form does not have are
// refused, an event whose rows do not fit its table, too. Nothing is kept of the
// events but their tables.
func (e *Encoder) Append(dst []byte, h Header, events []entrain.Event) ([]byte, error) {
	dst, _, err := e.AppendSome(dst, h, events, math.MaxInt)
	return dst, err
}

// AppendSome is Append for a message of at most limit bytes: it takes as many of
// the events as fit, but at least one, and returns how many. Where some are left
// over, the message has no position: Through is for the last part.
func (e *Encoder) AppendSome(dst []byte, h Header, events []entrain.Event, limit int) ([]byte, int, error) {
	start := len(dst)
	dst, err := appendHeader(dst, &h)
	if err != nil {
		return dst, 0, err
	}
	e.begin(sizes{header: len(dst) - start})
	var committed time.Time
	for i := range min(len(events), math.MaxUint32) {
		before, last := e.counts, len(dst)
		if dst, err = e.appendEvent(dst, &events[i]); err != nil {
			return dst[:start], 0, fmt.Errorf("frame: event %s: %w", name(&events[i]), err)
		}
		if i > 0 && len(dst)-start > limit-sumBytes {
			e.counts, dst = before, dst[:last]
			break
		}
		e.counts.events++
		committed = events[i].Tx.CommitTime
	}
	if e.counts.events < len(events) {
		clear(dst[start+fixedHeader : start+e.counts.header]) // an empty position; the rest is skipped by readers
	}
	e.tx = nil // it belongs to the batch
	return finish(dst, start, e.counts, committed), e.counts.events, nil
}

func name(e *entrain.Event) string {
	if e.Tx == nil || e.Tx.Stream == nil {
		return "without a transaction"
	}
	return e.ID()
}

func (e *Encoder) begin(s sizes) {
	if e.tables == nil || len(e.tables) > maxCached {
		e.tables = make(map[*entrain.Table]*shape)
	}
	if e.streams == nil {
		e.streams = make(map[entrain.Stream]uint64)
	}
	clear(e.streams)
	e.message++
	e.shapes, e.table, e.ref, e.tx, e.expected, e.counts = 0, nil, 0, nil, 0, s
}

func (e *Encoder) appendEvent(dst []byte, ev *entrain.Event) ([]byte, error) {
	if err := check(ev); err != nil {
		return dst, err
	}
	tag := byte(ev.Op)
	if ev.Settling {
		tag |= tagSettling
	}
	if ev.Before != nil {
		tag |= tagBefore
	}
	if ev.After != nil {
		tag |= tagAfter
	}
	if ev.Tx == e.tx || e.tx != nil && sameTx(e.tx, ev.Tx) {
		dst = append(dst, tag)
	} else {
		dst = append(dst, tag|tagTx)
		dst = e.appendTx(dst, ev.Tx)
	}
	skipped := int64(ev.Ordinal - e.expected) // around the corner for schema events, and back
	e.expected = ev.Ordinal + 1
	if skipped == 0 {
		dst = append(dst, 0)
	} else {
		dst = appendVarint(dst, skipped)
	}
	if ev.Table == e.table && e.ref < 0x80 {
		dst = append(dst, byte(e.ref))
	} else {
		dst = e.appendTable(dst, ev.Table)
		e.table = ev.Table
	}
	if ev.Before != nil {
		dst = appendBytes(dst, ev.Before)
	}
	if ev.After != nil {
		dst = appendBytes(dst, ev.After)
	}
	if ev.Op < entrain.OpTruncate || ev.Op == entrain.OpRead {
		return dst, nil
	}
	return e.appendDetail(dst, ev), nil
}

// check refuses what a reader could not read, or what would get lost.
func check(ev *entrain.Event) error {
	if ev.Op < entrain.OpInsert || ev.Op > entrain.OpSchema {
		return fmt.Errorf("there is no operation %v", ev.Op)
	}
	if ev.Tx == nil || ev.Tx.Stream == nil {
		return fmt.Errorf("%v without a transaction or stream", ev.Op)
	}
	if (ev.Truncate != nil) != (ev.Op == entrain.OpTruncate) || (ev.Message != nil) != (ev.Op == entrain.OpMessage) ||
		(ev.Schema != nil) != (ev.Op == entrain.OpSchema) {
		return fmt.Errorf("details that do not belong to the operation %v, or none", ev.Op)
	}
	if ev.Before == nil && ev.After == nil {
		return nil
	}
	if ev.Table == nil {
		return fmt.Errorf("%v with a row and without a table", ev.Op)
	}
	n := len(ev.Table.Columns)
	if ev.Before != nil && !ev.Before.Valid(n) || ev.After != nil && !ev.After.Valid(n) {
		return fmt.Errorf("%v: the row is none of table %s with %d columns", ev.Op, ev.Table, n)
	}
	return nil
}

func sameTx(a, b *entrain.Transaction) bool {
	return a.Version == b.Version && a.ID == b.ID && a.Origin == b.Origin && a.CommitTime.Equal(b.CommitTime) &&
		(a.Stream == b.Stream || *a.Stream == *b.Stream)
}

func (e *Encoder) appendTx(dst []byte, tx *entrain.Transaction) []byte {
	e.tx, e.expected = tx, 0
	e.counts.transactions++
	ref, known := e.streams[*tx.Stream]
	if !known {
		ref = uint64(len(e.streams))
		e.streams[*tx.Stream] = ref
	}
	dst = binary.AppendUvarint(dst, ref)
	if !known {
		dst = appendStream(dst, tx.Stream)
	}
	dst = binary.AppendUvarint(dst, tx.ID)
	dst = binary.AppendUvarint(dst, tx.Version)
	dst = appendTime(dst, tx.CommitTime)
	return appendText(dst, tx.Origin)
}

// appendTable writes which table it is, and its shape where the message has not
// had it.
func (e *Encoder) appendTable(dst []byte, t *entrain.Table) []byte {
	if t == nil {
		e.ref = 0
		return append(dst, 0)
	}
	s := e.tables[t]
	if s == nil {
		s = &shape{text: appendShape(nil, t)}
		e.tables[t] = s
	}
	if s.message == e.message {
		e.ref = s.ref
		return binary.AppendUvarint(dst, s.ref)
	}
	e.shapes++
	s.message, s.ref = e.message, e.shapes
	e.ref = s.ref
	dst = binary.AppendUvarint(dst, s.ref)
	return appendBytes(dst, s.text)
}

func (e *Encoder) appendDetail(dst []byte, ev *entrain.Event) []byte {
	switch ev.Op {
	case entrain.OpTruncate:
		t := ev.Truncate
		dst = append(dst, bits(t.Cascade, t.RestartIdentity))
		dst = appendCount(dst, t.Tables)
		for _, table := range t.Tables {
			dst = e.appendTable(dst, table)
			e.table = table
		}
	case entrain.OpMessage:
		e.counts.messages++
		m := ev.Message
		dst = append(dst, bits(m.Transactional))
		dst = appendText(dst, m.Prefix)
		dst = appendOptional(dst, m.Content)
	case entrain.OpSchema:
		dst = e.appendSchema(dst, ev.Table, ev.Schema)
	}
	return dst
}

// bits are flags, the lowest first.
func bits(set ...bool) (flags byte) {
	for i, is := range set {
		if is {
			flags |= 1 << i
		}
	}
	return flags
}
