package postgres

import (
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/apply"
	"github.com/entrainsync/entrain/connector/postgres/capture"
)

// Spec returns the connector of type "postgres".
func Spec() connector.Spec {
	return connector.Spec{Type: "postgres", Source: capture.Build, Sink: apply.Build}
}

// Source captures the changes of one database. It implements entrain.Source,
// entrain.Bounder, entrain.Guarder, entrain.Checker and entrain.Teardowner and
// may be used by several goroutines.
type Source = capture.Source

// SourceConfig says what to capture and how. The zero value of every field but
// URL is usable.
type SourceConfig = capture.Config

// Tables chooses tables by patterns over schema.table.
type Tables = capture.Tables

// NewSource checks the configuration and returns the source; it does not dial.
func NewSource(cfg SourceConfig) (*Source, error) { return capture.NewSource(cfg) }

// Sink applies changes to a PostgreSQL database and keeps the position there, in
// the same transaction as the data. It implements entrain.Sink, entrain.Loader,
// entrain.Checker and entrain.Teardowner.
type Sink = apply.Sink

// SinkConfig is the configuration of a [Sink].
type SinkConfig = apply.Config

// NewSink checks the configuration; it does not dial.
func NewSink(cfg SinkConfig) (*Sink, error) { return apply.NewSink(cfg) }
