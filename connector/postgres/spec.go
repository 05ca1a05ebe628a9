package postgres

import "github.com/entrainsync/entrain/connector"

// Spec returns the connector of type "postgres".
func Spec() connector.Spec {
	return connector.Spec{Type: "postgres", Source: sourceSpec, Sink: sinkSpec}
}
