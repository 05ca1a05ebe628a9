package pipeline_test

import (
	"context"
	"errors"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// slotted is a source that makes a slot when a snapshot is opened.
type slotted struct {
	*world
	slot    bool
	refuses error
	removed []string
}

func (s *slotted) Snapshot(ctx context.Context, r entrain.SnapshotRequest) (entrain.Snapshot, error) {
	if !s.slot {
		if err := r.Making(ctx, "slot"); err != nil {
			return nil, err
		}
		s.slot = true
	}
	return s.world.Snapshot(ctx, r)
}

func (s *slotted) Withdraw(_ context.Context, name, incarnation string) error {
	if s.refuses != nil {
		return s.refuses
	}
	s.slot, s.removed = false, append(s.removed, name+" of "+incarnation)
	return nil
}

// TestWithdrawnCopy: what a cancelled copy left at the source is removed before
// anything else, whatever the mode, and its tables count for nothing.
func TestWithdrawnCopy(t *testing.T) {
	for _, mode := range []pipeline.SnapshotMode{pipeline.SnapshotInitial, pipeline.SnapshotNever} {
		w := newWorld(0)
		w.budget = 0
		w.commit(12)
		source := &slotted{world: w, slot: true, refuses: errors.New("it is in use")}
		sink := &loaderSink{world: w, rows: map[string]entraintest.Rows{}, loads: map[string]bool{}, notes: map[string]string{}}
		table := w.tables[0]
		store := &ledgerStore{world: w, ledger: pipeline.Ledger{Made: "slot", Incarnation: "earlier", Withdrawn: true,
			Tables: []pipeline.CopiedTable{{Schema: table.Schema, Name: table.Name, Incarnation: "earlier", Version: 1}}}}
		o := pipeline.Options{Source: source, Sink: sink, Store: store, Snapshot: pipeline.Snapshot{Mode: mode}}
		if _, err := run(t, o); !errors.Is(err, source.refuses) || !store.ledger.Withdrawn {
			t.Fatalf("mode %d: %v, and the ledger is %+v", mode, err, store.ledger)
		}
		source.refuses = nil
		if mode == pipeline.SnapshotNever {
			continue // the sink lacks the rows that changes are about
		}
		if _, err := run(t, o); err != nil {
			t.Fatal(err)
		}
		if len(source.removed) != 1 || source.removed[0] != "slot of earlier" || !store.ledger.Complete || store.ledger.Made != "slot" {
			t.Errorf("removed %v, and the ledger is %+v", source.removed, store.ledger)
		}
		w.compare(t, 0, func(name string) entraintest.Rows { return sink.rows[name] })
	}
}
