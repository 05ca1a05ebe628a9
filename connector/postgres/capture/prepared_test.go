package capture

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestPreparedTransactions: P1, P2, P4. A prepared transaction has its effects
// at COMMIT PREPARED, whole and in the order of the commits, none at PREPARE or
// ROLLBACK PREPARED; sessions that end and a server that is restarted in between
// change nothing.
func TestPreparedTransactions(t *testing.T) {
	cfg := pgserver.Config{Settings: map[string]string{"max_prepared_transactions": "10"}}
	eachServer(t, cfg, func(t *testing.T, srv *pgserver.Server) {
		url := srv.URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := createSlot(t, src)
		pgtest.Exec(t, url, "BEGIN; INSERT INTO t VALUES (1, 'prepared'); SAVEPOINT s; INSERT INTO t VALUES (2, 'gone'); ROLLBACK TO s;"+
			"INSERT INTO t VALUES (3, 'prepared'); PREPARE TRANSACTION 'kept'",
			"BEGIN; INSERT INTO t VALUES (4, 'never'); PREPARE TRANSACTION 'dropped'",
			"INSERT INTO t VALUES (5, 'plain')")
		at = captureExactly(t, src, at, `"id":5,`)
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, url, "ROLLBACK PREPARED 'dropped'", "INSERT INTO t VALUES (6, 'between')")
		at = captureExactly(t, src, at, `"id":6,`)
		pgtest.Exec(t, url, "INSERT INTO t VALUES (7, 'before')", "COMMIT PREPARED 'kept'", "INSERT INTO t VALUES (8, 'after')")
		captureExactly(t, src, at, `"id":7,`, `"id":1,`, `"id":3,`, `"id":8,`)
	})
}

// captureExactly captures what is committed now in a session of its own, which
// must be one event for each part of one, and returns where the next begins.
func captureExactly(t *testing.T, src *Source, from entrain.Position, want ...string) entrain.Position {
	t.Helper()
	got := captureNow(t, src, from)
	same := len(got.lines) == len(want)
	for i := 0; same && i < len(want); i++ {
		same = strings.Contains(got.lines[i], want[i])
	}
	if !same {
		t.Fatalf("captured %q, want events with %q", got.lines, want)
	}
	return got.last(t)
}
