package campaign

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// watcher reads the ledger at the target all the time, in sessions of its own:
// whatever total a reader sees, it is the right one (P4).
type watcher struct {
	url    string
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	reads  int64
	copies int64 // reads during which a sink's session was at a COPY
	found  []string
}

// watch starts readers. They end with stop or with the test.
func watch(t testing.TB, url string, readers int) *watcher {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{url: url, cancel: cancel}
	t.Cleanup(w.stop)
	for range readers {
		w.wg.Go(func() { w.run(ctx) })
	}
	return w
}

func (w *watcher) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *watcher) run(ctx context.Context) {
	var conn *pgconn.PgConn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for ; ctx.Err() == nil; wait(ctx, 20*time.Millisecond) {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgconn.Connect(ctx, w.url); err != nil {
				conn = nil
				continue
			}
		}
		found, err := wrongLedgerOn(ctx, conn)
		if err != nil {
			conn.Close(context.WithoutCancel(ctx)) // a server that is being killed
			continue
		}
		rows, err := queryOn(ctx, conn, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'copy %' LIMIT 1")
		if err == nil {
			w.note(found, int64(len(rows)))
		}
	}
}

func (w *watcher) note(found []string, copies int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	w.copies += copies
	for _, f := range found {
		if len(w.found) < 5 {
			w.found = append(w.found, fmt.Sprintf("read %d: %s", w.reads, f))
		}
	}
}

// findings are what was wrong so far, the first of it.
func (w *watcher) findings() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.found...)
}

func (w *watcher) looked() (reads, copies int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reads, w.copies
}
