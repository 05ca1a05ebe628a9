package encoding

import (
	"fmt"
	"strconv"

	"github.com/entrainsync/entrain"
)

// Record is one message for a topic: a nil Key or Value is null (a nil Value
// is a tombstone). It belongs to the encoder and is valid until its next call.
type Record struct {
	Topic      string
	Key, Value []byte
	Headers    []Header
}

// Header goes with a [Record]; its value is JSON.
type Header struct {
	Name  string
	Value []byte
}

// Debezium is the encoder of the format debezium, described in docs/format.md:
// keys and values as Debezium's PostgreSQL connector and Kafka Connect's JSON
// converter without schemas write them. It is for one goroutine.
type Debezium struct {
	o       DebeziumOptions
	tables  map[*entrain.Table]*debeziumTable
	counts  map[string]*collection
	tx      debeziumTx
	records []Record
	headers [3]Header
	buf     []byte // what the records consist of
	now     []byte // `,"ts_ms":…,"ts_us":…,"ts_ns":…` of the event at hand
	nowMS   int    // how much of it is ts_ms
	content valueFunc
}

// keepRecords is the largest buffer that is kept for the next event.
const keepRecords = 1 << 20

// NewDebezium returns an encoder of the format debezium.
func NewDebezium(o DebeziumOptions) (*Debezium, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Debezium{
		o: o, tables: make(map[*entrain.Table]*debeziumTable), counts: make(map[string]*collection),
		content: o.binary(rawBytes),
	}, nil
}

// Append implements [Encoder]: a line for each record of the event.
func (d *Debezium) Append(dst []byte, e *entrain.Event) ([]byte, error) {
	records, err := d.Records(e)
	if err != nil {
		return dst, err
	}
	return appendLines(dst, records), nil
}

// AppendEnd implements [Ender].
func (d *Debezium) AppendEnd(dst []byte) []byte { return appendLines(dst, d.End()) }

func appendLines(dst []byte, records []Record) []byte {
	for i := range records {
		r := &records[i]
		dst = append(dst, `{"topic":"`...)
		dst = append(dst, r.Topic...) // has nothing to escape
		dst = append(dst, '"')
		for _, h := range r.Headers {
			dst = append(dst, `,"headers":{"`...)
			dst = append(dst, h.Name...)
			dst = append(dst, `":`...)
			dst = append(dst, h.Value...)
			dst = append(dst, '}')
		}
		dst = append(dst, `,"key":`...)
		dst = appendOrNull(dst, r.Key)
		dst = append(dst, `,"value":`...)
		dst = appendOrNull(dst, r.Value)
		dst = append(dst, '}', '\n')
	}
	return dst
}

func appendOrNull(dst, json []byte) []byte {
	if json == nil {
		return append(dst, "null"...)
	}
	return append(dst, json...)
}

// Records returns the event's records in order. With transaction metadata the
// first event of a transaction brings its BEGIN along, and the END of the one
// before if [Debezium.End] was not called. It fails for a value that is not of
// its column's type and for an operation that the format does not have.
func (d *Debezium) Records(e *entrain.Event) ([]Record, error) {
	d.reset()
	if e.Op == entrain.OpTruncate && d.o.SkippedOperations == "t" {
		return d.records, nil
	}
	d.begin(e)
	d.clock()
	var err error
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete, entrain.OpRead:
		err = d.row(e)
	case entrain.OpTruncate:
		for _, t := range e.Truncate.Tables {
			if err = d.truncate(e, t); err != nil {
				break
			}
		}
	case entrain.OpMessage:
		d.message(e)
	case entrain.OpReadEnd, entrain.OpSchema: // have no record there
	default:
		err = fmt.Errorf("the format debezium has no operation %v", e.Op)
	}
	return d.records, err
}

// End returns the END record of the transaction whose events were all encoded,
// if there is one: a sink calls it when a batch has a position. Without
// transaction metadata there is none.
func (d *Debezium) End() []Record {
	d.reset()
	d.end()
	return d.records
}

func (d *Debezium) reset() {
	d.records = d.records[:0]
	d.buf = d.buf[:0]
	if cap(d.buf) > keepRecords {
		d.buf = nil
	}
}

// clock notes when the event is processed.
func (d *Debezium) clock() {
	t := d.o.Now()
	d.now = strconv.AppendInt(append(d.now[:0], `,"ts_ms":`...), t.UnixMilli(), 10)
	d.nowMS = len(d.now)
	d.now = strconv.AppendInt(append(d.now, `,"ts_us":`...), t.UnixMicro(), 10)
	d.now = strconv.AppendInt(append(d.now, `,"ts_ns":`...), t.UnixNano(), 10)
}

