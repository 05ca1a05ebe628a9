package fanout

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
)

// Mark is a moment of a source's history, by one of its two clocks; the zero Mark is
// none.
type Mark struct {
	// Time of commits.
	Time time.Time
	// Version of transactions; PostgreSQL: the LSN of the commit.
	Version uint64
}

// ParseMark reads a moment as people write it: a time (2026-11-27T10:00:00Z), how long
// ago (2h), or a position of PostgreSQL (0/16B3748).
func ParseMark(text string, now time.Time) (Mark, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return Mark{Time: t}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return Mark{Time: now.Add(-d)}, nil
	}
	lsn, _, _ := strings.Cut(text, "@") // the timeline
	if high, low, ok := strings.Cut(lsn, "/"); ok {
		h, err := strconv.ParseUint(high, 16, 32)
		l, wrong := strconv.ParseUint(low, 16, 32)
		if err == nil && wrong == nil && h<<32|l != 0 {
			return Mark{Version: h<<32 | l}, nil
		}
	}
	return Mark{}, fmt.Errorf("%q is no moment: expected a time such as %s, how long ago such as 2h, or the source's position such as 0/16B3748",
		text, now.UTC().Format(time.RFC3339))
}

// String returns the mark as it is written.
func (m Mark) String() string {
	switch {
	case m.Version != 0:
		return fmt.Sprintf("%X/%X", uint32(m.Version>>32), uint32(m.Version))
	case m.Time.IsZero():
		return "the beginning"
	}
	return m.Time.UTC().Format(time.RFC3339)
}

func (m Mark) isZero() bool { return m.Time.IsZero() && m.Version == 0 }

// After reports whether a mark is behind another one; false if that cannot be told, as
// of a time and a position.
func (m Mark) After(other Mark) bool {
	if m.Version != 0 || other.Version != 0 {
		return other.Version != 0 && m.Version > other.Version
	}
	return !other.Time.IsZero() && m.Time.After(other.Time)
}

// compare tells where a transaction is: -1 before the mark, 0 at it, 1 behind it.
func (m Mark) compare(tx *entrain.Transaction) int {
	switch {
	case m.Version != 0 && tx.Version < m.Version, m.Version == 0 && tx.CommitTime.Before(m.Time):
		return -1
	case m.Version != 0 && tx.Version == m.Version, m.Version == 0 && tx.CommitTime.Equal(m.Time):
		return 0
	}
	return 1
}
