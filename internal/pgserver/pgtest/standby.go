package pgtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// StandbySlot is the physical slot by which a [Standby] follows, for the
// primary's synchronized_standby_slots.
const StandbySlot = "phys"

// Standby starts a standby of the server, for this test alone: it follows by a
// slot of its own and reports what it needs. The primary is restarted for it.
func Standby(t testing.TB, primary *pgserver.Server, settings map[string]string) *pgserver.Server {
	t.Helper()
	Exec(t, primary.URL("postgres"), "SELECT pg_create_physical_replication_slot('"+StandbySlot+"', true)")
	if err := primary.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := CopyData(t, primary)
	slots, err := filepath.Glob(filepath.Join(dir, "data", "pg_replslot", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		if err := os.RemoveAll(slot); err != nil {
			t.Fatal(err)
		}
	}
	if err := primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{
		"primary_conninfo":            fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres", primary.Port()),
		"primary_slot_name":           StandbySlot,
		"hot_standby_feedback":        "on",
		"wal_retrieve_retry_interval": "100ms",
	}
	maps.Copy(all, settings)
	return StartConfig(t, pgserver.Config{Install: primary.Install(), Dir: dir, Settings: all})
}

// CopyData copies the data of a stopped server, its slots included, into a
// folder for [StartConfig], which is removed when the test ends. A server
// started there is a standby.
func CopyData(t testing.TB, srv *pgserver.Server) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "entrain-standby-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data := filepath.Join(dir, "data")
	steps := []error{
		os.Chmod(dir, 0o755),
		os.CopyFS(data, os.DirFS(filepath.Join(srv.Dir(), "data"))),
		os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644),
	}
	for _, err := range steps {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Promote makes a standby a primary.
func Promote(t testing.TB, standby *pgserver.Server) {
	t.Helper()
	if got := QueryOne(t, standby.URL("postgres"), "SELECT pg_promote()"); got != "t" {
		t.Fatalf("pg_promote: %s", got)
	}
}
