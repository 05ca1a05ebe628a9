package encoding

import (
	"fmt"
	"net/url"
	"strconv"
	"unicode/utf8"

	"github.com/entrainsync/entrain"
)

// CloudEvents is the encoder of the format cloudevents: CloudEvents 1.0 in JSON,
// an event a line, with the object of the native format as data; docs/format.md
// has the attributes. For a broker, [CloudEvents.Attributes] and
// [CloudEvents.Data] are the binding's binary mode. It is for one goroutine.
type CloudEvents struct {
	o      CloudEventsOptions
	native *Native
	types  [entrain.OpSchema + 1]string
	tables map[*entrain.Table]*cloudTable
	tx     cloudTx
	value  []byte // scratch of an attribute
}

// CloudEventsOptions are the settings of the format cloudevents.
type CloudEventsOptions struct {
	// Source is the attribute source, a URI reference. Default:
	// "urn:entrain:" and the name of the pipeline's source.
	Source string `yaml:"source"`
	// TypePrefix stands before the operation in the attribute type. Default
	// "io.entrain.change.".
	TypePrefix string `yaml:"type_prefix"`
	// DataSchema stands before the fingerprint of the table's shape in the attribute
	// dataschema, a URI. Default "urn:entrain:shape:".
	DataSchema string `yaml:"dataschema"`
}

// cloudTable is what stays the same for all events of a table.
type cloudTable struct{ subject, schema []byte }

// cloudTx is the text of the last transaction seen.
type cloudTx struct {
	last   entrain.Transaction
	id     []byte // shop/inc/24094528/
	source []byte
	time   []byte // empty for none
}

// NewCloudEvents returns an encoder of the format cloudevents. An option that the
// specification does not allow is an error.
func NewCloudEvents(o CloudEventsOptions) (*CloudEvents, error) {
	if o.TypePrefix == "" {
		o.TypePrefix = "io.entrain.change."
	}
	if o.DataSchema == "" {
		o.DataSchema = "urn:entrain:shape:"
	}
	if u, err := url.Parse(o.Source); err != nil || u.String() != o.Source {
		return nil, fmt.Errorf("format cloudevents: source: %q is no URI reference (spaces and the like are written as %%20)", o.Source)
	}
	if u, err := url.Parse(o.DataSchema); err != nil || !u.IsAbs() || u.String() != o.DataSchema {
		return nil, fmt.Errorf("format cloudevents: dataschema: %q is no URI; one begins with its scheme, as https://example.com/shapes/", o.DataSchema)
	}
	if string(attribute(nil, []byte(o.TypePrefix))) != o.TypePrefix {
		return nil, fmt.Errorf("format cloudevents: type_prefix: %q has characters that no attribute may have", o.TypePrefix)
	}
	c := &CloudEvents{o: o, native: NewNative(), tables: make(map[*entrain.Table]*cloudTable)}
	for op := entrain.OpInsert; op <= entrain.OpSchema; op++ {
		c.types[op] = o.TypePrefix + op.String()
	}
	return c, nil
}

// Append implements [Encoder]: the structured mode. It fails for an operation
// that the format does not have.
func (c *CloudEvents) Append(dst []byte, e *entrain.Event) ([]byte, error) {
	start := len(dst)
	sep := byte('{')
	err := c.Attributes(e, func(name string, value []byte) {
		dst = append(dst, sep, '"')
		dst = append(dst, name...)
		dst = append(dst, `":"`...)
		dst = appendEscaped(dst, value)
		dst = append(dst, '"')
		sep = ','
	})
	if err == nil {
		dst = append(dst, `,"data":`...)
		dst, err = c.Data(dst, e)
	}
	if err != nil {
		return dst[:start], err
	}
	return append(dst, '}', '\n'), nil
}

