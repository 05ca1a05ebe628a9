package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// takeLock locks the folder for this process until the file is closed or the
// process ends, however it ends. The file holds the owner's process id, for
// people.
func takeLock(folder, name string) (*os.File, error) {
	path := filepath.Join(folder, lockName)
	deadline := time.Now().Add(lockPatience)
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock of pipeline %s: %w", name, err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && stillNamed(f, path) {
			return f, note(f)
		}
		owner, _ := os.ReadFile(path)
		f.Close()
		switch {
		case err != nil && !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, fmt.Errorf("lock %s: %w", path, err)
		case time.Now().After(deadline):
			return nil, locked(folder, name, strings.TrimSpace(string(owner)))
		}
		<-time.After(lockPatience / 20)
	}
}

// stillNamed reports that the locked file is the one that others would lock:
// a Remove in between may have taken it away.
func stillNamed(f *os.File, path string) bool {
	mine, err1 := f.Stat()
	named, err2 := os.Stat(path)
	return err1 == nil && err2 == nil && os.SameFile(mine, named)
}

func note(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}
