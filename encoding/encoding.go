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

// New returns an encoder for a format by name: "native" is JSON lines, see
// docs/format.md.
func New(format string) (Encoder, error) {
	switch format {
	case "native":
		return NewNative(), nil
	}
	return nil, fmt.Errorf("unknown format %q, known: native", format)
}
