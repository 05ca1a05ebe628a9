package store

import (
	"context"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/entrainsync/entrain/pipeline"
)

// LoadTables returns what is remembered of single tables.
func (s *Store) LoadTables(ctx context.Context) ([]pipeline.TableLife, error) {
	var lives []pipeline.TableLife
	err := ctx.Err()
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) (err error) {
			lives, err = readTables(tx.Bucket(bucketName))
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("load the states of tables from %s: %w", s.path(), err)
	}
	return lives, nil
}

// SaveTables writes the tables, and c with them if it is not nil, and returns when
// both are synced; see [Store.Save] for full disks.
func (s *Store) SaveTables(ctx context.Context, lives []pipeline.TableLife, c *pipeline.Checkpoint) error {
	values := map[string]any{string(keyTables): lives}
	var at pipeline.Checkpoint
	if c != nil {
		at = *c
		values[string(keyCheckpoint)] = at
	}
	err := ctx.Err()
	if err == nil {
		err = s.db.Update(func(tx *bbolt.Tx) error { return putJSON(tx.Bucket(bucketName), values) })
	}
	return s.saveError(at, err)
}

func readTables(b *bbolt.Bucket) (lives []pipeline.TableLife, err error) {
	if b == nil || b.Get(keyTables) == nil {
		return nil, nil
	}
	text, err := get(b, keyTables)
	if err == nil {
		err = json.Unmarshal(text, &lives)
	}
	return lives, err
}
