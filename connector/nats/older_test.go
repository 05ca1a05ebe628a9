package nats

import (
	"context"
	"os"
	"strconv"
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
	return &elsewhere{url: srv.URL()}
}

// TestOlderServer: a server before 2.12 keeps the contracts of a stream (P1 to P6).
func TestOlderServer(t *testing.T) {
	entraintest.TestStream(t, harness(func(t testing.TB) place { return newOlder(t) }))
}

// TestSinkOlderServer: a sink there keeps its contracts as long as nobody is killed.
func TestSinkOlderServer(t *testing.T) {
	testSinkAt(t, newOlder, func(*backend) {})
}

// TestServerGetsNewer: a stream and a sink that were begun on a server without batches go
// on where they were on one that has them, and use them; and back.
func TestServerGetsNewer(t *testing.T) {
	at := newElsewhere(t)
	l, s := newServerLog(t, ServerConfig{URL: at.url}), newSink(t, at, SinkConfig{})
	for n, single := range []bool{true, false, true} {
		l.backend.withoutBatches, s.backend.withoutBatches = single, single
		written(t, l, n+1, n+1).Close()
		w, from := openSink(t, s)
		write(t, w, batchOf(uint64(n+1), inserts(n, 1)...))
		if n > 0 && from.Offset != strconv.Itoa(n) {
			t.Errorf("the sink begins at %v", from)
		}
		w.Close()
		for _, name := range []string{"entrain_shop", "changes"} {
			is, err := jetStream(t, at.url).Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if batches := is.CachedInfo().Config.AllowAtomicPublish; !single && !batches {
				t.Errorf("%s takes no batches", name)
			}
		}
	}
	numberedUpTo(t, reading(t, l), 1, 3)
	if got := len(consumed(t, at, "changes.>")); got != 3 {
		t.Errorf("%d messages", got)
	}
}
