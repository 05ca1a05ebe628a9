package capture

import (
	"fmt"
	"os"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestHugeUnpublishedTransaction: PG-22, P7. While the server decodes a large
// transaction and a rewrite of which nothing is ours, for longer than its
// time-out (several times that with ENTRAIN_TEST_WIDE=1), the session stays, and
// the slot moves on behind them.
func TestHugeUnpublishedTransaction(t *testing.T) {
	rows := 400_000
	if os.Getenv("ENTRAIN_TEST_WIDE") == "1" {
		rows = 5_000_000
	}
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable, "CREATE TABLE other (id int, v text)", "CREATE PUBLICATION pub FOR TABLE t")
		// A walsender looks at the clock only now and then while it skips changes:
		// a time-out of a fraction of what it needs for them all is met many times.
		src := newTestSource(t, url+"?wal_sender_timeout=300ms")
		r := openReader(t, src, createSlot(t, src))
		walsender := "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '" + src.cfg.Slot + "'"
		pid := pgtest.QueryOne(t, url, walsender)
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO other SELECT i, 'value ' || i FROM generate_series(1, %d) i", rows),
			"BEGIN; CREATE TABLE compact AS SELECT * FROM other; DROP TABLE other; ALTER TABLE compact RENAME TO other; COMMIT")
		behind := placeOfServer(t, url)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (1, 'after')")
		got := captureLines(t, r, 1)
		if now := pgtest.QueryOne(t, url, walsender); now != pid || len(got.lines) != 1 {
			t.Errorf("the walsender was %s and is %s; captured %q", pid, now, got.lines)
		}
		if at := placeOf(t, got.last(t)); at < behind {
			t.Errorf("the position is %s, want one behind %s", at, behind)
		}
		if err := r.Ack(t.Context(), got.last(t)); err != nil {
			t.Fatal(err)
		}
		pgtest.Eventually(t, sourcePatience, "the slot moves on", func() bool {
			return confirmedFlush(t, url, src.cfg.Slot) >= behind
		})
	})
}
