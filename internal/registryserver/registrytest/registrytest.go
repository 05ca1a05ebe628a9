// Package registrytest gives tests real schema registries.
//
//	func TestMain(m *testing.M) { pgtest.Main(m, registrytest.Remove) }
//
//	func TestX(t *testing.T) {
//		url := registrytest.Start(t).URL()
//		...
//	}
//
// A test that cannot have a registry, for want of Java or of a download, is
// skipped and says so; with ENTRAIN_TEST_WIDE=1 it fails.
package registrytest

import (
	"context"
	"testing"

	"github.com/entrainsync/entrain/internal/registryserver"
	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

var shared throwawaytest.Shared[*registryserver.Server]

// Install returns what registries are run with, downloaded if need be.
func Install(t testing.TB) registryserver.Install {
	t.Helper()
	return throwawaytest.Obtain(t, "Apicurio Registry", registryserver.Obtain)
}

// Start returns the registry that all tests of this process share, started by
// the first that asks. Tests keep apart by the names of their subjects, and
// leave it running; the package's TestMain calls [Remove] at the end.
func Start(t testing.TB) *registryserver.Server {
	t.Helper()
	return shared.Get(t, starter(registryserver.Config{Install: Install(t)}))
}

// StartOwn starts a registry for this test alone, to be stopped and started
// again, and removes it at the test's end. What cfg says about the install is
// filled in.
func StartOwn(t testing.TB, cfg registryserver.Config) *registryserver.Server {
	t.Helper()
	cfg.Install = Install(t)
	return throwawaytest.Own(t, starter(cfg))
}

func starter(cfg registryserver.Config) func(context.Context) (*registryserver.Server, error) {
	return func(ctx context.Context) (*registryserver.Server, error) { return registryserver.Start(ctx, cfg) }
}

// Remove removes the shared registry, if there is one.
func Remove() error { return shared.Remove() }
