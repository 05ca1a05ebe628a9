// Package encoding turns events into bytes. Formats are chosen by name; an
// encoder appends to a buffer of the caller's and allocates nothing per event.
package encoding

import (
	"fmt"

	"github.com/entrainsync/entrain"
)

// Encoder writes events in one format. It keeps caches for the tables it has
// seen and is for one goroutine.
type Encoder interface {
	// Append appends the event's encoding to dst and returns the extended
	// buffer. The event is not kept.
	Append(dst []byte, e *entrain.Event) ([]byte, error)
}

// Ender is an Encoder whose format has something to say at the end of a
// transaction. A sink calls AppendEnd after the last event of each batch that
// has a position; between transactions of a batch the encoder sees the end by
// itself.
type Ender interface {
	// AppendEnd appends what ends the transaction whose events were encoded,
	// nothing if that was said.
	AppendEnd(dst []byte) []byte
}

// Options are the settings of the formats that have any.
type Options struct {
	// Debezium is for the format debezium only; nil is its defaults.
	Debezium *DebeziumOptions
	// CloudEvents is for the format cloudevents only; nil is its defaults.
	CloudEvents *CloudEventsOptions
}

// New returns an encoder for a format by name: "native", "flat",
// "debezium" and "cloudevents" are JSON lines, see docs/format.md.
func New(format string, o Options) (Encoder, error) {
	if o.Debezium != nil && format != "debezium" {
		return nil, fmt.Errorf("settings of the format debezium are given for the format %q", format)
	}
	if o.CloudEvents != nil && format != "cloudevents" {
		return nil, fmt.Errorf("settings of the format cloudevents are given for the format %q", format)
	}
	switch format {
	case "native":
		return NewNative(), nil
	case "flat":
		return NewFlat(), nil
	case "debezium":
		if o.Debezium == nil {
			o.Debezium = &DebeziumOptions{}
		}
		return NewDebezium(*o.Debezium)
	case "cloudevents":
		if o.CloudEvents == nil {
			o.CloudEvents = &CloudEventsOptions{}
		}
		return NewCloudEvents(*o.CloudEvents)
	}
	return nil, fmt.Errorf("unknown format %q, known: native, flat, debezium, cloudevents", format)
}
