package kafkatest

import (
	"context"
	"testing"

	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

var shared throwawaytest.Shared[*kafkaserver.Server]

// Install returns what brokers are run with, downloaded if need be.
func Install(t testing.TB) kafkaserver.Install {
	t.Helper()
	return throwawaytest.Obtain(t, "Kafka", kafkaserver.Obtain)
}

// Start returns the broker that all tests of this process share, started by
// the first that asks. Tests keep apart by the names of topics and groups, and
// leave it running; the package's TestMain calls [Remove] at the end.
func Start(t testing.TB) *kafkaserver.Server {
	t.Helper()
	return shared.Get(t, starter(kafkaserver.Config{Install: Install(t)}))
}

// StartOwn starts a broker for this test alone, to be killed and started
// again, and removes it at the test's end. What cfg says about the install is
// filled in.
func StartOwn(t testing.TB, cfg kafkaserver.Config) *kafkaserver.Server {
	t.Helper()
	cfg.Install = Install(t)
	return throwawaytest.Own(t, starter(cfg))
}

func starter(cfg kafkaserver.Config) func(context.Context) (*kafkaserver.Server, error) {
	return func(ctx context.Context) (*kafkaserver.Server, error) { return kafkaserver.Start(ctx, cfg) }
}

// Remove removes the shared broker, if there is one.
func Remove() error { return shared.Remove() }
