// Package store keeps a pipeline's checkpoints in one bbolt file,
// <dir>/<pipeline>/state.db, beside a lock that keeps a second process out. A
// file that is torn, changed, of another pipeline or of a newer program is
// refused by a named stop; it is never read halfway (P5).
package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// format is the version of what the file holds. Programs of all versions keep
// keyFormat readable.
const format = 1

const (
	fileName    = "state.db"
	newFileName = "state.db.new"
	lockName    = "lock"
	// lockPatience is how long a lock that is just being given up is waited
	// for.
	lockPatience = 500 * time.Millisecond
	// crcSize is what seal adds to a value.
	crcSize = 4
)

var (
	bucketName    = []byte("entrain")
	keyFormat     = []byte("format")
	keyPipeline   = []byte("pipeline")
	keyCheckpoint = []byte("checkpoint")
	keyLedger     = []byte("ledger") // not there until rows were copied
	keyTables     = []byte("tables") // not there until a table was ordered about

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Store implements [pipeline.Store], [pipeline.LedgerStore],
// [pipeline.TableStore] and [pipeline.SchemaStore]. Its methods may be called from
// several goroutines; Close may be called twice.
type Store struct {
	folder string
	lock   *os.File
	db     *bbolt.DB
	once   sync.Once
	err    error // of closing
}

var (
	_ pipeline.Store       = (*Store)(nil)
	_ pipeline.LedgerStore = (*Store)(nil)
	_ pipeline.TableStore  = (*Store)(nil)
	_ pipeline.SchemaStore = (*Store)(nil)
)

// Folder returns the folder in dir that belongs to the pipeline.
func Folder(dir, pipeline string) string { return filepath.Join(dir, pipeline) }

// Open locks and opens the state of a pipeline below dir, which it makes if it
// is missing. A state that another process has open (code state_locked), that
// is damaged (state_corrupt), of another pipeline (state_foreign) or of a newer
// program (state_version) is an [*entrain.Stop].
func Open(dir, pipeline string) (*Store, error) {
	s := &Store{folder: Folder(dir, pipeline)}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the state folder of pipeline %s: %w", pipeline, err)
	}
	lock, err := takeLock(s.folder, pipeline)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.open(pipeline); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) open(name string) error {
	path := s.path()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := create(s.folder, name); err != nil {
			return fmt.Errorf("create state file %s: %w", path, err)
		}
	}
	if err := verifyFile(path); err != nil {
		return corrupt(path, name, err)
	}
	db, err := openDB(path)
	if err != nil {
		return fmt.Errorf("open state file %s: %w", path, err)
	}
	s.db = db
	return s.check(name)
}

func (s *Store) path() string { return filepath.Join(s.folder, fileName) }

// Folder returns the folder that the lock is held on.
func (s *Store) Folder() string { return s.folder }

func openDB(path string) (*bbolt.DB, error) {
	return bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockPatience, FreelistType: bbolt.FreelistArrayType})
}

// create writes a complete first state and then gives it its name, so that a
// file of that name is never half made.
func create(folder, name string) error {
	path := filepath.Join(folder, newFileName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := openDB(path)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bucketName)
		if err != nil {
			return err
		}
		empty, _ := json.Marshal(pipeline.Checkpoint{})
		return errors.Join(put(b, keyFormat, []byte(strconv.Itoa(format))),
			put(b, keyPipeline, []byte(name)), put(b, keyCheckpoint, empty))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(folder, fileName)); err != nil {
		return err
	}
	return SyncFolder(folder)
}

// check reads everything the file holds.
func (s *Store) check(name string) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketName)
		version, err := get(b, keyFormat)
		if err != nil {
			return corrupt(s.path(), name, err)
		}
		if string(version) != strconv.Itoa(format) {
			return tooNew(s.path(), string(version))
		}
		owner, err := get(b, keyPipeline)
		if err != nil {
			return corrupt(s.path(), name, err)
		}
		if string(owner) != name {
			return foreign(s.path(), name, string(owner))
		}
		if _, err := readCheckpoint(b); err != nil {
			return corrupt(s.path(), name, err)
		}
		if _, err := readLedger(b); err != nil {
			return corrupt(s.path(), name, err)
		}
		if _, err := readTables(b); err != nil {
			return corrupt(s.path(), name, err)
		}
		if _, err := readSchemas(tx); err != nil {
			return corrupt(s.path(), name, err)
		}
		return nil
	})
}

// Load returns the last saved checkpoint.
func (s *Store) Load(ctx context.Context) (pipeline.Checkpoint, error) {
	var c pipeline.Checkpoint
	err := ctx.Err()
	if err == nil {
		err = s.db.View(func(tx *bbolt.Tx) (err error) {
			c, err = readCheckpoint(tx.Bucket(bucketName))
			return err
		})
	}
	if err != nil {
		return pipeline.Checkpoint{}, fmt.Errorf("load state from %s: %w", s.path(), err)
	}
	return c, nil
}

func readCheckpoint(b *bbolt.Bucket) (c pipeline.Checkpoint, err error) {
	text, err := get(b, keyCheckpoint)
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	return c, err
}

// Save writes c and returns when it is synced. A full disk is retryable: the
// state is then what it was before.
func (s *Store) Save(ctx context.Context, c pipeline.Checkpoint) error {
	text, err := json.Marshal(c)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.db.Update(func(tx *bbolt.Tx) error {
			return put(tx.Bucket(bucketName), keyCheckpoint, text)
		})
	}
	return s.saveError(c, err)
}

func (s *Store) saveError(c pipeline.Checkpoint, err error) error {
	if err == nil {
		return nil
	}
	return fullDisk(fmt.Errorf("save position %s to %s: %w", c.Position, s.path(), err))
}

// fullDisk marks the error of a full disk as retryable.
func fullDisk(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return entrain.Retryable(err)
	}
	return err
}

// Close gives the file and the lock up.
func (s *Store) Close() error {
	s.once.Do(func() {
		if s.db != nil {
			s.err = s.db.Close()
		}
		s.err = errors.Join(s.err, s.lock.Close())
	})
	return s.err
}

// put stores a value behind a checksum of it and of its key.
func put(b *bbolt.Bucket, key, value []byte) error {
	return b.Put(key, append(checksum(key, value), value...))
}

// get returns a value that put stored, a slice of the file.
func get(b *bbolt.Bucket, key []byte) ([]byte, error) {
	if b == nil {
		return nil, fmt.Errorf("bucket %s is missing", bucketName)
	}
	sealed := b.Get(key)
	if len(sealed) < crcSize {
		return nil, fmt.Errorf("value %s is missing", key)
	}
	value := sealed[crcSize:]
	if string(sealed[:crcSize]) != string(checksum(key, value)) {
		return nil, fmt.Errorf("value %s fails its checksum", key)
	}
	return value, nil
}

func checksum(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.LittleEndian.AppendUint32(nil, sum)
}
