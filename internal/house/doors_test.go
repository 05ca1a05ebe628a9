package house

import (
	"go/token"
	"slices"
)

// doors are the packages that bring bytes from or to the outside of the process, or start
// another one. What only looks at events, schemas, letters and orders cannot be made to
// ask an address that is written in them.
var doors = []string{
	"net", "net/http", "net/rpc", "net/smtp", "crypto/tls", "os/exec", "plugin", "syscall/js", "golang.org/x/net/websocket",
	"github.com/jackc/pgx/v5/pgconn", "github.com/jackc/pgx/v5", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2/server",
	"github.com/redis/go-redis/v9", "github.com/twmb/franz-go/pkg/kgo", "github.com/twmb/franz-go/pkg/sr",
}

// doorkeepers are the folders whose code may import one, and what for.
var doorkeepers = map[string]string{
	"bench":                            "the peers",
	"cmd/entrain":                      "the supervisor's socket, of the environment; errors of the network",
	"connector/kafka":                  "the brokers of the file, and those that they name",
	"connector/nats":                   "the servers of the file",
	"connector/redis":                  "the server of the file",
	"connector/postgres":               "the servers of the file",
	"connector/postgres/apply":         "the same",
	"connector/postgres/blockconn":     "the same",
	"connector/postgres/capture":       "the same",
	"connector/postgres/dial":          "the same",
	"connector/postgres/digest":        "the same",
	"connector/postgres/preflight":     "the same",
	"connector/postgres/snapshot":      "the same",
	"campaign":                         "programs that it runs: the go command, its own servers",
	"internal/admin":                   "the socket in the state folder",
	"internal/campaign":                "servers of tests, and proxies in front of them",
	"internal/config":                  "what an address looks like",
	"internal/demo":                    "its own servers",
	"internal/kafkaserver":             "servers of tests",
	"internal/kafkaserver/fetch":       "the same",
	"internal/metrics":                 "who asks for metrics",
	"internal/natsserver":              "the same",
	"internal/pgserver":                "servers of tests and of the demo",
	"internal/pgserver/pgtest":         "the same",
	"internal/redisserver":             "servers of tests",
	"internal/registryserver":          "the same",
	"internal/throwaway":               "the same, with their pinned programs",
	"internal/throwaway/throwawaytest": "the same",
	"registry":                         "the schema registry of the file",
}

// strangeDoors finds code that could talk to the outside where nobody expects it.
func strangeDoors(t tree) []string {
	var found []string
	for _, f := range t.files {
		if _, may := doorkeepers[f.dir()]; may || f.isTest() {
			continue
		}
		eachImport(f, func(pos token.Pos, imported string) {
			if slices.Contains(doors, imported) {
				found = append(found, t.at(pos, "%s may not import %s: docs/security.md, Addresses from outside", f.dir(), imported))
			}
		})
	}
	return found
}
