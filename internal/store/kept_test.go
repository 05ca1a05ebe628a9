package store_test

import (
	stdcmp "cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	left int // calls of SaveValues that are made, unless negative
}

func (v *values) LoadValues(context.Context) (map[string][]byte, error) {
	return maps.Clone(v.all), v.fail
}

func (v *values) SaveValues(_ context.Context, some map[string][]byte) error {
	for key, text := range some {
		if len(text) > 1_000_000 { // as much as a broker takes
			return fmt.Errorf("%q has %d bytes", key, len(text))
		}
	}
	if v.fail == nil && v.left != 0 {
		v.left--
		maps.Copy(v.all, some)
		return nil
	}
	return stdcmp.Or(v.fail, errKilled)
}

var errKilled = errors.New("killed")

// TestKept: another process finds in the stream what one has saved there.
func TestKept(t *testing.T) {
	ctx := t.Context()
	v := &values{all: map[string][]byte{}, left: -1}
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

// TestKeptNotes: another process finds the source's notes; they are no shapes.
func TestKeptNotes(t *testing.T) {
	ctx := t.Context()
	v := &values{all: map[string][]byte{}, left: -1}
	k, other := store.In(v), store.In(v)
	for _, want := range []string{"", "a note", "", "another"} {
		if err := k.SaveNote(ctx, "n", want); err != nil {
			t.Fatal(err)
		}
		got, err := other.LoadNote(ctx, "n")
		if none, err2 := other.LoadNote(ctx, "m"); got != want || none != "" || errors.Join(err, err2) != nil {
			t.Errorf("%q, want %q, and %q: %v", got, want, none, errors.Join(err, err2))
		}
	}
	if shapes, err := other.LoadSchemas(ctx); len(shapes) > 0 || err != nil {
		t.Errorf("shapes: %v, %v", shapes, err)
	}
}

// TestKeptLargeTwice: where one of two large values could not be saved, saving the
// other again does not write over the pieces that count.
func TestKeptLargeTwice(t *testing.T) {
	ctx := t.Context()
	v := &values{all: map[string][]byte{}, left: -1}
	large := func(name string) pipeline.SchemaHistory {
		return pipeline.SchemaHistory{Schema: "s", Name: name, Shapes: []pipeline.Shape{{Columns: []entrain.Column{{Name: strings.Repeat("x", 600<<10)}}}}}
	}
	k := store.In(v)
	first := []pipeline.SchemaHistory{large("t"), large("u")}
	for range 8 { // the order of a map's keys differs
		if err := k.SaveSchemas(ctx, first); err != nil {
			t.Fatal(err)
		}
		v.left = 1 // one value's pieces
		if err := k.SaveSchemas(ctx, first); err == nil {
			t.Fatal("no failure")
		}
		v.left = 1 // pieces again, and the process dies
		if err := k.SaveSchemas(ctx, []pipeline.SchemaHistory{{Schema: "s", Name: "t", Shapes: append(large("t").Shapes, pipeline.Shape{})}}); err == nil {
			t.Fatal("no failure")
		}
		v.left = -1
		if got, err := store.In(v).LoadSchemas(ctx); err != nil || len(got) != 2 || len(got[0].Shapes)+len(got[1].Shapes) != 2 {
			t.Fatalf("%d shapes: %v", len(got), err)
		}
	}
}

// TestKeptLarge: what is kept of very many tables is larger than a message; it is
// whole at every moment, the old or the new one.
func TestKeptLarge(t *testing.T) {
	ctx := t.Context()
	v := &values{all: map[string][]byte{}, left: -1}
	lives := func(n int, state pipeline.TableState) (all []pipeline.TableLife) {
		for i := range n {
			all = append(all, pipeline.TableLife{Schema: "some_schema", Name: fmt.Sprintf("a_table_with_a_name_%d", i), State: state})
		}
		return all
	}
	sizes := []int{20_000, 3, 30_000, 25_000, 20_000}
	for turn, n := range sizes {
		k := store.In(v)
		if turn == 3 { // in the same process as the one before
			if err := k.SaveTables(ctx, lives(sizes[2], pipeline.TablePaused), nil); err != nil {
				t.Fatal(err)
			}
		}
		now := lives(n, pipeline.TablePaused)
		if turn > 0 {
			killAtEveryStep(t, v, k, now)
		}
		if err := k.SaveTables(ctx, now, nil); err != nil {
			t.Fatal(err)
		}
		got, err := store.In(v).LoadTables(ctx)
		if err != nil || !slices.EqualFunc(got, now, sameLife) {
			t.Fatalf("%d tables of %d came back: %v", len(got), n, err)
		}
	}
}

// killAtEveryStep saves until a kill: the old ones stay.
func killAtEveryStep(t *testing.T, v *values, k *store.Kept, now []pipeline.TableLife) {
	t.Helper()
	before, err := k.LoadTables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	steps := 2 // the pieces, and what makes them count
	if len(now) < 10 {
		steps = 1
	}
	for step := range steps {
		v.left = step
		if err := k.SaveTables(t.Context(), now, nil); !errors.Is(err, errKilled) {
			t.Fatalf("step %d: %v", step, err)
		}
		got, err := store.In(v).LoadTables(t.Context())
		if err != nil || !slices.EqualFunc(got, before, sameLife) {
			t.Fatalf("a kill at step %d leaves %d tables of %d (%v)", step, len(got), len(before), err)
		}
	}
	v.left = -1
}

func sameLife(a, b pipeline.TableLife) bool { return a.Name == b.Name && a.State == b.State }

// TestKeptFailures: what the stream refuses is an error, and what was never saved
// is nothing.
func TestKeptFailures(t *testing.T) {
	ctx := t.Context()
	v := &values{all: map[string][]byte{}, left: -1}
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
