package pipeline

import (
	"errors"
	"time"

	"github.com/entrainsync/entrain"
)

// backoff is how long to wait before the next session. It is pure: the jitter
// comes in as a value in [0, 1).
type backoff struct {
	attempt int // sessions in a row that made no progress
}

// The first waits and the longest ones: a server that went away needs longer
// than a transaction that was unlucky.
const (
	lostFirst, lostMost       = 200 * time.Millisecond, 15 * time.Second
	unluckyFirst, unluckyMost = 50 * time.Millisecond, 5 * time.Second
)

// next returns the wait after err: doubled each time up to a bound, of which
// half is jitter, so that many clients of one server do not come back together.
func (b *backoff) next(err error, jitter float64) time.Duration {
	first, most := unluckyFirst, unluckyMost
	if errors.Is(err, entrain.ErrDisconnected) {
		first, most = lostFirst, lostMost
	}
	wait := most
	if b.attempt < 16 {
		wait = min(first<<b.attempt, most)
	}
	b.attempt++
	half := wait / 2
	return half + time.Duration(jitter*float64(half))
}

// reset notes that a session made progress.
func (b *backoff) reset() { b.attempt = 0 }
