package postgres

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSourceTeardown: what the source left at its server is listed with SQL that does
// the same by hand, removed in order, and removing it twice is no error. A
// publication that was not made here stays (P7).
func TestSourceTeardown(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 {
			t.Fatalf("before anything was made: %v, %v", got, err)
		}
		createSlot(t, src)
		removals, err := src.Teardown(t.Context())
		if err != nil || len(removals) != 2 || !strings.Contains(removals[0].What, src.cfg.Slot) || !strings.Contains(removals[1].What, `"pub"`) {
			t.Fatalf("removals %+v, %v", removals, err)
		}
		for range 2 {
			for _, r := range removals {
				if err := r.Do(t.Context()); err != nil {
					t.Errorf("%s: %v", r.What, err)
				}
			}
		}
		if got, err := src.Teardown(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("after all was removed: %v, %v", got, err)
		}
		createSlot(t, src)
		cfg := src.cfg
		cfg.Create = false
		if removals, err = mustSource(t, cfg).Teardown(t.Context()); err != nil || len(removals) != 1 {
			t.Errorf("without create: %+v, %v", removals, err)
		}
		pgtest.Exec(t, url, removals[0].SQL)
		if n := pgtest.QueryOne(t, url, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+cfg.Slot+"'"); n != "0" {
			t.Errorf("%s left the slot", removals[0].SQL)
		}
	})
}
