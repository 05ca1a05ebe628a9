package postgres

import (
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/apply"
	"github.com/entrainsync/entrain/connector/postgres/capture"
)

// Spec returns the connector of type "postgres".
func Spec() connector.Spec {
	return connector.Spec{Type: "postgres", Source: buildSource, Sink: apply.Build}
}

// SourceConfig says what to capture and how. The zero value of every field but
// URL is usable.
type SourceConfig = capture.Config

// Tables chooses tables by patterns over schema.table.
type Tables = capture.Tables

// Sink applies changes to a PostgreSQL database and keeps the position there, in
// the same transaction as the data. It implements entrain.Sink, entrain.Loader,
// entrain.Checker, entrain.Teardowner, entrain.Digester and entrain.Advancer.
type Sink = apply.Sink

// SinkConfig is the configuration of a [Sink].
type SinkConfig = apply.Config

// NewSink checks the configuration; it does not dial.
func NewSink(cfg SinkConfig) (*Sink, error) { return apply.NewSink(cfg) }
