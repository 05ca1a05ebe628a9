package campaign

import (
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// The load must do what it is there for: every kind of change, on every table.
func TestLoadTouchesEverything(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	s := newSite(t, srv, srv)
	l := &load{url: s.source, seed: 1, writes: 2, bulk: 100 * time.Millisecond, rows: 100}
	l.start(t)
	wait(t.Context(), 2*window)
	l.stop()
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"chain": {"INSERT", "UPDATE", "DELETE"}, "chain_gone": {"INSERT", "DELETE"}, "chain_log": {"INSERT"},
		"journal": {"INSERT"}, "ledger_seq": {"UPDATE"}, "account_0": {"UPDATE"}, "account_4": {"UPDATE"},
		"moved": {"UPDATE"}, "bulk": {"INSERT", "UPDATE", "DELETE"}, "scratch": {"INSERT", "TRUNCATE"},
		"tick": {"INSERT", "UPDATE", "DELETE"}, "step": {"UPDATE"},
	}
	for table, ops := range want {
		for _, op := range ops {
			if h.counts[table][op] == 0 {
				t.Errorf("no %s of %s", op, table)
			}
		}
	}
	if len(h.numbered) == 0 || l.committed.Load() == 0 {
		t.Error("nothing was numbered or committed")
	}
	t.Logf("%d changes, %d transactions, %d failed: %v", h.changes, l.committed.Load(), l.failed.Load(), h.counts)
}
