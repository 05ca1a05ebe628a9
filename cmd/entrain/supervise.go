package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// drainGrace is how much longer than its own time-out a drain may take to
// return before the program ends without it: a write to a pipe that nobody
// empties cannot be called off.
const drainGrace = 2 * time.Second

// engine is a pipeline, as it is supervised and asked. It has 5 methods because
// whoever replaces one by another replaces all of it.
type engine interface {
	Run(ctx context.Context) error
	Status() pipeline.Status
	Tables(ctx context.Context) ([]pipeline.TableStatus, error)
	Schemas() []pipeline.SchemaHistory
	Do(ctx context.Context, o pipeline.Order) error
	Letters(ctx context.Context) ([]parking.Letter, error)
}

// supervisor runs engines, one after the other, under the program's signals.
type supervisor struct {
	p       *program
	signals chan os.Signal
	// reload returns what is to run instead; nil if nothing is to change. It is
	// nil itself where the configuration cannot change.
	reload func() *work
}

// supervise takes the signals over until close is called.
func (p *program) supervise(reload func() *work) *supervisor {
	s := &supervisor{p: p, signals: make(chan os.Signal, 8), reload: reload}
	signal.Notify(s.signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	return s
}

// close gives the signals back.
func (s *supervisor) close() { signal.Stop(s.signals) }

// work is an engine to run.
type work struct {
	engine  engine
	timeout time.Duration // of its drain
	limits  admin.Limits
	late    []lateSink // from which late changes are passed on meanwhile
	// streaming, if set, is called once when it first streams; its context ends
	// before the engine does.
	streaming func(context.Context)
}

// run runs an engine to its end: the first SIGINT or SIGTERM drains it, the
// second ends at once, and so does a drain that takes too long. A SIGHUP that
// changes the configuration drains it, too; then next is what to run instead. A
// SIGPIPE becomes the error of the write.
func (s *supervisor) run(ctx context.Context, w work) (next *work, err error) {
	running, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer func() {
		stop()
		beside.Wait()
	}()
	ready := func() { s.p.notifyReady(running, w.engine) }
	beside.Go(ready)
	if s.p.bars != nil && !s.p.quiet {
		beside.Go(func() { s.p.bars.Follow(running, w.engine.Status) })
	}
	if w.streaming != nil {
		beside.Go(func() {
			if awaitStreaming(running, w.engine) {
				w.streaming(running)
			}
		})
	}
	result := make(chan error, 1)
	go func() { result <- w.engine.Run(running) }() // abandoned only when the program ends at once

	for {
		select {
		case err := <-result:
			return nil, err
		case got := <-s.signals:
			if ends(got) {
				stop()
				return nil, s.awaitEnd(drain{first: got, timeout: w.timeout, result: result})
			}
			if !s.asks(got) {
				continue
			}
			if next = s.reload(); next != nil {
				stop()
				return s.awaitReload(next, drain{timeout: w.timeout, result: result})
			}
			beside.Go(ready) // it is as ready as it was
		}
	}
}

// asks reports whether the signal asks for the file to be read again, and tells
// the service manager so.
func (s *supervisor) asks(got os.Signal) bool {
	if got != syscall.SIGHUP {
		return false
	}
	if s.reload == nil {
		s.p.log.Warn("SIGHUP ignored: a run with --until keeps its configuration to its end")
		return false
	}
	s.p.notifyReloading()
	return true
}

// drain is a pipeline that was told to end.
type drain struct {
	first   os.Signal
	timeout time.Duration
	result  <-chan error
}

const again = "; what was not confirmed is delivered again at the next start"

// awaitReload waits for the end of the engine that is to be replaced. How it ends
// does not matter to the next one, which begins where everything is durable; one
// that hangs is waited for, since two must not work at once. A signal ends
// the program as ever.
func (s *supervisor) awaitReload(next *work, d drain) (*work, error) {
	s.p.log.Info("SIGHUP: the configuration has changed: draining, then starting anew with it", "timeout", d.timeout)
	for {
		select {
		case err := <-d.result:
			if err != nil {
				s.p.log.Warn("the drain was not clean"+again, "error", err)
			}
			return next, nil
		case got := <-s.signals:
			if ends(got) {
				d.first = got
				return nil, s.awaitEnd(d)
			}
			if !s.asks(got) {
				continue
			}
			if newer := s.reload(); newer != nil {
				next = newer
			}
		}
	}
}

// awaitEnd waits for the end of a drain that a signal has asked for.
func (s *supervisor) awaitEnd(d drain) error {
	s.p.log.Info("draining, a second signal stops at once", "signal", d.first.String(), "timeout", d.timeout)
	s.p.notify("STOPPING=1")
	return s.awaitDrain(d)
}

// awaitDrain waits for the end of a drain, at most its time-out and a little.
func (s *supervisor) awaitDrain(d drain) error {
	overdue := time.NewTimer(d.timeout + drainGrace)
	defer overdue.Stop()
	for {
		select {
		case err := <-d.result:
			if errors.Is(err, context.DeadlineExceeded) {
				return errors.Join(err, signalled{d.first, "the drain did not end in time" + again})
			}
			return err
		case <-overdue.C:
			return signalled{d.first, fmt.Sprintf("the drain did not end within %s%s", d.timeout, again)}
		case got := <-s.signals:
			if ends(got) {
				return signalled{got, "stopped at once by a second signal" + again}
			}
		}
	}
}

// ends reports whether the signal asks the program to end.
func ends(got os.Signal) bool { return got == os.Interrupt || got == syscall.SIGTERM }
