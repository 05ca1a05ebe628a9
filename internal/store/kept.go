package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// Kept is the state of a capture that is kept in the stream which it feeds,
// whatever machine it runs on. It is what [Store] is for the engine; its methods
// may be called from several goroutines.
type Kept struct {
	keeper stream.Keeper

	mu    sync.Mutex     // held while something large is saved
	turns map[string]int // which of the two sets of pieces a large value is in
}

// In returns the state that is kept in the stream.
func In(k stream.Keeper) *Kept { return &Kept{keeper: k, turns: map[string]int{}} }

var (
	_ pipeline.Store       = (*Kept)(nil)
	_ pipeline.LedgerStore = (*Kept)(nil)
	_ pipeline.TableStore  = (*Kept)(nil)
	_ pipeline.SchemaStore = (*Kept)(nil)
	_ entrain.Notes        = (*Kept)(nil)
)

// What the keys of the histories of shapes begin with, and those of the source's
// notes.
const (
	keptSchema = "schema/"
	keptNote   = "note/"
)

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
		if !strings.HasPrefix(key, keptSchema) || strings.Contains(key, pieceMark) {
			continue
		}
		var h pipeline.SchemaHistory
		text, err := k.whole(values, key, text)
		if err == nil {
			err = json.Unmarshal(text, &h)
		}
		if err != nil {
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

// LoadNote implements [entrain.Notes].
func (k *Kept) LoadNote(ctx context.Context, name string) (text string, err error) {
	err = k.load(ctx, keptNote+name, &text)
	return text, err
}

// SaveNote implements [entrain.Notes]. A text that is removed stays as an empty one.
func (k *Kept) SaveNote(ctx context.Context, name, text string) error {
	return k.save(ctx, map[string]any{keptNote + name: text})
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
		var text []byte
		if text, err = k.whole(values, key, values[key]); err == nil {
			err = json.Unmarshal(text, into)
		}
	}
	if err != nil {
		return fmt.Errorf("load the %s from the stream: %w", key, err)
	}
	return nil
}

func (k *Kept) save(ctx context.Context, values map[string]any) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	texts := make(map[string][]byte, len(values))
	for key, v := range values {
		text, err := json.Marshal(v)
		if err == nil && len(text) > pieceBytes {
			text, err = k.savePieces(ctx, key, text)
		}
		if err != nil {
			clear(k.turns) // pieces of another value may have been saved, which nothing leads to
			return err
		}
		texts[key] = text
	}
	if err := k.keeper.SaveValues(ctx, texts); err != nil {
		clear(k.turns) // which set counts is to be read again
		return fmt.Errorf("save state in the stream: %w", err)
	}
	return nil
}

const (
	// pieceBytes is the size from which on a value is divided: brokers and servers
	// take messages of about a megabyte, and what is kept of ten thousands of tables
	// is larger.
	pieceBytes = 512 << 10
	// pieceMark is in the keys of pieces, and in no others.
	pieceMark = "\x01"
	// indexMark begins a value that tells where the pieces of the real one are; it
	// cannot begin JSON.
	indexMark = '\x01'
)

// index is such a value.
type index struct {
	Turn   int `json:"turn"`
	Pieces int `json:"pieces"`
	Bytes  int `json:"bytes"`
}

func pieceKey(key string, turn, piece int) string {
	return fmt.Sprintf("%s%s%d/%d", key, pieceMark, turn, piece)
}

// savePieces saves a large value in pieces and returns the value that tells where
// they are, which makes them count. There are two sets of pieces, so that the old
// ones are there until then. mu is held.
func (k *Kept) savePieces(ctx context.Context, key string, text []byte) ([]byte, error) {
	if _, known := k.turns[key]; !known {
		values, err := k.keeper.LoadValues(ctx)
		if err != nil {
			return nil, err
		}
		at, _, err := indexOf(values[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		k.turns[key] = at.Turn
	}
	x := index{Turn: 1 - k.turns[key], Bytes: len(text)}
	pieces := map[string][]byte{}
	for rest := text; len(rest) > 0; x.Pieces++ {
		n := min(len(rest), pieceBytes)
		pieces[pieceKey(key, x.Turn, x.Pieces)] = rest[:n]
		rest = rest[n:]
	}
	if err := k.keeper.SaveValues(ctx, pieces); err != nil {
		return nil, fmt.Errorf("save state in the stream: %w", err)
	}
	k.turns[key] = x.Turn
	where, err := json.Marshal(x)
	return append([]byte{indexMark}, where...), err
}

// indexOf reads a value that tells where pieces are; false for one that is whole.
func indexOf(value []byte) (x index, divided bool, err error) {
	if len(value) == 0 || value[0] != indexMark {
		return index{}, false, nil
	}
	err = json.Unmarshal(value[1:], &x)
	return x, true, err
}

// whole puts a value together.
func (k *Kept) whole(values map[string][]byte, key string, value []byte) ([]byte, error) {
	x, divided, err := indexOf(value)
	if !divided || err != nil {
		return value, err
	}
	var text []byte
	for i := range x.Pieces {
		text = append(text, values[pieceKey(key, x.Turn, i)]...)
	}
	if len(text) != x.Bytes {
		return nil, fmt.Errorf("%d of %d bytes are there", len(text), x.Bytes)
	}
	return text, nil
}
