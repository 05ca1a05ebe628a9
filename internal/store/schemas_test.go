package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// TestSchemas: histories of tables survive, each for itself, and can be looked at
// while nobody has the state open; a changed one is damage.
func TestSchemas(t *testing.T) {
	dir := t.TempDir()
	if all, found, err := PeekSchemas(dir, "p"); all != nil || found || err != nil {
		t.Fatalf("of nothing: %v, %v, %v", all, found, err)
	}
	s := open(t, dir, "p")
	if all, err := s.LoadSchemas(t.Context()); len(all) > 0 || err != nil {
		t.Fatalf("of a new state: %v, %v", all, err)
	}
	fill := "x"
	a := pipeline.SchemaHistory{Schema: "s", Name: "a", Shapes: []pipeline.Shape{{
		Begins: pipeline.Place{Incarnation: "i", Version: 1<<64 - 1, Ordinal: 2}, Time: time.UnixMicro(5).UTC(), Known: true, Fingerprint: 1<<64 - 1,
		Columns: []entrain.Column{{Name: "id", Type: "int8", Modifier: -1, Kind: entrain.Integer, Key: true}},
		DDL:     []entrain.DDL{{Tag: "ALTER TABLE", ID: 7, Columns: []entrain.ColumnFacts{{ID: 1, Name: "id", Fill: &fill}}}},
	}}, Told: []pipeline.ToldDDL{{DDL: entrain.DDL{Tag: "DROP TABLE"}}}}
	b := pipeline.SchemaHistory{Schema: "s", Name: "b"}
	for _, some := range [][]pipeline.SchemaHistory{{{Schema: "s", Name: "a"}, b}, {a}} {
		if err := s.SaveSchemas(t.Context(), some); err != nil {
			t.Fatal(err)
		}
	}
	want := []pipeline.SchemaHistory{a, b}
	all, err := s.LoadSchemas(t.Context())
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, _, err := PeekSchemas(dir, "p"); err == nil {
		t.Error("looked into a state that is open")
	}
	s.Close()
	all, found, err := PeekSchemas(dir, "p")
	if diff := cmp.Diff(want, all); err != nil || !found || diff != "" {
		t.Errorf("%v, %v\n%s", found, err, diff)
	}
	again := open(t, dir, "p")
	all, err = again.LoadSchemas(t.Context())
	if diff := cmp.Diff(want, all); err != nil || diff != "" {
		t.Errorf("opened again: %v\n%s", err, diff)
	}
}
