package kafkatest

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/kafkaserver"
)

// startTimeout bounds getting and starting a broker, a first download
// included; stopTimeout bounds giving it up.
const (
	startTimeout = 5 * time.Minute
	stopTimeout  = time.Minute
)

// shared is the broker of this process. Only [Remove] takes it out.
var shared struct {
	sync.Mutex
	srv *kafkaserver.Server
}

// Install returns what brokers are run with, downloaded if need be.
func Install(t testing.TB) kafkaserver.Install {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	install, err := kafkaserver.Obtain(ctx)
	switch {
	case err == nil:
		return install
	case os.Getenv("ENTRAIN_TEST_WIDE") == "1":
		t.Fatal(err)
	default:
		t.Skipf("no Kafka: %v", err)
	}
	return install
}

// Start returns the broker that all tests of this process share, started by
// the first that asks. Tests keep apart by the names of topics and groups, and
// leave it running; the package's TestMain calls [Remove] at the end.
func Start(t testing.TB) *kafkaserver.Server {
	t.Helper()
	install := Install(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.srv == nil {
		shared.srv = start(t, kafkaserver.Config{Install: install})
	}
	srv := shared.srv
	t.Cleanup(func() { logIfFailed(t, srv) })
	return srv
}

// StartOwn starts a broker for this test alone, to be killed and started
// again, and removes it at the test's end. What cfg says about the install is
// filled in.
func StartOwn(t testing.TB, cfg kafkaserver.Config) *kafkaserver.Server {
	t.Helper()
	cfg.Install = Install(t)
	srv := start(t, cfg)
	t.Cleanup(func() {
		logIfFailed(t, srv)
		if err := srv.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("remove broker: %v", err)
		}
	})
	return srv
}

func start(t testing.TB, cfg kafkaserver.Config) *kafkaserver.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	srv, err := kafkaserver.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return srv
}

func logIfFailed(t testing.TB, srv *kafkaserver.Server) {
	if t.Failed() {
		t.Logf("log of Kafka on port %d ends:\n%s", srv.Port(), srv.Log())
	}
}

// Remove removes the shared broker, if there is one.
func Remove() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.srv == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := shared.srv.Remove(ctx)
	shared.srv = nil
	return err
}
