package nats

import (
	"context"
	"os"
	"testing"

	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/natsserver"
	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

// newOlder is a server of a version that has no batches. To build its program takes a
// minute: tests do without it where nobody has, but for the wide run.
func newOlder(t testing.TB) *elsewhere {
	t.Helper()
	install, there := natsserver.Cached()
	if !there && os.Getenv("ENTRAIN_TEST_WIDE") != "1" {
		t.Skip("no NATS server " + natsserver.Version + ": with ENTRAIN_TEST_WIDE=1 it is built")
	}
	if !there {
		install = throwawaytest.Obtain(t, "NATS server "+natsserver.Version, natsserver.Obtain)
	}
	srv := throwawaytest.Own(t, func(ctx context.Context) (*natsserver.Server, error) {
		return natsserver.Start(ctx, natsserver.Config{Install: install})
	})
	return &elsewhere{srv.URL()}
}

// TestOlderServer: a server before 2.12 keeps the contracts of a stream (P1 to P6).
func TestOlderServer(t *testing.T) {
	entraintest.TestStream(t, harness(func(t testing.TB) place { return newOlder(t) }))
}

// TestSinkOlderServer: a sink there keeps its contracts as long as nobody is killed.
func TestSinkOlderServer(t *testing.T) {
	testSinkAt(t, newOlder, func(*backend) {})
}
