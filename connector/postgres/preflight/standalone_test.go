package preflight_test

import (
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestStandalone: a run that only copies needs neither a slot of its own nor a
// publication that it may make, and does not care about what changes need; what
// the copy needs is still looked for.
func TestStandalone(t *testing.T) {
	srv := pgtest.Start(t, pgtest.Majors(t)[0], map[string]string{"max_replication_slots": "1", "max_slot_wal_keep_size": "-1"})
	l := newLab(t, srv, pgtest.Majors(t)[0])
	l.copies = true
	l.file.Source.Create = false
	l.asKeeper(l.source, "DROP PUBLICATION pub", "ALTER TABLE "+oddTable+" REPLICA IDENTITY NOTHING")
	codes := []string{"free_slots", "slot_missing", "slot_retention", "publication_missing", "replica_identity_nothing"}
	for _, code := range codes {
		if len(l.findings(code)) != 1 {
			t.Errorf("%s is not found for a run that goes on", code)
		}
	}
	l.file.Source.Standalone = true
	source, target := l.check()
	for _, f := range append(source.Findings, target.Findings...) {
		if f.Status != entrain.FindingOK {
			t.Errorf("found %+v", f)
		}
	}
	if len(source.Copies) != 1 {
		t.Errorf("copies %+v", source.Copies)
	}
	l.asKeeper(l.source, "REVOKE SELECT ON "+oddTable+" FROM "+l.q(l.capture))
	pgtest.Exec(t, l.source, "SELECT pg_create_logical_replication_slot('other', 'pgoutput')")
	l.file.Source.Publications = []string{"missing"}
	for _, code := range []string{"select_right", "free_slots", "publication_missing"} {
		if found := l.findings(code); len(found) != 1 || found[0].Status != fails {
			t.Errorf("%s: found %+v", code, found)
		}
	}
	if source, _ := l.check(); slices.ContainsFunc(source.Findings, func(f entrain.Finding) bool { return f.Code == "slot_missing" }) {
		t.Error("a slot of its own is looked for")
	}
}
