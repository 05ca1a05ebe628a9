package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// Kept is the state of a capture that is kept in the stream which it feeds,
// whatever machine it runs on. It is what [Store] is for the engine; its methods
// may be called from several goroutines.
type Kept struct{ keeper stream.Keeper }

// In returns the state that is kept in the stream.
func In(k stream.Keeper) *Kept { return &Kept{k} }

var (
	_ pipeline.Store       = (*Kept)(nil)
	_ pipeline.LedgerStore = (*Kept)(nil)
	_ pipeline.TableStore  = (*Kept)(nil)
	_ pipeline.SchemaStore = (*Kept)(nil)
)

// keptSchema begins the keys of the histories of shapes.
const keptSchema = "schema/"

// Load implements [pipeline.Store].
func (k *Kept) Load(ctx context.Context) (c pipeline.Checkpoint, err error) {
	err = k.load(ctx, string(keyCheckpoint), &c)
	return c, err
}

// Save implements [pipeline.Store].
func (k *Kept) Save(ctx context.Context, c pipeline.Checkpoint) error {
	return k.save(ctx, map[string]any{string(keyCheckpoint): c})
}

// LoadLedger implements [pipeline.LedgerStore].
func (k *Kept) LoadLedger(ctx context.Context) (l pipeline.Ledger, err error) {
	err = k.load(ctx, string(keyLedger), &l)
	return l, err
}

// SaveLedger implements [pipeline.LedgerStore].
func (k *Kept) SaveLedger(ctx context.Context, l pipeline.Ledger, c *pipeline.Checkpoint) error {
	return k.save(ctx, with(c, string(keyLedger), l))
}

// LoadTables implements [pipeline.TableStore].
func (k *Kept) LoadTables(ctx context.Context) (lives []pipeline.TableLife, err error) {
	err = k.load(ctx, string(keyTables), &lives)
	return lives, err
}

// SaveTables implements [pipeline.TableStore].
func (k *Kept) SaveTables(ctx context.Context, lives []pipeline.TableLife, c *pipeline.Checkpoint) error {
	return k.save(ctx, with(c, string(keyTables), lives))
}

// LoadSchemas implements [pipeline.SchemaStore].
func (k *Kept) LoadSchemas(ctx context.Context) ([]pipeline.SchemaHistory, error) {
	values, err := k.keeper.LoadValues(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the shapes of tables from the stream: %w", err)
	}
	var all []pipeline.SchemaHistory
	for key, text := range values {
		if !strings.HasPrefix(key, keptSchema) {
			continue
		}
		var h pipeline.SchemaHistory
		if err := json.Unmarshal(text, &h); err != nil {
			return nil, fmt.Errorf("load %s from the stream: %w", key, err)
		}
		all = append(all, h)
	}
	pipeline.SortSchemas(all)
	return slices.Clip(all), nil
}

// SaveSchemas implements [pipeline.SchemaStore].
func (k *Kept) SaveSchemas(ctx context.Context, tables []pipeline.SchemaHistory) error {
	values := map[string]any{}
	for i := range tables {
		values[keptSchema+tables[i].Schema+"\x00"+tables[i].Name] = &tables[i]
	}
	return k.save(ctx, values)
}

// with is a value, and the checkpoint if there is one.
func with(c *pipeline.Checkpoint, key string, v any) map[string]any {
	values := map[string]any{key: v}
	if c != nil {
		values[string(keyCheckpoint)] = *c
	}
	return values
}

func (k *Kept) load(ctx context.Context, key string, into any) error {
	values, err := k.keeper.LoadValues(ctx)
	if err == nil && values[key] != nil {
		err = json.Unmarshal(values[key], into)
	}
	if err != nil {
		return fmt.Errorf("load the %s from the stream: %w", key, err)
	}
	return nil
}

func (k *Kept) save(ctx context.Context, values map[string]any) error {
	texts := make(map[string][]byte, len(values))
	for key, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		texts[key] = text
	}
	if err := k.keeper.SaveValues(ctx, texts); err != nil {
		return fmt.Errorf("save state in the stream: %w", err)
	}
	return nil
}
