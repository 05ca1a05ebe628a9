package encoding

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/entrainsync/entrain"
)

// Shapes returns the shape of a table by its version, as it was seen where the
// lines were written. An error ends the decoding of the line that needs it.
type Shapes func(version uint64) (*entrain.Table, error)

// NativeDecoder reads lines of the native format back to the events that they
// were made of, exactly; docs/format.md says what a line does not carry. It keeps
// the shapes that it has seen and is for one goroutine; the batches may be freed
// by any.
type NativeDecoder struct {
	shapes   Shapes
	database string
	known    map[uint64]*knownShape
	last     *knownShape
	streams  map[string]*entrain.Stream // by source/incarnation
	pool     sync.Pool                  // of *nativeMemory
	m        *nativeMemory
	line     nativeLine
	tx       decodedTx
	prefix   string // of the last message
}

// NativeDecoderOptions are the settings of a [NativeDecoder].
type NativeDecoderOptions struct {
	// Shapes is asked for a table that no schema event has told before; nil knows
	// none.
	Shapes Shapes
	// Database is that of the streams: the lines do not carry it.
	Database string
}

// knownShape is what stays the same for all lines of a table.
type knownShape struct {
	table *entrain.Table
	names [][]byte // `"id":` by column, as the encoder writes it
}

// decodedTx is the last transaction. Equal bytes mean an equal one.
type decodedTx struct {
	head []byte // source/incarnation/version/, as the line has it
	text []byte // {…}, as the line has it
	tx   *entrain.Transaction
}

// nativeMemory is what is used again when a batch was freed.
type nativeMemory struct {
	events       []entrain.Event
	transactions []entrain.Transaction
	messages     []entrain.Message
	rows         []byte
	read         int // bytes of lines
	release      func()
}

// Members of a line that are read when all of it was seen.
const (
	atBefore = iota
	atAfter
	atTx
	atTables
	atCascade
	atRestart
	atPrefix
	atTransactional
	atContent
	atChanges
	atDDL
	atResync
	atMake
	lateMembers
)

// nativeLine is one line on its way.
type nativeLine struct {
	scanner
	version       bool // "v" was there, and is known
	op            entrain.Op
	id            []byte // as it stands
	shape         *knownShape
	shapeVersion  uint64 // of a shape that is not known yet, if unknown
	unknown       bool
	before, after entrain.Row
	sameTx        bool
	at            [lateMembers]int // of the values; 0: not there
}

// minRows is the size of the first memory for rows.
const minRows = 64 << 10

// NewNativeDecoder returns a decoder of the native format.
func NewNativeDecoder(o NativeDecoderOptions) *NativeDecoder {
	if o.Shapes == nil {
		o.Shapes = func(uint64) (*entrain.Table, error) { return nil, errors.New("no such shape") }
	}
	return &NativeDecoder{shapes: o.Shapes, database: o.Database, known: make(map[uint64]*knownShape),
		streams: make(map[string]*entrain.Stream)}
}

// Add reads a line, with or without its newline, and adds its event to the batch
// that is being made. Nothing is kept of line. The event may be changed until the
// next Add: by what the line does not carry. After an error the batch is as it
// was.
func (d *NativeDecoder) Add(line []byte) (*entrain.Event, error) {
	m := d.memory()
	e, err := d.decode(line)
	if err != nil {
		return nil, fmt.Errorf("native format: %w", err)
	}
	m.events = append(m.events, e)
	m.read += len(line)
	return &m.events[len(m.events)-1], nil
}

// Len is the number of events that were added since the last call of Batch.
func (d *NativeDecoder) Len() int {
	if d.m == nil {
		return 0
	}
	return len(d.m.events)
}

// Batch returns the events that were added since the last call. Its Through is
// left zero.
func (d *NativeDecoder) Batch() *entrain.Batch {
	m := d.memory()
	d.m = nil
	d.tx = decodedTx{head: d.tx.head[:0], text: d.tx.text[:0]} // its memory is the batch's
	return &entrain.Batch{Events: m.events, Bytes: m.bytes(), Free: m.release}
}

