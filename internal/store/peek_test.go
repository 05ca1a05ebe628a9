package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/entrainsync/entrain/pipeline"
)

// TestPeek: a look takes and makes nothing, and says what was saved last; it
// does not wait for a process that has the state open.
func TestPeek(t *testing.T) {
	dir := t.TempDir()
	l, c, err := Peek(dir, "p")
	if entries, _ := os.ReadDir(dir); err != nil || l.Complete || !c.Position.IsZero() || len(entries) > 0 {
		t.Fatalf("of nothing: %+v, %+v, %v, files %v", l, c, err, entries)
	}
	s := open(t, dir, "p")
	save(t, s, checkpoint(3))
	want := pipeline.Ledger{Complete: true, Tables: []pipeline.CopiedTable{{Schema: "s", Name: "t"}}}
	if err := s.SaveLedger(t.Context(), want, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Peek(dir, "p"); err == nil {
		t.Error("looked into a state that is open")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l, c, err = Peek(dir, "p")
	if err != nil || !l.Complete || len(l.Tables) != 1 || c.Position != checkpoint(3).Position {
		t.Errorf("%+v, %+v, %v", l, c, err)
	}
	open(t, dir, "p").Close() // nothing is held
	if err := os.WriteFile(filepath.Join(dir, "p", fileName), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Peek(dir, "p"); err == nil {
		t.Error("looked into nonsense")
	}
}
