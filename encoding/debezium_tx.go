package encoding

import (
	"cmp"
	"strconv"
	"time"
	"unicode/utf16"

	"github.com/entrainsync/entrain"
)

// debeziumTx is what the records of a transaction share. Transactions live in
// memory that is used again, so the fields decide, not the pointer.
type debeziumTx struct {
	stream  *entrain.Stream
	version uint64

	snapshot               string // whether its rows are a snapshot's: "true" or "false"
	prefix                 string // of topics
	messages, transactions string // their topics
	head                   []byte // `,"source":{…,"sequence":"[\"24094528\",\"`
	times                  []byte // `\"]","ts_us":…,"ts_ns":…,`
	tail                   []byte // `"txId":743,"lsn":24094528,…}`
	id                     []byte // `"743:24094528"`
	millis                 []byte // of the commit

	open    bool // BEGIN was written, END was not
	total   int  // data records since BEGIN
	touched []*collection
}

// collection counts the records of a table in a transaction. Tables of one
// name share it, whatever their shape.
type collection struct {
	quoted []byte // `"public.orders"`
	n      int
}

// noTable is the source's part for a message.
var noTable = []byte(`"schema":"","table":"",`)

// begin prepares the texts of the event's transaction, and writes END and BEGIN
// if it is another one than the event's before.
func (d *Debezium) begin(e *entrain.Event) {
	tx := e.Tx
	if d.tx.stream == tx.Stream && d.tx.version == tx.Version {
		return
	}
	d.end()
	if d.tx.stream != tx.Stream {
		d.learn(tx.Stream)
	}
	d.tx.version = tx.Version
	d.tx.snapshot = "false"
	outside := e.Op == entrain.OpMessage && !e.Message.Transactional
	if e.Op == entrain.OpRead || e.Op == entrain.OpReadEnd {
		d.tx.snapshot, outside = "true", true
	}
	d.prepare(tx)
	if d.o.ProvideTransactionMetadata && !outside {
		d.tx.open = true
		d.boundary("BEGIN")
	}
}

// learn prepares what depends on the source only.
func (d *Debezium) learn(s *entrain.Stream) {
	d.tx.stream = s
	d.tx.prefix = cmp.Or(d.o.TopicPrefix, s.Source)
	d.tx.messages = topicName(d.tx.prefix + ".message")
	d.tx.transactions = topicName(d.tx.prefix + ".transaction")
	clear(d.tables) // topics have the prefix
}

// prepare writes the texts of a transaction. A message outside transactions
// has no time of commit: that it was processed now is all that is known.
func (d *Debezium) prepare(tx *entrain.Transaction) {
	t := &d.tx
	when := tx.CommitTime
	if when.IsZero() {
		when = d.o.Now()
	}
	t.millis = strconv.AppendInt(t.millis[:0], when.UnixMilli(), 10)
	t.head = append(t.head[:0], `,"source":{"version":"entrain","connector":"postgresql","name":`...)
	t.head = appendString(t.head, []byte(t.prefix))
	t.head = append(t.head, `,"ts_ms":`...)
	t.head = append(t.head, t.millis...)
	t.head = append(t.head, `,"snapshot":"`...)
	t.head = append(t.head, t.snapshot...)
	t.head = append(t.head, `","db":`...)
	t.head = appendString(t.head, []byte(t.stream.Database))
	t.head = append(t.head, `,"sequence":"[\"`...)
	t.head = strconv.AppendUint(t.head, tx.Version, 10)
	t.head = append(t.head, `\",\"`...)

	t.times = appendTimes(append(t.times[:0], `\"]"`...), when)

	t.tail = append(t.tail[:0], `"txId":`...)
	if tx.ID == 0 {
		t.tail = append(t.tail, "null"...)
	} else {
		t.tail = strconv.AppendUint(t.tail, tx.ID, 10)
	}
	t.tail = append(t.tail, `,"lsn":`...)
	t.tail = strconv.AppendUint(t.tail, tx.Version, 10)
	t.tail = append(t.tail, `,"xmin":null,"origin":`...)
	if tx.Origin == "" {
		t.tail = append(t.tail, "null"...)
	} else {
		t.tail = appendString(t.tail, []byte(tx.Origin))
	}
	t.tail = append(t.tail, `,"origin_lsn":null}`...)

	t.id = strconv.AppendUint(append(t.id[:0], '"'), tx.ID, 10)
	t.id = strconv.AppendUint(append(t.id, ':'), tx.Version, 10)
	t.id = append(t.id, '"')
}

