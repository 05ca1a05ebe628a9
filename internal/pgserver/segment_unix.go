//go:build linux || darwin

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Clean removes the System V segment by which a postmaster locks its data
// folder. One that ends removes it itself, one that was killed cannot, and the
// system has room for some thousand. The seventh line of postmaster.pid
// has its key and its id (the server's pidfile.h, LOCK_FILE_LINE_SHMEM_KEY).
func (c cluster) Clean(dir string) error {
	lock, err := os.ReadFile(filepath.Join(data(dir), "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it ended in order
	}
	if err != nil {
		return err
	}
	id, ok := segment(string(lock))
	if !ok {
		return nil // it was killed before it had one
	}
	_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
		return fmt.Errorf("remove shared memory segment %d of the killed server: %w", id, err)
	}
	return nil
}

// segmentLine is the line of postmaster.pid with the segment's key and id,
// counted from 0.
const segmentLine = 6

// segment returns the id of the segment in a postmaster.pid.
func segment(lock string) (int, bool) {
	lines := strings.Split(lock, "\n")
	if len(lines) <= segmentLine {
		return 0, false
	}
	words := strings.Fields(lines[segmentLine])
	if len(words) != 2 {
		return 0, false
	}
	id, err := strconv.Atoi(words[1])
	return id, err == nil
}
