// Package redistest gives tests real Redis servers.
//
//	func TestMain(m *testing.M) { pgtest.Main(m, redistest.Remove) }
//
//	func TestX(t *testing.T) {
//		addr := redistest.Start(t).Addr()
//		...
//	}
//
// A test that cannot have a server, for want of a download, is skipped and says
// so; with ENTRAIN_TEST_WIDE=1 it fails.
package redistest

import (
	"context"
	"testing"

	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

var shared throwawaytest.Shared[*redisserver.Server]

// Install returns the server's program, downloaded if need be.
func Install(t testing.TB) redisserver.Install {
	t.Helper()
	return throwawaytest.Obtain(t, "Redis", redisserver.Obtain)
}

// Start returns the server that all tests of this process share, started by
// the first that asks. Tests keep apart by the names of their keys, and leave
// it running; the package's TestMain calls [Remove] at the end.
func Start(t testing.TB) *redisserver.Server {
	t.Helper()
	return shared.Get(t, starter(redisserver.Config{Install: Install(t)}))
}

// StartOwn starts a server for this test alone, to be killed and started
// again, and removes it at the test's end. What cfg says about the install is
// filled in.
func StartOwn(t testing.TB, cfg redisserver.Config) *redisserver.Server {
	t.Helper()
	cfg.Install = Install(t)
	return throwawaytest.Own(t, starter(cfg))
}

func starter(cfg redisserver.Config) func(context.Context) (*redisserver.Server, error) {
	return func(ctx context.Context) (*redisserver.Server, error) { return redisserver.Start(ctx, cfg) }
}

// Remove removes the shared server, if there is one.
func Remove() error { return shared.Remove() }
