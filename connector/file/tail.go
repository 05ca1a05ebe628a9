package file

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// opening is how every line of ours begins.
var opening = []byte(`{"v":1,"id":"`)

// isTail reports whether a crash of ours can have left what r holds: lines of
// ours, the last one possibly torn. After a loss of power a file system may
// show zeros in place of what was not synced.
func isTail(r io.Reader) (bool, error) {
	in := bufio.NewReaderSize(r, chunk)
	for starts := true; ; {
		piece, err := in.ReadSlice('\n')
		if starts && !isOurs(piece) {
			return false, nil
		}
		starts = err == nil
		switch {
		case err == io.EOF:
			return true, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return false, err
		}
	}
}

// isOurs reports whether a line of ours begins like the piece.
func isOurs(piece []byte) bool {
	n := min(len(piece), len(opening))
	return bytes.Equal(piece[:n], opening[:n]) || bytes.IndexByte(piece, 0) >= 0
}
