package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/entrainsync/entrain/pipeline"
)

// Peek returns what the state of a pipeline below dir says, without taking or
// making anything; what it says is zero if there is none. A state that a process
// has open is an error, as is one that is damaged.
func Peek(dir, name string) (l pipeline.Ledger, c pipeline.Checkpoint, err error) {
	_, err = peek(dir, name, func(tx *bbolt.Tx) (err error) {
		b := tx.Bucket(bucketName)
		if b == nil {
			return nil
		}
		if c, err = readCheckpoint(b); err != nil {
			return err
		}
		l, err = readLedger(b)
		return err
	})
	return l, c, err
}

// PeekSchemas is [Peek] for the histories of the shapes of tables. found is false
// if there is no state.
func PeekSchemas(dir, name string) (all []pipeline.SchemaHistory, found bool, err error) {
	found, err = peek(dir, name, func(tx *bbolt.Tx) (err error) {
		all, err = readSchemas(tx)
		return err
	})
	return all, found, err
}

// PeekTables is [Peek] for what is remembered of single tables; none if there is no
// state.
func PeekTables(dir, name string) (lives []pipeline.TableLife, err error) {
	_, err = peek(dir, name, func(tx *bbolt.Tx) (err error) {
		lives, err = readTables(tx.Bucket(bucketName))
		return err
	})
	return lives, err
}

// peek reads from a state, if there is one.
func peek(dir, name string, read func(*bbolt.Tx) error) (found bool, err error) {
	path := filepath.Join(Folder(dir, name), fileName)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err := verifyFile(path); err != nil {
		return true, fmt.Errorf("look into state file %s: %w", path, err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Millisecond})
	if err != nil {
		return true, fmt.Errorf("look into state file %s: %w", path, err)
	}
	return true, errors.Join(db.View(read), db.Close())
}
