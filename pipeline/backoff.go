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
	rules   Retry
}

// Retry says how long to wait before a new session. Zero values are the defaults.
type Retry struct {
	// First is the first wait, which is doubled each time up to Most.
	First, Most time.Duration
	// Steady leaves out the jitter, which is up to half of a wait.
	Steady bool
	// Attempt bounds one Write of the sink; 0, the default, is no bound. A sink that
	// takes longer is opened anew.
	Attempt time.Duration
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
	if b.rules.First > 0 {
		first = b.rules.First
	}
	if most = max(most, first); b.rules.Most > 0 {
		most = max(b.rules.Most, first)
	}
	wait := most
	if b.attempt < 16 && first<<b.attempt > 0 {
		wait = min(first<<b.attempt, most)
	}
	b.attempt++
	if b.rules.Steady {
		return wait
	}
	half := wait / 2
	return half + time.Duration(jitter*float64(half))
}

// reset notes that a session made progress.
func (b *backoff) reset() { b.attempt = 0 }
