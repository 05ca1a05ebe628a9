package connector

import (
	"fmt"
	"syscall"
)

// FreeSpace returns how much the file system of a folder has left for us.
func FreeSpace(folder string) (ByteSize, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", folder, err)
	}
	return ByteSize(uint64(fs.Bavail) * uint64(fs.Bsize)), nil
}
