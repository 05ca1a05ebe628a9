package snapshot

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
)

// parseView reads the text of a pg_snapshot, xmin:xmax:xip,xip.
func parseView(text string) (entrain.View, error) {
	bad := fmt.Errorf("%q is not a snapshot such as 10:20:10,14", text)
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return entrain.View{}, bad
	}
	var v entrain.View
	var err1, err2 error
	v.Min, err1 = strconv.ParseUint(parts[0], 10, 64)
	v.Max, err2 = strconv.ParseUint(parts[1], 10, 64)
	if err1 != nil || err2 != nil || v.Min > v.Max {
		return entrain.View{}, bad
	}
	if parts[2] == "" {
		return v, nil
	}
	for _, text := range strings.Split(parts[2], ",") {
		open, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return entrain.View{}, bad
		}
		v.Open = append(v.Open, open)
	}
	return v, nil
}

// parseLSN reads a position in the log, 16/B374D848.
func parseLSN(text string) (uint64, error) {
	high, low, found := strings.Cut(text, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !found || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q is not an LSN such as 16/B374D848", text)
	}
	return h<<32 | l, nil
}

// walPages is how the log is divided, in bytes.
type walPages struct{ page, segment uint64 }

// Sizes of the headers of a page, and of the first one of a segment
// (src/include/access/xlog_internal.h).
const (
	shortPageHeader = 24
	longPageHeader  = 40
)

// reachable returns the position to wait for instead of one where the next record
// will begin: just behind a page's header nothing ends, the record before ended
// at the page's start.
func (w walPages) reachable(at uint64) uint64 {
	header := uint64(shortPageHeader)
	if at%w.segment < w.page {
		header = longPageHeader
	}
	if at%w.page == header {
		return at - header
	}
	return at
}
