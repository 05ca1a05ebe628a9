// Package all lists the connectors that the entrain program has.
package all

import (
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/file"
	"github.com/entrainsync/entrain/connector/kafka"
	"github.com/entrainsync/entrain/connector/nats"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/connector/redis"
)

// Registry returns every connector, a line each.
func Registry() connector.Registry {
	return connector.Registry{
		postgres.Spec(),
		file.Spec(),
		nats.SpecEmbedded(),
		nats.Spec(),
		kafka.Spec(),
		redis.Spec(),
	}
}
