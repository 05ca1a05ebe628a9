package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Held is the lock on a pipeline's state without the state: nobody runs the
// pipeline meanwhile. It is for one goroutine.
type Held struct {
	folder   string
	pipeline string
	lock     *os.File // nil if there is no state
}

// Hold locks the state of a pipeline below dir, which need not be there. A
// state that another process has open is an [*entrain.Stop] with code
// state_locked; damage does not matter.
func Hold(dir, pipeline string) (*Held, error) {
	h := &Held{folder: Folder(dir, pipeline), pipeline: pipeline}
	if _, err := os.Stat(h.folder); errors.Is(err, os.ErrNotExist) {
		return h, nil
	}
	lock, err := takeLock(h.folder, pipeline)
	if err != nil {
		return nil, err
	}
	h.lock = lock
	return h, nil
}

// Exists reports whether there is anything to remove.
func (h *Held) Exists() bool { return h.lock != nil }

// Folder returns the folder that belongs to the pipeline.
func (h *Held) Folder() string { return h.folder }

// Remove deletes the state and, if nothing else is in it, its folder. A state
// that is not there is no error.
func (h *Held) Remove() error {
	if !h.Exists() {
		return nil
	}
	for _, name := range []string{fileName, newFileName, lockName} {
		if err := os.Remove(filepath.Join(h.folder, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove state of pipeline %s: %w", h.pipeline, err)
		}
	}
	if err := os.Remove(h.folder); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("remove state folder of pipeline %s: %w", h.pipeline, err)
	}
	return nil
}

// Close gives the lock up. It may be called twice.
func (h *Held) Close() error {
	if h.lock == nil {
		return nil
	}
	f := h.lock
	h.lock = nil
	return f.Close()
}
