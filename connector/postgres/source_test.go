package postgres

import (
	"log/slog"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
)

// TestSourceCan: whichever way a source is made, it can all that the door says.
func TestSourceCan(t *testing.T) {
	made, err := NewSource(SourceConfig{URL: "postgres://u@127.0.0.1/x"})
	if err != nil {
		t.Fatal(err)
	}
	built, err := Spec().Source(connector.Env{Pipeline: "p", Log: slog.New(slog.DiscardHandler)}, func(into any) error {
		into.(*SourceConfig).URL = "postgres://u@127.0.0.1/x"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	bounded, err := made.Until("now")
	if err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string]entrain.Source{"made": made, "built": built, "bounded": bounded} {
		_, snapshots := src.(entrain.Snapshotter)
		_, ends := src.(entrain.Bounder)
		_, guards := src.(entrain.Guarder)
		_, checks := src.(entrain.Checker)
		_, leaves := src.(entrain.Teardowner)
		_, chunks := src.(entrain.Chunker)
		_, adds := src.(entrain.TableAdder)
		if !chunks || !adds {
			t.Errorf("%s: chunks %t, adds %t", name, chunks, adds)
		}
		if !snapshots || !ends || !guards || !checks || !leaves {
			t.Errorf("%s: %t %t %t %t %t", name, snapshots, ends, guards, checks, leaves)
		}
	}
	if _, err := made.Until("soon"); err == nil {
		t.Error("an end that cannot be read was taken")
	}
	if _, err := NewSource(SourceConfig{}); err == nil {
		t.Error("a source without a URL was made")
	}
}
