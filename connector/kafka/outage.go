package kafka

import (
	"log/slog"
	"strings"
	"sync"
	"time"
)

// silence is how long nothing that was written is confirmed before that is told: a
// session is given up much later, since brokers that start again are soon back.
const silence = 5 * time.Second

// outage tells people that the brokers confirm nothing, and that they do again: one line
// each, over all sessions with them. It is safe for several goroutines.
type outage struct {
	log *slog.Logger

	mu    sync.Mutex
	since time.Time // zero: there is none
}

// began notes an outage; those who did not tell of it themselves let it be told.
func (o *outage) began(since time.Time) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.since.IsZero() {
		return false
	}
	o.since = since
	return true
}

// over is called when something was confirmed.
func (o *outage) over() {
	o.mu.Lock()
	since := o.since
	o.since = time.Time{}
	o.mu.Unlock()
	if !since.IsZero() {
		o.log.Info("the brokers confirm what is written again", "away", time.Since(since).Round(time.Second))
	}
}

// wait is one that may take long. It is looked at now and then until it ends.
type wait struct {
	of      *outage
	brokers []string
	// left is how many records are on their way; it shrinks while some arrive.
	left func() int64

	mu    sync.Mutex
	over  bool
	last  int64
	moved time.Time // when it was less than before
	timer *time.Timer
}

// waits runs do, which waits for the brokers, and tells when they are silent.
func (w *writer) waits(do func() error) error {
	now := &wait{of: w.outage, brokers: w.brokers, left: w.client.BufferedProduceRecords, moved: time.Now()}
	now.last = now.left()
	now.mu.Lock()
	now.timer = time.AfterFunc(silence, now.look)
	now.mu.Unlock()
	err := do()
	now.mu.Lock()
	now.over = true
	now.timer.Stop()
	now.mu.Unlock()
	return err
}

func (w *wait) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return
	}
	if left := w.left(); left < w.last {
		w.last, w.moved = left, time.Now()
	} else if w.of.began(w.moved) {
		w.of.log.Warn("the brokers confirm nothing of what is written: waiting for them", "brokers", strings.Join(w.brokers, ","), "since", time.Since(w.moved).Round(time.Second))
	}
	w.timer.Reset(silence)
}
