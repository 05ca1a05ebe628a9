package frame

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
	"unsafe"

	"github.com/entrainsync/entrain"
)

// Decoder takes messages apart. It gives equal shapes and streams of different
// messages the same pointers, as long as not too many come by. It is for one
// goroutine; the batches may be freed by any. The zero Decoder is ready.
type Decoder struct {
	shapes  map[string]*entrain.Table
	streams map[string]*entrain.Stream
	texts   map[string]string // short ones that come again and again
	known   []*entrain.Table  // the tables of the last message, by number
	from    []*entrain.Stream // its streams
	free    sync.Pool         // of *memory
}

// memory is what is used again when a batch was freed.
type memory struct {
	events       []entrain.Event
	transactions []entrain.Transaction
	messages     []entrain.Message
	release      func()
}

// decoding is one message on its way.
type decoding struct {
	reader
	d        *Decoder
	m        *memory
	tx       *entrain.Transaction // of the last event
	expected uint64
}

// Decode takes a message apart. The events alias msg, which must stay as it is
// until the batch is freed; the batch's Through is left zero. It returns an error
// that wraps [ErrVersion] or [ErrDamaged] for what [Encoder.Append] did not make;
// the memory it takes is below 64 times the message's.
func (d *Decoder) Decode(msg []byte) (Header, *entrain.Batch, error) {
	h, s, err := readHeader(msg)
	if err != nil {
		return Header{}, nil, err
	}
	end := len(msg) - sumBytes
	if end < s.header || crc32.Checksum(msg[:end], castagnoli) != binary.LittleEndian.Uint32(msg[end:]) {
		return Header{}, nil, fmt.Errorf("%w: it does not have its checksum", ErrDamaged)
	}
	if s.events > (end-s.header)/minEvent || s.transactions > s.events || s.messages > s.events {
		return Header{}, nil, fmt.Errorf("%w: %d events, %d transactions and %d messages in %d bytes", ErrDamaged,
			s.events, s.transactions, s.messages, end-s.header)
	}
	d.prepare()
	m := d.memory(s)
	x := decoding{reader: reader{b: msg[:end:end], i: s.header}, d: d, m: m}
	for i := range m.events {
		if x.event(&m.events[i]); x.err != nil {
			break
		}
	}
	x.end()
	if x.err == nil && (len(m.transactions) != s.transactions || len(m.messages) != s.messages) {
		x.fail("other counts than its header says")
	}
	if x.err != nil {
		m.release()
		return Header{}, nil, x.err
	}
	return h, &entrain.Batch{Events: m.events, Bytes: len(msg) + m.bytes(), Free: m.release}, nil
}

func (d *Decoder) prepare() {
	d.known, d.from = d.known[:0], d.from[:0]
	if d.shapes == nil || len(d.shapes) > maxCached {
		d.shapes = make(map[string]*entrain.Table)
	}
	if d.streams == nil || len(d.streams) > maxCached {
		d.streams = make(map[string]*entrain.Stream)
	}
	if d.texts == nil || len(d.texts) > maxCached {
		d.texts = make(map[string]string)
	}
}

// memory returns memory for a message: as many events as it has, and room for
// its transactions and messages.
func (d *Decoder) memory(s sizes) *memory {
	m, _ := d.free.Get().(*memory)
	if m == nil {
		m = &memory{}
		m.release = func() {
			clear(m.events) // they hold the message
			clear(m.messages)
			d.free.Put(m)
		}
	}
	if cap(m.events) < s.events {
		m.events = make([]entrain.Event, s.events)
	}
	if cap(m.transactions) < s.transactions {
		m.transactions = make([]entrain.Transaction, 0, s.transactions)
	}
	if cap(m.messages) < s.messages {
		m.messages = make([]entrain.Message, 0, s.messages)
	}
	m.events, m.transactions, m.messages = m.events[:s.events], m.transactions[:0], m.messages[:0]
	return m
}

func (m *memory) bytes() int {
	return cap(m.events)*int(unsafe.Sizeof(entrain.Event{})) +
		cap(m.transactions)*int(unsafe.Sizeof(entrain.Transaction{})) + cap(m.messages)*int(unsafe.Sizeof(entrain.Message{}))
}

