package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/entrainsync/entrain/pipeline"
)

// LoadLedger returns what is remembered of the copying of existing rows.
func (s *Store) LoadLedger(ctx context.Context) (pipeline.Ledger, error) {
	var l pipeline.Ledger
	err := ctx.Err()
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) (err error) {
			l, err = readLedger(tx.Bucket(bucketName))
			return err
		})
	}
	if err != nil {
		return pipeline.Ledger{}, fmt.Errorf("load the ledger from %s: %w", s.path(), err)
	}
	return l, nil
}

// SaveLedger writes the ledger, and c with it if it is not nil, and returns when
// both are synced; see [Store.Save] for full disks.
func (s *Store) SaveLedger(ctx context.Context, l pipeline.Ledger, c *pipeline.Checkpoint) error {
	values := map[string]any{string(keyLedger): l}
	at := pipeline.Checkpoint{Position: l.From}
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

func putJSON(b *bbolt.Bucket, values map[string]any) error {
	var errs []error
	for key, v := range values {
		text, err := json.Marshal(v)
		if err == nil {
			err = put(b, []byte(key), text)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func readLedger(b *bbolt.Bucket) (l pipeline.Ledger, err error) {
	if b == nil || b.Get(keyLedger) == nil {
		return l, nil
	}
	text, err := get(b, keyLedger)
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	return l, err
}
