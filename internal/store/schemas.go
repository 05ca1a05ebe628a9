package store

import (
	"context"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/entrainsync/entrain/pipeline"
)

// schemasName is the bucket of the histories of shapes, a value a table; it is
// not there until the first is saved.
var schemasName = []byte("schemas")

// LoadSchemas returns the histories of the shapes of all tables.
func (s *Store) LoadSchemas(ctx context.Context) ([]pipeline.SchemaHistory, error) {
	var all []pipeline.SchemaHistory
	err := ctx.Err()
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) (err error) {
			all, err = readSchemas(tx)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("load the shapes of tables from %s: %w", s.path(), err)
	}
	return all, nil
}

// SaveSchemas writes the histories of some tables and returns when they are
// synced; see [Store.Save] for full disks.
func (s *Store) SaveSchemas(ctx context.Context, tables []pipeline.SchemaHistory) error {
	err := ctx.Err()
	if err == nil {
		err = s.db.Update(func(tx *bbolt.Tx) error { return putSchemas(tx, tables) })
	}
	if err == nil {
		return nil
	}
	return fullDisk(fmt.Errorf("save the shapes of %d tables to %s: %w", len(tables), s.path(), err))
}

func putSchemas(tx *bbolt.Tx, tables []pipeline.SchemaHistory) error {
	b, err := tx.CreateBucketIfNotExists(schemasName)
	if err != nil {
		return err
	}
	for i := range tables {
		text, err := json.Marshal(&tables[i])
		if err == nil {
			err = put(b, []byte(tables[i].Schema+"\x00"+tables[i].Name), text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readSchemas(tx *bbolt.Tx) (all []pipeline.SchemaHistory, err error) {
	b := tx.Bucket(schemasName)
	if b == nil {
		return nil, nil
	}
	err = b.ForEach(func(key, _ []byte) error {
		var h pipeline.SchemaHistory
		text, err := get(b, key)
		if err == nil {
			err = json.Unmarshal(text, &h)
		}
		all = append(all, h)
		return err
	})
	return all, err
}