func appendTimes(dst []byte, t time.Time) []byte {
	dst = strconv.AppendInt(append(dst, `,"ts_us":`...), t.UnixMicro(), 10)
	dst = strconv.AppendInt(append(dst, `,"ts_ns":`...), t.UnixNano(), 10)
	return append(dst, ',')
}

// appendSource writes the source member; table is `"schema":…,"table":…,`.
func (d *Debezium) appendSource(e *entrain.Event, table []byte) {
	d.buf = append(d.buf, d.tx.head...)
	d.buf = strconv.AppendUint(d.buf, e.Ordinal, 10)
	d.buf = append(d.buf, d.tx.times...)
	d.buf = append(d.buf, table...)
	d.buf = append(d.buf, d.tx.tail...)
}

// appendBlock counts a record and writes its transaction member.
func (d *Debezium) appendBlock(c *collection) {
	d.buf = append(d.buf, `,"transaction":`...)
	if !d.tx.open {
		d.buf = append(d.buf, "null"...)
		return
	}
	if c.n == 0 {
		d.tx.touched = append(d.tx.touched, c)
	}
	c.n++
	d.tx.total++
	d.buf = append(d.buf, `{"id":`...)
	d.buf = append(d.buf, d.tx.id...)
	d.buf = append(d.buf, `,"total_order":`...)
	d.buf = strconv.AppendInt(d.buf, int64(d.tx.total), 10)
	d.buf = append(d.buf, `,"data_collection_order":`...)
	d.buf = strconv.AppendInt(d.buf, int64(c.n), 10)
	d.buf = append(d.buf, '}')
}

// end writes the END of the open transaction, if there is one.
func (d *Debezium) end() {
	if !d.tx.open {
		return
	}
	d.boundary("END")
	for _, c := range d.tx.touched {
		c.n = 0
	}
	d.tx.open, d.tx.total, d.tx.touched = false, 0, d.tx.touched[:0]
}

// boundary writes a BEGIN or END record.
func (d *Debezium) boundary(status string) {
	start := len(d.buf)
	d.buf = append(d.buf, `{"id":`...)
	d.buf = append(d.buf, d.tx.id...)
	d.buf = append(d.buf, '}')
	key := d.since(start)
	start = len(d.buf)
	d.buf = append(d.buf, `{"status":"`...)
	d.buf = append(d.buf, status...)
	d.buf = append(d.buf, `","id":`...)
	d.buf = append(d.buf, d.tx.id...)
	if status == "BEGIN" {
		d.buf = append(d.buf, `,"event_count":null,"data_collections":null`...)
	} else {
		d.appendCounts()
	}
	d.buf = append(d.buf, `,"ts_ms":`...)
	d.buf = append(d.buf, d.tx.millis...)
	d.buf = append(d.buf, '}')
	d.add(d.tx.transactions, key).Value = d.since(start)
}

func (d *Debezium) appendCounts() {
	d.buf = append(d.buf, `,"event_count":`...)
	d.buf = strconv.AppendInt(d.buf, int64(d.tx.total), 10)
	d.buf = append(d.buf, `,"data_collections":[`...)
	for i, c := range d.tx.touched {
		if i > 0 {
			d.buf = append(d.buf, ',')
		}
		d.buf = append(d.buf, `{"data_collection":`...)
		d.buf = append(d.buf, c.quoted...)
		d.buf = append(d.buf, `,"event_count":`...)
		d.buf = strconv.AppendInt(d.buf, int64(c.n), 10)
		d.buf = append(d.buf, '}')
	}
	d.buf = append(d.buf, ']')
}

// collection returns the counter of a name.
func (d *Debezium) collection(name string) *collection {
	c := d.counts[name]
	if c == nil {
		c = &collection{quoted: appendString(nil, []byte(name))}
		d.counts[name] = c
	}
	return c
}

// topicName replaces what a topic's name cannot have as Debezium does: each
// UTF-16 unit by an underscore.
func topicName(s string) string {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			out = append(out, byte(r))
		case utf16.RuneLen(r) == 2:
			out = append(out, '_', '_')
		default:
			out = append(out, '_')
		}
	}
	return string(out)
}
