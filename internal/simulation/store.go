package simulation

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// store is what is remembered of one sink beside it.
type store struct {
	at     pipeline.Checkpoint
	before pipeline.Checkpoint // of a store with a planted bug: what a crash leaves
	later  bool                // at is not durable
	keys   map[string]string
}

// storeEnd is a [pipeline.Store] as one process sees it.
type storeEnd struct {
	p *process
	t *target
}

// Load implements [pipeline.Store].
func (s *storeEnd) Load(ctx context.Context) (c pipeline.Checkpoint, err error) {
	err = s.p.do(ctx, &operation{key: s.t.name + " load", act: func() error { c = s.t.store.at; return nil }})
	return c, err
}

// Save implements [pipeline.Store]: after a crash there is this checkpoint or the one
// before.
func (s *storeEnd) Save(ctx context.Context, c pipeline.Checkpoint) error {
	t := s.t
	return s.p.do(ctx, &operation{key: t.name + " save", act: func() error {
		n, known := t.eventsAt(c.Position)
		if !known || n > t.next {
			t.w.violate("P7", "position %q is saved, behind %d events, and sink %s has %d", c.Position, n, t.name, t.next)
		}
		if !t.store.later {
			t.store.before = t.store.at
		}
		t.store.at = c
		t.store.later = t.w.cfg.Plant == PlantSaveLater && t.w.rng.IntN(4) == 0
		if t.kind != kindPosition {
			t.saved = n
		}
		return nil
	}})
}

// keysEnd is an [entrain.KeyStore] as one process sees it.
type keysEnd struct {
	p *process
	t *target
}

// Values implements [entrain.KeyStore].
func (k *keysEnd) Values(ctx context.Context, keys []string) ([]string, error) {
	values := make([]string, len(keys))
	err := k.p.do(ctx, &operation{key: k.t.name + " ask keys", act: func() error {
		for i, key := range keys {
			values[i] = k.t.store.keys[key]
		}
		return nil
	}})
	return values, err
}

// Keep implements [entrain.KeyStore].
func (k *keysEnd) Keep(ctx context.Context, keys, values []string) error {
	t := k.t
	keep := func(n int) {
		for i := range n {
			if t.w.cfg.Plant != PlantForgetKeys || t.w.rng.IntN(20) > 0 {
				t.store.keys[keys[i]] = values[i]
			}
			t.keep(keys[i])
		}
	}
	return k.p.do(ctx, &operation{
		key:  t.name + " keep keys",
		act:  func() error { keep(len(keys)); return nil },
		part: func() { keep(t.w.rng.IntN(len(keys))) },
	})
}

// keep notes that an event's key is set, and judges whether it may be.
func (t *target) keep(key string) {
	i, err := t.w.history.named(key)
	if err != nil {
		panic(fmt.Sprintf("simulation: key %q: %v", key, err)) // the pattern is ours
	}
	if i >= t.next {
		t.w.violate("P1", "the key of event %d is set, which sink %s does not have", i, t.name)
	}
	t.kept[i] = true
}

// interface checks.
var (
	_ pipeline.Store     = (*storeEnd)(nil)
	_ entrain.KeyStore   = (*keysEnd)(nil)
	_ entrain.Positioner = (*positionWriter)(nil)
	_ entrain.Marker     = (*markWriter)(nil)
	_ entrain.Recaller   = (*recallWriter)(nil)
)
