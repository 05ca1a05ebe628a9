package nats

import (
	"bytes"

	natsgo "github.com/nats-io/nats.go"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// The words of a record that a transaction begins or ends with.
const (
	opBegin = "begin"
	opEnd   = "end"
)

// beginsWith is how the value of a record with which a transaction begins looks.
var beginsWith = []byte(`{"status":"BEGIN"`)

// records collects those of the format debezium that an event has; without an event
// that which ends a transaction. A record without a value (a tombstone) is for topics
// that keep the last one of a key: there are none here.
func (w *writer) records(records []encoding.Record, e *entrain.Event) error {
	for i := range records {
		r := &records[i]
		if r.Value == nil {
			continue
		}
		m := &natsgo.Msg{Subject: topicSubject(r.Topic), Header: natsgo.Header{}, Data: bytes.Clone(r.Value)}
		switch {
		case m.Subject != w.sink.options.Debezium.TopicPrefix+".transaction":
			m.Header.Set(headerID, e.ID())
			m.Header.Set(headerOp, e.Op.String())
		case bytes.HasPrefix(r.Value, beginsWith):
			m.Header.Set(headerOp, opBegin)
		default:
			m.Header.Set(headerOp, opEnd)
		}
		if r.Key != nil {
			m.Header.Set(headerKey, string(r.Key))
		}
		for _, h := range r.Headers {
			m.Header.Set(h.Name, string(h.Value))
		}
		if err := w.add(m); err != nil {
			return err
		}
	}
	return nil
}
