package kafka

import (
	"bytes"
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// The headers of a record.
const (
	headerID      = "entrain-id"
	headerOp      = "entrain-op"
	headerVersion = "entrain-schema-version"
	headerNewKey  = "entrain-new-key"   // of the delete that a change of the key begins with
	headerOldKey  = "entrain-old-key"   // of the insert that ends it
	headerFlags   = "entrain-flags"     // in a log: settling, shadow
	headerSchema  = "entrain-schema-id" // that a registry has for the value
	headerKeyID   = "entrain-key-schema-id"
)

// form makes records of events and sends them.
type form interface {
	event(ctx context.Context, e *entrain.Event) error
	// end is called when a transaction ends with the events so far.
	end(ctx context.Context) error
}

func newForm(w *writer) (form, error) {
	if w.shape.registry != nil {
		return newRegistered(w)
	}
	enc, err := encoding.New(w.shape.format, w.shape.options)
	if err != nil {
		return nil, err
	}
	if d, ok := enc.(*encoding.Debezium); ok {
		return &debeziumForm{writer: w, enc: d}, nil
	}
	f := &jsonForm{writer: w, enc: enc, tables: map[*entrain.Table]*target{}, part: partitionBy(w.partitioner)}
	f.cloud, _ = enc.(*encoding.CloudEvents)
	f.put = f.attribute
	return f, nil
}

// maxTables bounds the cache of a process that sees shapes come and go.
const maxTables = 10_000

// target is where the events of one shape of a table go.
type target struct {
	topic *topic
	// keyed: the partition follows from the key; else it is fixed.
	keyed   bool
	fixed   int32
	version []byte
	schemas schemaIDs
}

// jsonForm has a record an event: a JSON object (native, flat and cloudevents), or
// what a format with schemas has.
type jsonForm struct {
	*writer
	enc encoding.Encoder
	// schemas, if not nil, are those of a registry, which each shape has one of.
	schemas *schemas
	// cloud, if not nil, is the encoder of the format cloudevents, whose attributes
	// are headers: put appends one to the headers of the slab at hand.
	cloud  *encoding.CloudEvents
	put    func(name string, value []byte)
	hand   *slab
	tables map[*entrain.Table]*target
	part   partitionFunc
}

func (f *jsonForm) end(context.Context) error { return nil }

func (f *jsonForm) event(ctx context.Context, e *entrain.Event) error {
	if err := f.rememberStream(ctx, e.Tx); err != nil {
		return err
	}
	f.schemas.meet(e)
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete, entrain.OpRead:
		return f.row(ctx, e)
	case entrain.OpTruncate:
		return f.truncate(ctx, e)
	}
	if e.Table == nil {
		t, err := f.topic(ctx, f.name(f.shape.messages, e.Tx.Stream.Source, &entrain.Table{}))
		if err != nil {
			return err
		}
		ids, err := f.schemas.of(ctx, nil, t)
		if err != nil {
			return err
		}
		return f.aside(ctx, e, &target{topic: t, schemas: ids})
	}
	t, err := f.target(ctx, e.Table, e.Tx.Stream.Source)
	if err != nil {
		return err
	}
	return f.aside(ctx, e, t)
}

// name fills in a pattern.
func (f *jsonForm) name(pattern, source string, t *entrain.Table) string {
	return strings.NewReplacer("{source}", encoding.TopicName(source), "{schema}", encoding.TopicName(t.Schema),
		"{table}", encoding.TopicName(t.Name)).Replace(pattern)
}

// target returns where the rows of a shape go; its topic and its definition are
// there then.
func (f *jsonForm) target(ctx context.Context, table *entrain.Table, source string) (*target, error) {
	if t := f.tables[table]; t != nil {
		return t, nil
	}
	topic, err := f.topic(ctx, f.name(f.shape.topic, source, table))
	if err != nil {
		return nil, err
	}
	ids, err := f.schemas.of(ctx, table, topic)
	if err != nil {
		return nil, err
	}
	if err := f.rememberShape(ctx, table); err != nil {
		return nil, err
	}
	if err := f.rememberKey(ctx, table, topic); err != nil {
		return nil, err
	}
	if len(f.tables) >= maxTables {
		clear(f.tables)
	}
	t := &target{topic: topic, keyed: encoding.HasKey(table), version: []byte(fingerprint(table.Version)), schemas: ids}
	t.fixed = f.part([]byte(table.String()), topic.partitions)
	f.tables[table] = t
	return t, nil
}