// Attributes calls put with the name and value of each attribute that the event
// has, for the binary mode; a value is valid until put returns. It fails for an
// operation that the format does not have. See [KafkaHeader] for names of headers.
func (c *CloudEvents) Attributes(e *entrain.Event, put func(name string, value []byte)) error {
	if e.Op < entrain.OpInsert || e.Op > entrain.OpSchema {
		return fmt.Errorf("the format cloudevents has no operation %v", e.Op)
	}
	c.see(e.Tx)
	put("specversion", append(c.value[:0], "1.0"...))
	c.value = strconv.AppendUint(append(c.value[:0], c.tx.id...), e.Ordinal, 10)
	put("id", c.value)
	put("source", c.tx.source)
	c.value = append(c.value[:0], c.types[e.Op]...)
	put("type", c.value)
	table := e.Table
	if e.Op == entrain.OpTruncate && len(e.Truncate.Tables) == 1 {
		table = e.Truncate.Tables[0]
	}
	if e.Op == entrain.OpMessage && e.Message.Prefix != "" {
		c.value = attribute(c.value[:0], []byte(e.Message.Prefix))
		put("subject", c.value)
	}
	if table != nil {
		put("subject", c.table(table).subject)
	}
	if len(c.tx.time) > 0 {
		put("time", c.tx.time)
	}
	if e.Table != nil {
		put("dataschema", c.table(e.Table).schema)
	}
	c.value = append(c.value[:0], "application/json"...)
	put("datacontenttype", c.value)
	return nil
}

// Data appends the event's data, a JSON object of the native format without its
// newline. It fails for an operation that the format does not have.
func (c *CloudEvents) Data(dst []byte, e *entrain.Event) ([]byte, error) {
	start := len(dst)
	dst, err := c.native.Append(dst, e)
	if err != nil {
		return dst[:start], err
	}
	return dst[:len(dst)-1], nil
}

// KafkaHeader is the name of the header that has an attribute in the binary mode
// of the Kafka binding: "ce_id", and "content-type" for datacontenttype.
func KafkaHeader(attribute string) string {
	switch attribute { // without an allocation
	case "specversion":
		return "ce_specversion"
	case "id":
		return "ce_id"
	case "source":
		return "ce_source"
	case "type":
		return "ce_type"
	case "subject":
		return "ce_subject"
	case "time":
		return "ce_time"
	case "dataschema":
		return "ce_dataschema"
	case "datacontenttype":
		return "content-type"
	}
	return "ce_" + attribute
}

func (c *CloudEvents) table(t *entrain.Table) *cloudTable {
	if known := c.tables[t]; known != nil {
		return known
	}
	if len(c.tables) >= maxTables {
		clear(c.tables)
	}
	p := &cloudTable{subject: attribute(nil, []byte(t.String())), schema: fmt.Appendf(nil, "%s%016x", c.o.DataSchema, t.Version)}
	c.tables[t] = p
	return p
}

// see prepares the texts of the event's transaction.
func (c *CloudEvents) see(tx *entrain.Transaction) {
	if c.tx.last == *tx {
		return
	}
	c.tx.last = *tx
	id := attribute(c.tx.id[:0], []byte(tx.Stream.Source))
	id = attribute(append(id, '/'), []byte(tx.Stream.Incarnation))
	id = strconv.AppendUint(append(id, '/'), tx.Version, 10)
	c.tx.id = append(id, '/')
	c.tx.source = append(c.tx.source[:0], c.o.Source...)
	if c.o.Source == "" {
		c.tx.source = append(append(c.tx.source, "urn:entrain:"...), url.PathEscape(tx.Stream.Source)...)
	}
	c.tx.time = c.tx.time[:0]
	if !tx.CommitTime.IsZero() {
		c.tx.time = tx.CommitTime.UTC().AppendFormat(c.tx.time, "2006-01-02T15:04:05.000000Z")
	}
}

// attribute appends s with a U+FFFD for what no attribute may have: control
// characters, code points that are no characters, bytes that are no UTF-8.
func attribute(dst, s []byte) []byte {
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0xfdd0 && r < 0xfdf0 || r&0xfffe == 0xfffe {
			r = utf8.RuneError
		}
		dst = utf8.AppendRune(dst, r)
		s = s[size:]
	}
	return dst
}
