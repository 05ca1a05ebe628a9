package pgserver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// newSystemID returns an identifier that reads like initdb's: seconds since
// 1970 in the high half.
func newSystemID() uint64 {
	return uint64(time.Now().Unix())<<32 | uint64(rand.Uint32())
}

// setSystemID rewrites the system identifier of a stopped cluster that was
// just made: in the control file and in the one WAL segment there is. The
// layouts are those of ControlFileData and XLogLongPageHeaderData, which are in
// the machine's byte order.
func setSystemID(data string, id uint64) error {
	err := rewrite(filepath.Join(data, "global", "pg_control"), func(b []byte) error { return setControlID(b, id) })
	if err != nil {
		return err
	}
	segments, err := filepath.Glob(filepath.Join(data, "pg_wal", "[0-9A-F]*"))
	if err != nil {
		return err
	}
	if len(segments) != 1 {
		return fmt.Errorf("%d WAL segments in a fresh data folder, want 1", len(segments))
	}
	return rewrite(segments[0], func(b []byte) error { return setSegmentID(b, id) })
}

func rewrite(file string, edit func(b []byte) error) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := edit(b); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, b, 0o600)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxControl is the size within which the server keeps its control data, so
// that a write of it is atomic.
const maxControl = 512

// setControlID changes the identifier, which comes first, and the CRC, which
// comes last. The length between them depends on the version; it is where the
// CRC is right.
func setControlID(control []byte, id uint64) error {
	order := binary.NativeEndian
	for end := 64; end+4 <= min(maxControl, len(control)); end += 4 {
		if order.Uint32(control[end:]) == crc32.Checksum(control[:end], castagnoli) {
			order.PutUint64(control, id)
			order.PutUint32(control[end:], crc32.Checksum(control[:end], castagnoli))
			return nil
		}
	}
	return errors.New("no valid checksum in the control file")
}

const (
	pageHeader     = 24     // size of XLogPageHeaderData; the identifier follows
	pageInfo       = 2      // offset of its info bits
	longPageHeader = 0x0002 // XLP_LONG_HEADER
)

// setSegmentID changes the identifier in the long header that begins a WAL
// segment. The header has no checksum.
func setSegmentID(segment []byte, id uint64) error {
	order := binary.NativeEndian
	if len(segment) < pageHeader+8 || order.Uint16(segment[pageInfo:])&longPageHeader == 0 {
		return errors.New("WAL segment without a long page header")
	}
	order.PutUint64(segment[pageHeader:], id)
	return nil
}
