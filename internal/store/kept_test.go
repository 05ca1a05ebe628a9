package store_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

// values is a stream's small values in memory.
type values struct {
	all  map[string][]byte
	fail error
}

func (v *values) LoadValues(context.Context) (map[string][]byte, error) {
	return maps.Clone(v.all), v.fail
}

func (v *values) SaveValues(_ context.Context, some map[string][]byte) error {
	if v.fail == nil {
		maps.Copy(v.all, some)
	}
	return v.fail
}

// TestKept: another process finds in the stream what one has saved there.
func TestKept(t *testing.T) {
	ctx := t.Context()
	v := &values{all: map[string][]byte{}}
	at := pipeline.Checkpoint{Position: entrain.Position{Incarnation: "i", Offset: "7"}, Mark: []byte("m")}
	ledger := pipeline.Ledger{Incarnation: "i", From: at.Position, Tables: []pipeline.CopiedTable{{Schema: "s", Name: "t", Version: 3}}}
	lives := []pipeline.TableLife{{Schema: "s", Name: "u", State: pipeline.TablePaused}}
	shapes := []pipeline.SchemaHistory{
		{Schema: "a", Name: "t", Shapes: []pipeline.Shape{{Columns: entraintest.StandardTable().Columns}}}, {Schema: "b", Name: "t"},
	}
	k := store.In(v)
	if err := errors.Join(k.SaveLedger(ctx, ledger, &at), k.SaveTables(ctx, lives, nil), k.SaveSchemas(ctx, shapes[:1]), k.SaveSchemas(ctx, shapes[1:])); err != nil {
		t.Fatal(err)
	}
	other := store.In(v)
	gotAt, err1 := other.Load(ctx)
	gotLedger, err2 := other.LoadLedger(ctx)
	gotLives, err3 := other.LoadTables(ctx)
	gotShapes, err4 := other.LoadSchemas(ctx)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{at, ledger, lives, shapes}, []any{gotAt, gotLedger, gotLives, gotShapes}); diff != "" {
		t.Error(diff)
	}
}

// TestKeptFailures: what the stream refuses is an error, and what was never saved
// is nothing.
func TestKeptFailures(t *testing.T) {
	ctx := t.Context()
	v := &values{all: map[string][]byte{}}
	k := store.In(v)
	if c, err := k.Load(ctx); err != nil || !c.Position.IsZero() {
		t.Errorf("an empty stream has the checkpoint %v, %v", c, err)
	}
	v.all["ledger"] = []byte("{")
	if _, err := k.LoadLedger(ctx); err == nil {
		t.Error("a torn ledger was taken")
	}
	v.fail = errors.New("fenced")
	if err := k.Save(ctx, pipeline.Checkpoint{}); !errors.Is(err, v.fail) {
		t.Errorf("save: %v", err)
	}
	if _, err := k.LoadSchemas(ctx); !errors.Is(err, v.fail) {
		t.Errorf("load: %v", err)
	}
}