func (d *NativeDecoder) memory() *nativeMemory {
	if d.m != nil {
		return d.m
	}
	m, _ := d.pool.Get().(*nativeMemory)
	if m == nil {
		m = &nativeMemory{}
		m.release = func() {
			clear(m.events)
			clear(m.messages)
			m.events, m.transactions, m.messages, m.rows, m.read = m.events[:0], m.transactions[:0], m.messages[:0], m.rows[:0], 0
			d.pool.Put(m)
		}
	}
	d.m = m
	return m
}

func (m *nativeMemory) bytes() int {
	return cap(m.events)*int(unsafe.Sizeof(entrain.Event{})) + cap(m.transactions)*int(unsafe.Sizeof(entrain.Transaction{})) +
		cap(m.messages)*int(unsafe.Sizeof(entrain.Message{})) + max(cap(m.rows), m.read)
}

// reserve makes room for n bytes of rows. What is there stays where it is.
func (m *nativeMemory) reserve(n int) {
	if cap(m.rows)-len(m.rows) < n {
		m.rows = make([]byte, 0, max(n, 2*cap(m.rows), minRows))
	}
}

func (d *NativeDecoder) decode(line []byte) (entrain.Event, error) {
	x := &d.line
	*x = nativeLine{scanner: scanner{b: line, scratch: x.scratch, decoded: x.decoded}}
	if err := d.members(); err != nil {
		return entrain.Event{}, err
	}
	if x.unknown && x.op != entrain.OpSchema { // which tells it itself
		x.shape = d.lookUp(x.shapeVersion)
	}
	e := entrain.Event{Op: x.op}
	if x.shape != nil && x.op != entrain.OpTruncate && x.op != entrain.OpMessage {
		e.Table = x.shape.table
	}
	if err := d.late(&e); err != nil {
		return entrain.Event{}, err
	}
	if x.peek() != 0 || x.i < len(x.b) {
		x.fail("something follows")
	}
	return e, x.err
}

// members goes through the line's members. Rows are read at once if it is known
// already what they are, which is so in the order in which we write.
func (d *NativeDecoder) members() error {
	x := &d.line
	for more := x.open('{', '}'); more; more = x.more('}') {
		name := x.name()
		switch string(name) {
		case "v":
			if v := x.unsigned(); x.err == nil && v != NativeVersion {
				return fmt.Errorf("version %d, known is %d", v, NativeVersion)
			}
			x.version = true
		case "id":
			x.id, _ = x.raw()
		case "op":
			x.op = opOf(x.str())
		case "schema_version":
			d.shape(x.str())
		case "before":
			x.before = d.rowOr(atBefore)
		case "after":
			x.after = d.rowOr(atAfter)
		case "tx":
			x.peek()
			if x.sameTx = len(d.tx.text) > 0 && bytes.HasPrefix(x.b[x.i:], d.tx.text); x.sameTx {
				x.i += len(d.tx.text)
				break
			}
			x.put(atTx)
		default:
			x.other(name)
		}
	}
	end := x.i
	if x.peek() != 0 {
		x.fail("something follows")
	}
	switch {
	case x.err != nil:
	case !x.version:
		return errors.New(`there is no member "v": no line of the native format`)
	case x.op == 0:
		return errors.New("no operation, or none that is known")
	}
	x.i = end
	return x.err
}

// other notes where a member is that has to wait, and skips one that nobody
// knows.
func (x *nativeLine) other(name []byte) {
	switch string(name) {
	case "tables":
		x.put(atTables)
	case "cascade":
		x.put(atCascade)
	case "restart_identity":
		x.put(atRestart)
	case "prefix":
		x.put(atPrefix)
	case "transactional":
		x.put(atTransactional)
	case "content":
		x.put(atContent)
	case "changes":
		x.put(atChanges)
	case "ddl":
		x.put(atDDL)
	case "resync":
		x.put(atResync)
	case "make":
		x.put(atMake)
	default:
		x.skip()
	}
}

// put notes where a value is.
func (x *nativeLine) put(member int) {
	x.at[member] = x.i
	x.skip()
}

// get goes to a value and reports whether it is there.
func (x *nativeLine) get(member int) bool {
	if x.err != nil || x.at[member] == 0 {
		return false
	}
	x.i = x.at[member]
	return true
}

func opOf(name []byte) entrain.Op {
	for op := entrain.OpInsert; op <= entrain.OpSchema; op++ {
		if op.String() == string(name) {
			return op
		}
	}
	return 0
}