// row sends a change of a row.
func (f *jsonForm) row(ctx context.Context, e *entrain.Event) error {
	t, err := f.target(ctx, e.Table, e.Tx.Stream.Source)
	if err != nil {
		return err
	}
	s, err := f.pool.take(ctx)
	if err != nil {
		return err
	}
	if !t.keyed {
		return f.record(s, e, t, recordOf{partition: t.fixed})
	}
	row, other := e.After, e.Before
	if e.Op == entrain.OpDelete {
		row, other = e.Before, nil
	}
	key, err := f.key(s, t, e, [2]entrain.Row{row, other})
	if err != nil {
		return err
	}
	r := recordOf{key: key.wire, partition: f.part(key.hashed, t.topic.partitions)}
	if e.Op == entrain.OpUpdate && e.Before != nil {
		old, err := f.key(s, t, e, [2]entrain.Row{e.Before, e.After})
		if err != nil {
			return err
		}
		if string(old.hashed) != string(key.hashed) {
			return f.move(s, e, t, [2]rowKey{old, key})
		}
	}
	if err := f.record(s, e, t, r); err != nil || e.Op != entrain.OpDelete {
		return err
	}
	f.tombstone(s, e, t, r)
	return nil
}

// rowKey is the key of a row.
type rowKey struct {
	// hashed is what the partition follows from: the key as JSON, whatever form it
	// is written in.
	hashed []byte
	wire   []byte
}

// key appends the key of a row of an event, the first of two images, to the slab.
func (f *jsonForm) key(s *slab, t *target, e *entrain.Event, images [2]entrain.Row) (key rowKey, err error) {
	start := len(s.buf)
	if s.buf, err = encoding.AppendKey(s.buf, e.Table, images[0], images[1]); err != nil {
		return key, &encodingError{err}
	}
	key.hashed = s.buf[start:len(s.buf):len(s.buf)]
	key.wire = key.hashed
	if f.schemas == nil {
		return key, nil
	}
	start = len(s.buf)
	if s.buf, err = f.schemas.appendKey(s.buf, t, e, images); err != nil {
		return key, err
	}
	key.wire = s.buf[start:len(s.buf):len(s.buf)]
	return key, nil
}

// move sends a change of the key: keys holds the old one and the new one. The
// old row ends in its partition and the new one begins in its own, which takes a
// whole image. In a topic of one partition the order is enough: there the change
// stays one record where it must, and where nobody but us reads.
func (f *jsonForm) move(s *slab, e *entrain.Event, t *target, keys [2]rowKey) error {
	old := recordOf{key: keys[0].wire, partition: f.part(keys[0].hashed, t.topic.partitions), link: headerNewKey, linked: keys[1].wire}
	now := recordOf{key: keys[1].wire, partition: f.part(keys[1].hashed, t.topic.partitions), link: headerOldKey, linked: keys[0].wire}
	whole := isWhole(e.After, len(e.Table.Columns))
	single := t.topic.partitions == 1
	switch {
	case single && (f.shape.log || !whole):
		if err := f.record(s, e, t, now); err != nil {
			return err
		}
		f.tombstone(s, e, t, old)
		return nil
	case !whole:
		return f.stopPartialMove(e, t.topic.name)
	}
	gone, come := *e, *e
	gone.Op, gone.After = entrain.OpDelete, nil
	come.Op, come.Before = entrain.OpInsert, nil
	if err := f.record(s, &gone, t, old); err != nil {
		return err
	}
	f.tombstone(s, &gone, t, old)
	return f.record(s, &come, t, now)
}

