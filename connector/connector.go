// Package connector is what the outside technologies have in common: how one
// is named, configured and built. A connector is one folder below this one and
// one line in package all; nothing registers itself.
package connector

import (
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
)

// Env is what every connector is built with.
type Env struct {
	// Pipeline is the pipeline's name; it keys positions and default names.
	Pipeline string
	// State is the pipeline's folder for what has to be kept here; it need not be
	// there yet.
	State string
	// Log receives one line an event of interest, not one a row; never nil.
	Log *slog.Logger
	// Copies reports that the rows which a table has already, named as at the
	// source, will be copied before its changes are delivered; nil: no table's.
	// It may be called from any goroutine.
	Copies func(schema, name string) bool
	// Standalone: nothing is done but that; no changes are delivered.
	Standalone bool
	// Leased: other processes wait to take the source over from this one.
	Leased bool
	// Never: existing rows are never copied.
	Never bool
}

// Decode fills the connector's own configuration struct, strictly: an unknown
// key or a value of the wrong type is an error that names its place in the
// file. Fields are named by `yaml:"name"` tags; what the file leaves out keeps
// the value it had in the struct, so defaults are set before the call.
type Decode func(into any) error

// Spec describes one connector. A nil constructor means that the technology
// cannot be used that way. Constructors check the configuration but do not
// dial (offline commands build, too).
type Spec struct {
	// Type is the word after "type:" in a pipeline file.
	Type string
	// Source builds a source from the file's source section.
	Source func(env Env, decode Decode) (entrain.Source, error)
	// Sink builds a sink from the file's sink section.
	Sink func(env Env, decode Decode) (entrain.Sink, error)
	// Log builds a durable stream from the file's stream section.
	Log func(env Env, decode Decode) (entrain.Log, error)
	// Keys builds a store for deduplication. If it is an [io.Closer] it is closed
	// when the process ends.
	Keys func(cfg KeysConfig) (entrain.KeyStore, error)
}

// KeysConfig is how a store of keys is reached.
type KeysConfig struct {
	// URL of the server.
	URL Secret
	// CA, Cert and Key are PEM files for TLS; empty ones are left out.
	CA, Cert, Key string
	// TTL is how long a key is kept.
	TTL time.Duration
}

// Registry is a list of connectors, in order of mention. It is a value: two
// registries in one process know nothing of each other.
type Registry []Spec

// Source returns the connector that has the type and can be a source.
func (r Registry) Source(typ string) (Spec, error) {
	return r.find(typ, "source", func(s Spec) bool { return s.Source != nil })
}

// Sink returns the connector that has the type and can be a sink.
func (r Registry) Sink(typ string) (Spec, error) {
	return r.find(typ, "sink", func(s Spec) bool { return s.Sink != nil })
}

// Log returns the connector that has the type and can be a stream.
func (r Registry) Log(typ string) (Spec, error) {
	return r.find(typ, "stream", func(s Spec) bool { return s.Log != nil })
}

// Keys returns the connector that has the type and can remember keys.
func (r Registry) Keys(typ string) (Spec, error) {
	return r.find(typ, "deduplication", func(s Spec) bool { return s.Keys != nil })
}

func (r Registry) find(typ, role string, fits func(Spec) bool) (Spec, error) {
	i := slices.IndexFunc(r, func(s Spec) bool { return s.Type == typ && fits(s) })
	if i >= 0 {
		return r[i], nil
	}
	var known []string
	for _, s := range r {
		if fits(s) {
			known = append(known, s.Type)
		}
	}
	sort.Strings(known)
	return Spec{}, fmt.Errorf("unknown %s type %q, known: %s", role, typ, strings.Join(known, ", "))
}
