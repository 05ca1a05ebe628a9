package capture

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/entrainsync/entrain"
)

// lsn is a byte position in the write-ahead log.
type lsn uint64

// String returns the server's own notation, 16/B374D848.
func (l lsn) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

func parseLSN(s string) (lsn, error) {
	high, low, found := strings.Cut(s, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !found || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%q is not an LSN such as 16/B374D848", s)
	}
	return lsn(h<<32 | l), nil
}

// walPage and walPageHeader: a position that points just behind a page header
// is never reported as sent while the server idles; the page's start is.
const (
	walPage       = 8192
	walPageHeader = 40
)

// reachable rounds a log end down to a position that an idle server reports.
func (l lsn) reachable() lsn {
	if offset := l % walPage; offset <= walPageHeader {
		return l - offset
	}
	return l
}

// place is a position of ours: the end of a commit record (or any later point
// before the next one) on a timeline.
type place struct {
	at       lsn
	timeline uint32
}

// offset is the printable form in an entrain.Position: LSN@timeline.
func (p place) offset() string { return fmt.Sprintf("%s@%d", p.at, p.timeline) }

func parsePlace(offset string) (place, error) {
	text, timeline, found := strings.Cut(offset, "@")
	at, err := parseLSN(text)
	if err != nil {
		return place{}, err
	}
	n, err := strconv.ParseUint(timeline, 10, 32)
	if !found || err != nil {
		return place{}, fmt.Errorf("position %q lacks its timeline", offset)
	}
	return place{at: at, timeline: uint32(n)}, nil
}

func (p place) position(incarnation string) entrain.Position {
	return entrain.Position{Incarnation: incarnation, Offset: p.offset()}
}
