package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stopTimeout is what a process may take to end after an interrupt.
const stopTimeout = 30 * time.Second

// process is a program under measurement. Its output is discarded; what it
// says is kept for the error.
type process struct {
	cmd   *exec.Cmd
	said  bytes.Buffer
	began time.Time
	ended chan struct{}
	peak  <-chan int64 // most resident memory seen while it ran

	watched chan error // how it ended, if somebody watches for that
}

// newProcess prepares a program, which is interrupted when ctx ends.
func newProcess(ctx context.Context, program string, args ...string) *process {
	p := &process{cmd: exec.CommandContext(ctx, program, args...), ended: make(chan struct{})}
	p.cmd.Cancel = p.interrupt
	p.cmd.WaitDelay = stopTimeout
	p.cmd.Stderr = &p.said
	return p
}

func (p *process) start() error {
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.peak = watchResident(p.cmd.Process.Pid, p.ended)
	return nil
}

func (p *process) interrupt() error { return p.cmd.Process.Signal(os.Interrupt) }

var errEnded = errors.New("it ended before all was there")

// watch returns a context that ends with the process, too: what waits for its
// work need not wait for ever.
func (p *process) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.watched = make(chan error, 1)
	go func() {
		p.watched <- p.cmd.Wait()
		cancel(errEnded)
	}()
	return ctx, func() { cancel(nil) }
}

// ending waits for the end.
func (p *process) ending() error {
	if p.watched != nil {
		return <-p.watched
	}
	return p.cmd.Wait()
}

// stop interrupts the process and waits for its end.
func (p *process) stop(ctx context.Context) (sample, error) {
	if err := p.interrupt(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return sample{}, err
	}
	return p.wait(ctx)
}

// wait waits for the end of the process and returns what it took.
func (p *process) wait(ctx context.Context) (sample, error) {
	err := p.ending()
	s := sample{wall: time.Since(p.began)}
	close(p.ended)
	s.rss = <-p.peak
	if ctx.Err() != nil {
		return sample{}, ctx.Err()
	}
	if err != nil {
		const tail = 2000
		text := strings.TrimSpace(p.said.String())
		return sample{}, fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), err, text[max(0, len(text)-tail):])
	}
	s.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	// The kernel charges a process with what its parent had resident when it
	// was started; beyond that its figure is the exact one.
	if most := residentMax(p.cmd.ProcessState); most > ownResidentMax() {
		s.rss = most
	}
	return s, nil
}

// measure runs a program from start to exit.
func measure(ctx context.Context, program string, args ...string) (sample, error) {
	p := newProcess(ctx, program, args...)
	if err := p.start(); err != nil {
		return sample{}, err
	}
	return p.wait(ctx)
}

// watchEvery is how often a process's memory is looked at.
const watchEvery = 20 * time.Millisecond

// watchResident returns the most memory that a process had resident as far as
// it was seen, once ended is closed.
func watchResident(pid int, ended <-chan struct{}) <-chan int64 {
	peak := make(chan int64, 1)
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		var most int64
		for {
			most = max(most, residentPeak(pid))
			select {
			case <-tick.C:
			case <-ended:
				peak <- most
				return
			}
		}
	}()
	return peak
}