// isWhole reports whether a row carries all its n columns.
func isWhole(row entrain.Row, n int) bool {
	for i := range n {
		if row.State(i) == entrain.Unchanged {
			return false
		}
	}
	return true
}

// truncate is told to every topic of its tables.
func (f *jsonForm) truncate(ctx context.Context, e *entrain.Event) error {
	one := *e
	told := make([]*topic, 0, len(e.Truncate.Tables))
	for i, table := range e.Truncate.Tables {
		t, err := f.target(ctx, table, e.Tx.Stream.Source)
		if err != nil {
			return err
		}
		if f.shape.eachTable() { // a record a table
			one.Truncate = &entrain.Truncate{Tables: e.Truncate.Tables[i : i+1]}
		} else if contains(told, t.topic) {
			continue
		}
		if f.shape.log && t.topic.partitions > 1 {
			if err := f.truncatePart(ctx, e, t, table); err != nil {
				return err
			}
			continue
		}
		told = append(told, t.topic)
		if err := f.aside(ctx, &one, t); err != nil {
			return err
		}
	}
	return nil
}

// truncatePart tells of a truncate where a table's rows are delivered by partition:
// a table without a key has one of its own, which keeps the order. Where rows are
// spread, some are delivered before others that were written after the truncate,
// and each would empty the table.
func (f *jsonForm) truncatePart(ctx context.Context, e *entrain.Event, t *target, table *entrain.Table) error {
	switch {
	case table.Shadow:
		return f.log.stopDivided(int(t.topic.partitions))
	case t.keyed:
		return f.stopDividedTruncate(e, table, t.topic)
	}
	s, err := f.pool.take(ctx)
	if err != nil {
		return err
	}
	one := *e
	one.Truncate = &entrain.Truncate{Tables: []*entrain.Table{table}, RestartIdentity: e.Truncate.RestartIdentity}
	return f.record(s, &one, t, recordOf{partition: t.fixed})
}

func contains(list []*topic, t *topic) bool {
	for _, known := range list {
		if known == t {
			return true
		}
	}
	return false
}

// aside sends an event that is about no single row: one record, or in a log one
// in each partition.
func (f *jsonForm) aside(ctx context.Context, e *entrain.Event, t *target) error {
	first, last := t.fixed, t.fixed
	if f.shape.log {
		first, last = 0, t.topic.partitions-1
	}
	for p := first; p <= last; p++ {
		s, err := f.pool.take(ctx)
		if err != nil {
			return err
		}
		if err := f.record(s, e, t, recordOf{partition: p}); err != nil {
			return err
		}
	}
	return nil
}

// recordOf is what a record has besides its event.
type recordOf struct {
	key       []byte
	partition int32
	// link is a header that names the other half of a change of the key.
	link   string
	linked []byte
}

// record encodes an event and sends it.
func (f *jsonForm) record(s *slab, e *entrain.Event, t *target, of recordOf) error {
	start := len(s.buf)
	var err error
	switch {
	case f.schemas != nil:
		s.buf, err = f.schemas.append(s.buf, t, e)
	case f.cloud != nil:
		s.buf, err = f.cloud.Data(s.buf, e)
	default:
		s.buf, err = f.enc.Append(s.buf, e)
	}
	if err != nil {
		return refusedBy(err)
	}
	if len(s.buf) == start {
		return nil // the format does not tell of it
	}
	value := s.buf[start:len(s.buf):len(s.buf)]
	if f.schemas == nil {
		value = bytes.TrimSuffix(value, newline)
	}
	f.send(s, e, t, of).Value = value
	f.produce(s)
	return nil
}

// tombstone sends a record without a value.
func (f *jsonForm) tombstone(s *slab, e *entrain.Event, t *target, of recordOf) {
	if f.shape.tombstones {
		f.send(s, e, t, of)
		f.produce(s)
	}
}

var newline = []byte("\n")