// late reads what has to wait for the rest of the line.
func (d *NativeDecoder) late(e *entrain.Event) error {
	x := &d.line
	end := x.i
	d.transaction(e)
	switch e.Op {
	case entrain.OpTruncate:
		e.Truncate = d.truncate()
	case entrain.OpMessage:
		e.Message = d.message()
	case entrain.OpSchema:
		e.Schema = d.schema(e)
	case entrain.OpReadEnd:
	default:
		d.rows(e)
	}
	if x.err == nil {
		x.i = end
	}
	return x.err
}

func (d *NativeDecoder) rows(e *entrain.Event) {
	x := &d.line
	if e.Table == nil {
		x.fail("a row without schema_version")
		return
	}
	e.Before, e.After = x.before, x.after
	if x.get(atBefore) {
		e.Before = d.row()
	}
	if x.get(atAfter) {
		e.After = d.row()
	}
	if e.Op == entrain.OpDelete && e.Before == nil || e.Op != entrain.OpDelete && e.After == nil {
		x.fail("no row for this operation")
	}
}

// transaction reads id and tx. Both belong together: the stream and the version
// are in the id, too.
func (d *NativeDecoder) transaction(e *entrain.Event) {
	x := &d.line
	cut := bytes.LastIndexByte(x.id, '/')
	ordinal, ok := parseUint(x.id[cut+1:])
	if cut < 0 || !ok {
		x.fail("no id that ends with an ordinal")
		return
	}
	e.Ordinal = ordinal
	head := x.id[:cut+1]
	if x.sameTx && bytes.Equal(head, d.tx.head) {
		e.Tx = d.tx.tx
		return
	}
	var tx entrain.Transaction
	text := d.tx.text
	if x.get(atTx) {
		tx = x.transaction()
		text = x.b[x.at[atTx]:x.i]
	} else if x.sameTx {
		tx = *d.tx.tx
	} else {
		x.fail("no transaction")
	}
	tx.Stream = d.stream(head, tx.Version)
	if x.err != nil {
		return
	}
	d.m.transactions = append(d.m.transactions, tx)
	e.Tx = &d.m.transactions[len(d.m.transactions)-1]
	d.tx = decodedTx{head: append(d.tx.head[:0], head...), text: append(d.tx.text[:0], text...), tx: e.Tx}
}

func (x *nativeLine) transaction() entrain.Transaction {
	var tx entrain.Transaction
	version := false
	for more := x.open('{', '}'); more; more = x.more('}') {
		switch string(x.name()) {
		case "id":
			tx.ID = x.unsigned()
		case "version":
			tx.Version, version = x.unsigned(), true
		case "time":
			tx.CommitTime = x.time()
		case "origin":
			tx.Origin = string(x.text())
		default:
			x.skip()
		}
	}
	if !version {
		x.fail("a transaction without a version")
	}
	return tx
}

func (x *nativeLine) time() time.Time {
	if x.peek() == 'n' && x.literal("null") {
		return time.Time{}
	}
	var t time.Time
	err := t.UnmarshalText(x.str())
	t = t.UTC()
	if err != nil || t.Year() < 0 || t.Year() > 9999 {
		x.fail("no time")
	}
	return t
}

// stream returns the stream that the head of an id names:
// source/incarnation/version/. A source's name may have a slash in it, an
// incarnation has none.
func (d *NativeDecoder) stream(head []byte, version uint64) *entrain.Stream {
	x := &d.line
	if x.err != nil {
		return nil
	}
	if bytes.IndexByte(head, '\\') >= 0 {
		head = x.unescape(head)
	}
	parts := bytes.TrimSuffix(head, []byte("/"))
	cut := bytes.LastIndexByte(parts, '/')
	if n, ok := parseUint(parts[cut+1:]); cut < 0 || !ok || n != version {
		x.fail("an id of another version than its transaction's")
		return nil
	}
	slash := bytes.LastIndexByte(parts[:cut], '/')
	if slash < 0 {
		x.fail("an id without source or incarnation")
		return nil
	}
	if known := d.streams[string(parts[:cut])]; known != nil {
		return known
	}
	if len(d.streams) >= maxTables {
		clear(d.streams)
	}
	s := &entrain.Stream{Source: string(parts[:slash]), Incarnation: string(parts[slash+1 : cut]), Database: d.database}
	d.streams[string(parts[:cut])] = s
	return s
}