func (x *decoding) event(e *entrain.Event) {
	tag := x.byte()
	if tag&tagTx != 0 {
		x.transaction()
	}
	x.expected += uint64(x.varint())
	e.Op, e.Settling, e.Tx, e.Ordinal = entrain.Op(tag&tagOp), tag&tagSettling != 0, x.tx, x.expected
	x.expected++
	e.Table = x.table()
	if e.Op < entrain.OpInsert || e.Op > entrain.OpSchema || e.Tx == nil || e.Table == nil && tag&(tagBefore|tagAfter) != 0 {
		x.fail("no event")
		return
	}
	if tag&tagBefore != 0 {
		e.Before = x.row(e.Table)
	}
	if tag&tagAfter != 0 {
		e.After = x.row(e.Table)
	}
	if e.Op < entrain.OpTruncate || e.Op == entrain.OpRead {
		return
	}
	x.detail(e)
}

func (x *decoding) row(t *entrain.Table) entrain.Row {
	row := entrain.Row(x.bytes())
	if !row.Valid(len(t.Columns)) {
		x.fail("no row of table " + t.String())
	}
	return row
}

func (x *decoding) transaction() {
	if len(x.m.transactions) == cap(x.m.transactions) {
		x.fail("more transactions than its header says")
		return
	}
	tx := entrain.Transaction{Stream: x.stream(), ID: x.uvarint(), Version: x.uvarint(), CommitTime: x.time()}
	tx.Origin = x.d.text(x.bytes())
	x.m.transactions = append(x.m.transactions, tx)
	x.tx, x.expected = &x.m.transactions[len(x.m.transactions)-1], 0
}

func (x *decoding) stream() *entrain.Stream {
	ref := x.uvarint()
	if ref < uint64(len(x.d.from)) {
		return x.d.from[ref]
	}
	if ref > uint64(len(x.d.from)) {
		x.fail("no such stream")
		return nil
	}
	text := x.bytes()
	s := x.d.streams[string(text)]
	if s == nil {
		part := reader{b: text}
		s = part.stream()
		if !x.accept(&part) {
			return nil
		}
		x.d.streams[string(text)] = s
	}
	x.d.from = append(x.d.from, s)
	return s
}

// table returns the table of which the number, and perhaps the shape, is next.
func (x *decoding) table() *entrain.Table {
	ref := x.uvarint()
	if ref == 0 {
		return nil
	}
	if ref <= uint64(len(x.d.known)) {
		return x.d.known[ref-1]
	}
	if ref > uint64(len(x.d.known))+1 {
		x.fail("no such table")
		return nil
	}
	text := x.bytes()
	t := x.d.shapes[string(text)]
	if t == nil {
		part := reader{b: text}
		t = part.shape()
		if !x.accept(&part) {
			return nil
		}
		x.d.shapes[string(text)] = t
	}
	x.d.known = append(x.d.known, t)
	return t
}

// accept ends a part that has its length in front.
func (x *decoding) accept(part *reader) bool {
	part.end()
	if part.err != nil {
		x.fail(part.err.Error())
	}
	return x.err == nil
}

// text returns b as a string, without an allocation if it came by before.
func (d *Decoder) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, known := d.texts[string(b)]; known {
		return s
	}
	s := string(b)
	if len(s) <= 256 && len(d.texts) <= maxCached {
		d.texts[s] = s
	}
	return s
}

func (x *decoding) detail(e *entrain.Event) {
	switch e.Op {
	case entrain.OpTruncate:
		flags := x.flags(3)
		e.Truncate = &entrain.Truncate{Cascade: flags&1 != 0, RestartIdentity: flags&2 != 0}
		n, set := x.count(1)
		if set {
			e.Truncate.Tables = make([]*entrain.Table, n)
		}
		for i := range e.Truncate.Tables {
			e.Truncate.Tables[i] = x.table()
		}
	case entrain.OpMessage:
		if len(x.m.messages) == cap(x.m.messages) {
			x.fail("more messages than its header says")
			return
		}
		x.m.messages = append(x.m.messages, entrain.Message{Transactional: x.flags(1) != 0})
		e.Message = &x.m.messages[len(x.m.messages)-1]
		e.Message.Prefix = x.d.text(x.bytes())
		e.Message.Content = x.optional()
	case entrain.OpSchema:
		e.Schema = x.schema(e.Table)
	}
}