// describe appends the headers that say what the event is.
func (f *jsonForm) describe(s *slab, e *entrain.Event, t *target) {
	if f.cloud != nil {
		f.hand = s
		_ = f.cloud.Attributes(e, f.put) // fails only where Data does
		return
	}
	start := len(s.buf)
	s.buf = e.AppendID(s.buf)
	s.headers = append(s.headers,
		kgo.RecordHeader{Key: headerID, Value: s.buf[start:len(s.buf):len(s.buf)]},
		kgo.RecordHeader{Key: headerOp, Value: opText(e.Op)})
	if t.version != nil {
		s.headers = append(s.headers, kgo.RecordHeader{Key: headerVersion, Value: t.version})
	}
	s.headers = append(s.headers, t.schemas.headers...)
}

func (f *jsonForm) attribute(name string, value []byte) {
	f.hand.headers = append(f.hand.headers, kgo.RecordHeader{Key: encoding.KafkaHeader(name), Value: f.hand.keep(value)})
}

// send prepares a record: all but its value.
func (f *jsonForm) send(s *slab, e *entrain.Event, t *target, of recordOf) *kgo.Record {
	first := len(s.headers)
	f.describe(s, e, t)
	if flags := f.flags(e); flags != nil {
		s.headers = append(s.headers, kgo.RecordHeader{Key: headerFlags, Value: flags})
	}
	if of.link != "" {
		s.headers = append(s.headers, kgo.RecordHeader{Key: of.link, Value: of.linked})
	}
	r := s.next()
	r.Topic, r.Partition, r.Timestamp, r.Key = t.topic.name, of.partition, f.now, of.key
	r.Headers = s.headers[first:len(s.headers):len(s.headers)]
	return r
}

// The flags of an event that its JSON does not have.
var flagTexts = [4][]byte{nil, []byte("settling"), []byte("shadow"), []byte("settling,shadow")}

// flags returns the flags of an event of a log; nil for none.
func (f *jsonForm) flags(e *entrain.Event) []byte {
	n := 0
	if !f.shape.log {
		return nil
	}
	if e.Settling {
		n |= 1
	}
	if e.Table != nil && e.Table.Shadow || e.Truncate != nil && len(e.Truncate.Tables) > 0 && e.Truncate.Tables[0].Shadow {
		n |= 2
	}
	return flagTexts[n]
}

var opTexts = func() (texts [entrain.OpSchema + 1][]byte) {
	for op := range texts {
		texts[op] = []byte(entrain.Op(op).String())
	}
	return texts
}()

func opText(op entrain.Op) []byte { return opTexts[min(op, entrain.OpSchema)] }

// debeziumForm has the records of the format debezium.
type debeziumForm struct {
	*writer
	enc *encoding.Debezium
}

func (f *debeziumForm) event(ctx context.Context, e *entrain.Event) error {
	if e.Table != nil {
		if err := f.rememberShape(ctx, e.Table); err != nil {
			return err
		}
	}
	records, err := f.enc.Records(e)
	if err != nil {
		return &encodingError{err}
	}
	return f.all(ctx, records)
}

func (f *debeziumForm) end(ctx context.Context) error { return f.all(ctx, f.enc.End()) }

// all sends copies of the records, which belong to the encoder.
func (f *debeziumForm) all(ctx context.Context, records []encoding.Record) error {
	for i := range records {
		from := &records[i]
		t, err := f.topic(ctx, from.Topic)
		if err != nil {
			return err
		}
		s, err := f.pool.take(ctx)
		if err != nil {
			return err
		}
		first := len(s.headers)
		for _, h := range from.Headers {
			s.headers = append(s.headers, kgo.RecordHeader{Key: h.Name, Value: s.keep(h.Value)})
		}
		r := s.next()
		r.Topic, r.Timestamp, r.Key, r.Value = t.name, f.now, s.keep(from.Key), s.keep(from.Value)
		r.Headers = s.headers[first:len(s.headers):len(s.headers)]
		hashed := r.Key
		if hashed == nil {
			hashed = []byte(t.name)
		}
		r.Partition = partitionBy(f.partitioner)(hashed, t.partitions)
		f.produce(s)
	}
	return nil
}
