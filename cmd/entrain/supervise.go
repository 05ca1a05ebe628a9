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

	"github.com/entrainsync/entrain/pipeline"
)

// drainGrace is how much longer than its own time-out a drain may take to
// return before the program ends without it: a write to a pipe that nobody
// empties cannot be called off.
const drainGrace = 2 * time.Second

// engine is the part of a pipeline that is supervised.
type engine interface {
	Run(ctx context.Context) error
	Status() pipeline.Status
}

// supervise runs the engine under the program's signals: the first SIGINT or
// SIGTERM drains, the second ends at once, and so does a drain that takes too
// long. SIGHUP changes nothing yet; a SIGPIPE becomes the error of the write.
func (p *program) supervise(ctx context.Context, e engine, timeout time.Duration) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer signal.Stop(signals)
	running, stop := context.WithCancel(ctx)
	var notifier sync.WaitGroup
	defer func() {
		stop()
		notifier.Wait()
	}()
	notifier.Go(func() { p.notifyReady(running, e) })
	if p.bars != nil && !p.quiet {
		notifier.Go(func() { p.bars.Follow(running, e.Status) })
	}
	result := make(chan error, 1)
	go func() { result <- e.Run(running) }() // abandoned only when the program ends at once

	for {
		select {
		case err := <-result:
			return err
		case got := <-signals:
			if !p.ends(got) {
				continue
			}
			p.log.Info("draining, a second signal stops at once", "signal", got.String(), "timeout", timeout)
			p.notify("STOPPING=1")
			stop()
			return p.awaitDrain(drain{first: got, timeout: timeout, signals: signals, result: result})
		}
	}
}

// drain is a pipeline that was told to end.
type drain struct {
	first   os.Signal
	timeout time.Duration
	signals <-chan os.Signal
	result  <-chan error
}

const again = "; what was not confirmed is delivered again at the next start"

// awaitDrain waits for the end of a drain, at most its time-out and a little.
func (p *program) awaitDrain(d drain) error {
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
		case got := <-d.signals:
			if p.ends(got) {
				return signalled{got, "stopped at once by a second signal" + again}
			}
		}
	}
}

// ends reports whether the signal asks the program to end.
func (p *program) ends(got os.Signal) bool {
	if got == syscall.SIGHUP {
		p.log.Warn("SIGHUP ignored: this version cannot reload its configuration")
	}
	return got == os.Interrupt || got == syscall.SIGTERM
}
