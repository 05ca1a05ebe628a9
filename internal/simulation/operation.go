package simulation

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/entrainsync/entrain"
)

var (
	errFault = errors.New("a fault of the simulation")
	errDead  = errors.New("the process was killed")
)

// operation is something that the product wants of the outside. It waits until the
// scheduler decides what becomes of it.
type operation struct {
	// key tells it from all that can wait at the same time: who, and what.
	key string
	// size is how much it is about: two runs in which that differs took another course.
	size int
	// ready reports whether it can happen now; nil means that it always can.
	ready func() bool
	// act has the effect and returns what the caller is told. It is called by the
	// scheduler while all else is blocked.
	act func() error
	// part has a part of the effect: the answer is an error then. Nil: there is all or
	// nothing.
	part func()
	// late: what was sent can arrive when the sender is gone already.
	late bool
	// cut, if not nil, is closed when somebody ends the session that it is part of.
	cut <-chan struct{}

	p    *process
	done chan error
	// seen: the scheduler knows of it. taken: it has decided. gone: nobody waits for an
	// answer any more. They are guarded by the world's mutex.
	seen, taken, gone bool
}

// fate is what becomes of an operation.
type fate uint8

const (
	fateDone    fate = iota // it happens, and the caller is told
	fateRefused             // it does not happen, and the caller is told
	fateLost                // it happens, and the caller is told of an error
	fateTorn                // a part of it happens
	fateGone                // it never happens, and nobody is left to be told
)

var fateNames = [...]string{"ok", "refused", "lost answer", "torn", "never arrived"}

// do waits for the operation's turn and returns what came of it. An error of ctx, of the
// session's end or of the process' comes without the effect, which may come later if
// the operation can be late.
func (p *process) do(ctx context.Context, o *operation) error {
	if err := p.submit(ctx, o); err != nil {
		return err
	}
	var err error
	select {
	case err = <-o.done:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-o.cut:
		err = errors.New("the session was closed")
	case <-p.killed:
		err = errDead
	}
	if p.w.leave(o) {
		return err
	}
	return <-o.done // it was its turn just before
}

func (p *process) submit(ctx context.Context, o *operation) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.dead {
		return errDead
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	o.p, o.done = p, make(chan error, 1)
	p.w.waiting = append(p.w.waiting, o)
	return nil
}

// leave is the end of somebody's waiting. It reports false if the answer is there. What
// the scheduler has not seen yet was never sent: whether it was given up a moment before
// or a moment after it came here is chance.
func (w *world) leave(o *operation) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.taken {
		return false
	}
	if o.late && o.seen {
		o.gone = true
	} else {
		w.remove(o)
	}
	return true
}

// remove takes an operation from those that wait; mu is held.
func (w *world) remove(o *operation) {
	for i, other := range w.waiting {
		if other == o {
			w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
			return
		}
	}
}

// settle has an operation meet its fate and tells the caller.
func (w *world) settle(o *operation, f fate) { o.done <- w.effect(o, f) }

// effect has an operation meet its fate. It returns what the caller is to be told.
func (w *world) effect(o *operation, f fate) error {
	w.mu.Lock()
	o.taken = true
	w.remove(o)
	w.mu.Unlock()
	var err error
	switch f {
	case fateDone:
		err = o.act()
	case fateRefused:
		err = w.fault(o)
	case fateLost:
		if err = o.act(); err == nil {
			err = w.fault(o)
		}
	case fateTorn:
		o.part()
		err = w.fault(o)
	case fateGone:
		err = errDead
	}
	return err
}

// fault is the error of an operation that is made to fail: one that a new session may
// not meet again.
func (w *world) fault(o *operation) error {
	w.report.Faults++
	if w.rng.IntN(2) == 0 {
		return fmt.Errorf("%s: %w: %w", o.key, errFault, entrain.ErrDisconnected)
	}
	return entrain.Retryable(fmt.Errorf("%s: %w", o.key, errFault))
}

var names sync.Map // of functions, by their program counters

// goroutine names what the calling goroutine is for: the function that it began with.
func goroutine() string {
	var pcs [64]uintptr
	n := runtime.Callers(2, pcs[:])
	for i := n - 1; i >= 0; i-- {
		name, known := names.Load(pcs[i])
		if !known {
			name = functionName(pcs[i])
			names.Store(pcs[i], name)
		}
		if name != "" {
			return name.(string)
		}
	}
	return ""
}

// functionName is empty for a function that says nothing about the goroutine.
func functionName(pc uintptr) string {
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	name := frame.Function[strings.LastIndexByte(frame.Function, '/')+1:]
	if strings.HasPrefix(name, "runtime.") || strings.HasPrefix(name, "sync.") {
		return ""
	}
	return name
}
