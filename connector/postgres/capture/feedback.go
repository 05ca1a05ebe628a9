package capture

import (
	"sync"
	"sync/atomic"
	"time"
)

// feedback owns the position that the server is told. It is a goroutine of its
// own that writes status updates on time whatever the reader and the sink do
// (P7); nothing else of the session writes to the connection while it runs.
type feedback struct {
	ws       *walStream
	interval time.Duration // between updates when nothing happens
	eager    bool          // the server's commits wait for us: no spacing

	confirmed atomic.Uint64 // only grows
	// settled: the log up to there has nothing that the sink lacks, though no
	// position says so yet; settled ≥ confirmed, or it says nothing.
	settled   atomic.Uint64
	mentioned time.Time // when it was last a reason for an update; the reader's
	wake      chan struct{}
	stop      chan struct{}
	once      sync.Once
	done      chan struct{}
	failed    func(error) // told once when writing fails
}

// spacing keeps a busy sink from sending an update for each small commit.
const spacing = 10 * time.Millisecond

// mentionEvery keeps a log that has nothing of ours from causing updates.
const mentionEvery = time.Second

func newFeedback(ws *walStream, from lsn, interval time.Duration) *feedback {
	f := &feedback{
		ws: ws, interval: interval,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	f.confirmed.Store(uint64(from))
	return f
}

// confirm raises the confirmed position; it never goes back.
func (f *feedback) confirm(at lsn) {
	for {
		old := f.confirmed.Load()
		if uint64(at) <= old {
			return
		}
		if f.confirmed.CompareAndSwap(old, uint64(at)) {
			f.poke()
			return
		}
	}
}

// settle notes that the log up to a place has nothing that is not confirmed. The
// server is told as what was written (pg_stat_replication.write_lsn), for whoever
// wants to know whether the sink has everything: the position of an idle source
// moves seldom. It is called by the reader only.
func (f *feedback) settle(at lsn) {
	if f.settled.Swap(uint64(at)) == uint64(at) || time.Since(f.mentioned) < mentionEvery {
		return
	}
	f.mentioned = time.Now()
	f.poke()
}

// poke asks for an update soon.
func (f *feedback) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run writes updates until end is called or writing fails. Unasked updates
// make the server answer, so that an idle session hears from it.
func (f *feedback) run() {
	defer close(f.done)
	ticker := time.NewTicker(f.interval)
	defer ticker.Stop()
	for {
		ask := byte(0)
		select {
		case <-f.stop:
			return
		case <-f.wake:
		case <-ticker.C:
			ask = 1
		}
		if err := f.send(ask); err != nil {
			f.failed(err)
			return
		}
		if !f.pause() {
			return
		}
	}
}

func (f *feedback) send(ask byte) error {
	confirmed := lsn(f.confirmed.Load())
	return f.ws.status(max(confirmed, lsn(f.settled.Load())), confirmed, ask)
}

// pause spaces updates; it reports whether to go on.
func (f *feedback) pause() bool {
	if f.eager {
		return true
	}
	timer := time.NewTimer(spacing)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.stop:
		return false
	}
}

// end stops the goroutine and waits for it. The caller may write afterwards.
func (f *feedback) end() {
	f.once.Do(func() { close(f.stop) })
	<-f.done
}
