package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
)

const (
	// latePoll is how often a sink's queue of late changes is looked at, by a session of
	// its own.
	latePoll = 3 * time.Second
	// lateMost is how many changes are passed on at once.
	lateMost = 500
	// lateEnd is how long passing on may take at the end of a process.
	lateEnd = 10 * time.Second
	// lateName is what the topic's producer is called behind the delivery. No sink has an
	// empty name.
	lateName = "::reconciliation"
)

// lateSink is a sink whose late changes go to a topic.
type lateSink struct {
	name   string
	from   entrain.LateKeeper
	keeper entrain.LetterKeeper
}

// buildLate finds out where changes go that come too late.
func (l *loaded) buildLate() error {
	r := l.file.Reconciliation
	if r == nil {
		return nil
	}
	in := entrain.LetterPlace{Name: r.Topic, Pipeline: l.file.Name}
	for _, end := range l.sinks {
		if _, keeps := end.late(); keeps {
			in.Deliveries = append(in.Deliveries, end.env.Pipeline+lateName)
		}
	}
	if len(in.Deliveries) == 0 && len(l.sinks) > 0 {
		return l.file.Place(errors.New("no sink has a version gate, so that nothing comes too late: version_gate: true at a PostgreSQL sink, or leave the section out"), "reconciliation")
	}
	host, err := l.letterHost()
	if host == nil && err != nil {
		err = errors.New("the brokers of this topic are those of a stream of type kafka, or of the one sink of that type, and there is none, or several: " +
			"leave the section out, and what comes too late stays in entrain.reconciliation")
	}
	if err == nil {
		l.late, err = host.LetterBox(in)
	}
	return l.file.Place(err, "reconciliation", "topic")
}

// late is the sink as one that keeps late changes, if it compares versions.
func (e *sinkEnd) late() (entrain.LateKeeper, bool) {
	rows, holds := e.sink.(entrain.RowKeeper)
	keeper, keeps := e.sink.(entrain.LateKeeper)
	return keeper, keeps && holds && rows.Gated()
}

// lateEnds are the sinks whose late changes this process passes on.
func (l *loaded) lateEnds() (all []lateSink) {
	if l.late == nil || l.half == captureOnly {
		return nil
	}
	for i := range l.sinks {
		end := &l.sinks[i]
		from, keeps := end.late()
		if keeps && (l.only == "" || l.only == end.section.Name) {
			all = append(all, lateSink{end.section.Name, from, l.late.Keeper(end.env.Pipeline + lateName)})
		}
	}
	return all
}

// forwardLate passes late changes on until stop is called, which does so once more. What
// cannot be passed on stays where it is, and nothing waits for it.
func (p *program) forwardLate(ctx context.Context, sinks []lateSink) (stop func()) {
	running, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, s := range sinks {
		all.Go(func() { p.forwardFrom(running, s) })
	}
	return func() {
		cancel()
		all.Wait()
		last, done := context.WithTimeout(context.WithoutCancel(ctx), lateEnd)
		defer done()
		for _, s := range sinks {
			if err := s.drain(last); err != nil {
				p.log.Warn("changes that came too late stay in entrain.reconciliation until the next start", "sink", s.name, "error", err)
			}
		}
	}
}

func (p *program) forwardFrom(ctx context.Context, s lateSink) {
	tick := time.NewTicker(latePoll)
	defer tick.Stop()
	waits := false
	for {
		err := s.drain(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && waits:
			p.log.Info("changes that came too late are passed on again", "sink", s.name)
		case err != nil && !waits:
			p.log.Warn("changes that came too late cannot be passed on; they wait in entrain.reconciliation", "sink", s.name, "error", err)
		}
		waits = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// drain passes on what there is.
func (s lateSink) drain(ctx context.Context) error {
	for {
		n, err := s.from.ForwardLate(ctx, lateMost, s.keeper.KeepLetters)
		if err != nil || n == 0 {
			return err
		}
	}
}
