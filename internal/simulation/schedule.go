package simulation

import (
	"testing/synctest"
	"time"
)

// waits are how much time may pass at once: less than what the engine waits for, and
// more.
var waits = []time.Duration{
	time.Millisecond, 9 * time.Millisecond, 51 * time.Millisecond, 51 * time.Millisecond, 210 * time.Millisecond,
	210 * time.Millisecond, 1100 * time.Millisecond, 3100 * time.Millisecond, 16 * time.Second,
}

// choose decides what happens next, and has it happen.
func (w *world) choose() {
	if w.proc == nil {
		w.pass(waits[w.rng.IntN(len(waits))])
		w.start()
		return
	}
	roll := w.rng.IntN(1000)
	rates := w.shape.rates
	if w.calm {
		rates = rate{}
	}
	for _, c := range []struct {
		of int
		do func()
	}{
		{rates.kill, w.kill}, {rates.stop, w.stop}, {rates.commit, w.commit},
		{rates.pass, func() { w.pass(waits[w.rng.IntN(len(waits))]) }}, {rates.confirm, w.confirm},
	} {
		if roll -= c.of; roll < 0 {
			c.do()
			return
		}
	}
	w.operate()
}

// operate takes one of the operations that wait.
func (w *world) operate() {
	w.mu.Lock()
	var can []*operation
	for _, o := range w.waiting {
		if o.ready == nil || o.ready() {
			can = append(can, o)
		}
	}
	all := len(w.waiting)
	w.mu.Unlock()
	fails := !w.calm && w.rng.IntN(1000) < w.shape.rates.fault
	switch {
	case fails && all > 0 && w.rng.IntN(4) == 0: // one that waits for something, a read, say
		o := w.waiting[w.rng.IntN(all)]
		w.meet(o, fateRefused)
	case len(can) == 0:
		w.idle()
	default:
		o := can[w.rng.IntN(len(can))]
		f := fateDone
		if fails {
			f = w.failure(o)
		}
		if o.gone && w.rng.IntN(2) == 0 {
			f = fateGone
		}
		w.meet(o, f)
	}
}

func (w *world) failure(o *operation) fate {
	fates := []fate{fateRefused, fateLost}
	if o.part != nil {
		fates = append(fates, fateTorn)
	}
	return fates[w.rng.IntN(len(fates))]
}

func (w *world) meet(o *operation, f fate) {
	late := ""
	if o.gone {
		late = " (late)"
	}
	w.tell("%s: %s%s", o.key, fateNames[f], late)
	w.settle(o, f)
}

// idle is what is left when no operation can happen.
func (w *world) idle() {
	switch {
	case w.source.told > w.source.confirmed:
		w.confirm()
	case !w.calm && w.rng.IntN(2) == 0:
		w.commit()
	default:
		w.pass(waits[w.rng.IntN(len(waits))])
	}
}

// confirm has what the reader acknowledged arrive at the source.
func (w *world) confirm() {
	w.source.confirmed = max(w.source.confirmed, w.source.told)
	w.tell("the source hears that %d transactions are safe", w.source.confirmed)
}

// mostBehind bounds how far the sinks are behind the source.
const mostBehind = 400

// commit adds a transaction at the source. Its clock is not always right.
func (w *world) commit() {
	least := len(w.history.shown)
	for _, t := range w.targets {
		least = min(least, t.next)
	}
	if len(w.history.shown)-least > mostBehind {
		w.pass(waits[0])
		return
	}
	changes := 0
	switch roll := w.rng.IntN(20); {
	case roll < 2:
	case roll < 18:
		changes = 1 + w.rng.IntN(4)
	default:
		changes = 10 + w.rng.IntN(30)
	}
	at := time.Now().Add(w.source.ahead)
	if w.rng.IntN(30) == 0 {
		w.source.ahead = time.Duration(w.rng.IntN(7200)-3600) * time.Second
	}
	w.history.commit(w.rng, changes, at)
	w.tell("transaction %d is committed: %d changes", len(w.history.txs), changes)
}

// stop asks the process to end.
func (w *world) stop() {
	w.tell("process %d is asked to end", w.proc.number)
	w.proc.stopping = true
	w.proc.cancel()
}

// kill ends the process: its memory is gone. What it had sent is there, or never will
// be, or arrives later.
func (w *world) kill() {
	p := w.proc
	w.tell("process %d is killed", p.number)
	w.report.Crashes++
	w.sort()
	w.mu.Lock()
	p.dead = true
	mine := []*operation{}
	for _, o := range w.waiting {
		if o.p == p && !o.gone {
			mine = append(mine, o)
		}
	}
	w.mu.Unlock()
	for _, o := range mine {
		w.strand(o)
	}
	for _, t := range w.targets {
		t.crash()
	}
	if w.sequence != nil {
		w.sequence.crash()
	}
	if w.rng.IntN(2) == 0 {
		w.source.told = w.source.confirmed // it was on its way
	}
	close(p.killed)
	p.cancel()
	for _, o := range mine {
		if o.taken {
			o.done <- errDead
		}
	}
	w.buried(p)
}

// buried waits until nothing of the process is left.
func (w *world) buried(p *process) {
	for range 200 {
		synctest.Wait()
		select {
		case <-p.done:
			w.proc = nil
			return
		default:
			<-time.After(time.Second)
		}
	}
	w.violate("P9", "a process whose operations all fail does not end")
	panic("simulation: a process that was killed does not end") // the bubble could not, either
}

// strand decides what becomes of an operation whose process is killed: nobody is told.
func (w *world) strand(o *operation) {
	roll := w.rng.IntN(4)
	ready := o.ready == nil || o.ready()
	f := fateGone
	switch {
	case roll == 0 && ready:
		f = fateDone
	case roll == 1 && o.part != nil && ready:
		f = fateTorn
	case roll == 2 && o.late:
		w.mu.Lock()
		o.seen, o.gone = true, true
		w.mu.Unlock()
		w.tell("%s: may arrive later", o.key)
		return
	}
	w.tell("%s: %s", o.key, fateNames[f])
	w.effect(o, f)
}