// add adds a record without a value and returns it.
func (d *Debezium) add(topic string, key []byte) *Record {
	d.records = append(d.records, Record{Topic: topic, Key: key})
	return &d.records[len(d.records)-1]
}

// since returns what was appended to the buffer from start on, so that later
// appends leave it alone.
func (d *Debezium) since(start int) []byte { return d.buf[start:len(d.buf):len(d.buf)] }

// change is one record of a row.
type change struct {
	op            byte
	before, after entrain.Row
	key           []byte
	headers       []Header
}

// row writes an insert, update or delete. An update of the key is a delete of
// the old and an insert of the new.
func (d *Debezium) row(e *entrain.Event) error {
	t, err := d.table(e.Table)
	if err != nil {
		return err
	}
	oldKey, newKey := []byte(nil), []byte(nil)
	if e.Before != nil {
		if oldKey, err = d.key(t, e.Before); err != nil {
			return err
		}
	}
	if e.After != nil {
		if newKey, err = d.key(t, e.After); err != nil {
			return err
		}
	}
	switch {
	case e.Op == entrain.OpInsert:
		return d.change(e, t, change{op: 'c', after: e.After, key: newKey})
	case e.Op == entrain.OpRead:
		return d.change(e, t, change{op: 'r', after: e.After, key: newKey})
	case e.Op == entrain.OpDelete:
		return d.delete(e, t, change{op: 'd', before: e.Before, key: oldKey})
	case !t.keyChanged(e):
		return d.change(e, t, change{op: 'u', before: e.Before, after: e.After, key: newKey})
	}
	d.headers[0] = Header{"__debezium.newkey", newKey}
	d.headers[1] = Header{"__debezium.oldkey", oldKey}
	err = d.delete(e, t, change{op: 'd', before: e.Before, key: oldKey, headers: d.headers[0:1:1]})
	if err != nil {
		return err
	}
	return d.change(e, t, change{op: 'c', after: e.After, key: newKey, headers: d.headers[1:2:2]})
}

// delete writes the change and its tombstone.
func (d *Debezium) delete(e *entrain.Event, t *debeziumTable, c change) error {
	if err := d.change(e, t, c); err != nil {
		return err
	}
	if !d.o.OmitTombstones {
		d.add(t.topic, c.key).Headers = c.headers
	}
	return nil
}

// change writes one record of a row.
func (d *Debezium) change(e *entrain.Event, t *debeziumTable, c change) error {
	start := len(d.buf)
	var err error
	d.buf = append(d.buf, `{"before":`...)
	if d.buf, err = t.appendImage(d.buf, c.before, nil); err != nil {
		return err
	}
	d.buf = append(d.buf, `,"after":`...)
	if d.buf, err = t.appendImage(d.buf, c.after, t.absent); err != nil {
		return err
	}
	d.appendEnvelope(e, t, c.op)
	r := d.add(t.topic, c.key)
	r.Value, r.Headers = d.since(start), c.headers
	return nil
}

// appendEnvelope writes what follows the images.
func (d *Debezium) appendEnvelope(e *entrain.Event, t *debeziumTable, op byte) {
	d.appendSource(e, t.source)
	d.appendBlock(t.count)
	d.buf = append(d.buf, `,"op":"`...)
	d.buf = append(d.buf, op, '"')
	d.buf = append(d.buf, d.now...)
	d.buf = append(d.buf, '}')
}

func (d *Debezium) truncate(e *entrain.Event, table *entrain.Table) error {
	t, err := d.table(table)
	if err != nil {
		return err
	}
	return d.change(e, t, change{op: 't'})
}

func (d *Debezium) message(e *entrain.Event) {
	start := len(d.buf)
	d.buf = append(d.buf, `{"prefix":`...)
	d.buf = append(appendString(d.buf, []byte(e.Message.Prefix)), '}')
	key := d.since(start)
	start = len(d.buf)
	d.buf = append(d.buf, `{"op":"m"`...)
	d.buf = append(d.buf, d.now[:d.nowMS]...)
	d.appendSource(e, noTable)
	d.appendBlock(d.collection("message"))
	d.buf = append(d.buf, `,"message":{"prefix":`...)
	d.buf = appendString(d.buf, []byte(e.Message.Prefix))
	d.buf = append(d.buf, `,"content":`...)
	d.buf, _ = d.content(d.buf, e.Message.Content)
	d.buf = append(d.buf, '}', '}')
	d.add(d.tx.messages, key).Value = d.since(start)
}
