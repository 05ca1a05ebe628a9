package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// fanSinks is how many targets are fed from one source.
const fanSinks = 3

// fanout measures one source into three databases: three native subscriptions,
// each with a slot of its own, beside one entrain with three sinks. The
// processor time is the source server's. In a second pass one of our three
// sinks waits for a lock meanwhile, and the clock stops when the two others
// have everything.
func fanout(ctx context.Context, h *harness) (err error) {
	source, target, err := h.servers(ctx, map[string]string{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	p, err := h.prepare(ctx, source, load{"pairs", h.scaled(200_000), "insert_and_update"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.discard(ctx)) }()
	native, err := openFan(ctx, target, "fan_native")
	if err != nil {
		return err
	}
	defer native.close(ctx)
	ours, err := openFan(ctx, target, "fan_entrain")
	if err != nil {
		return err
	}
	defer ours.close(ctx)
	name := fmt.Sprintf("%d x (insert; update of another row) into %d targets", p.count, fanSinks)
	h.say("%s", name)
	samples, err := alternate(ctx, h, h.opt.runs,
		contender{"3 native subscriptions", func(ctx context.Context) (sample, error) { return native.subscribed(ctx, p) }},
		contender{"entrain, 3 sinks", func(ctx context.Context) (sample, error) { return ours.piped(ctx, h, p, route{section: ours.sinks()}) }},
		contender{"entrain, 1 of 3 sinks stalled", func(ctx context.Context) (sample, error) {
			return ours.piped(ctx, h, p, route{section: ours.sinks(), stalled: 1})
		}})
	if err != nil {
		return err
	}
	single, err := ours[:1].throughStream(ctx, h, p)
	if err != nil {
		return err
	}
	return errors.Join(
		h.add(compare(pairing{fmt.Sprintf("%d x (insert; update of another row), embedded stream", p.count), "entrain, direct"}, single[1], single[0], limits{rate: 0.7})),
		h.add(compare(pairing{name + ", processor time of the source", "3 native subscriptions"}, samples[1], samples[0], limits{cpu: 0.45})),
		h.add(compare(pairing{name + ", 1 stalled", "entrain, none stalled"}, samples[2], samples[1], limits{rate: 0.95})))
}

// throughStream measures entrain into one target, directly and with an embedded
// stream in between.
func (f fan) throughStream(ctx context.Context, h *harness, p *prepared) ([][]sample, error) {
	sink := fmt.Sprintf("sink: {type: postgres, url: %q}\n", f[0].server.URL(f[0].db))
	return alternate(ctx, h, h.opt.runs,
		contender{"entrain, direct", func(ctx context.Context) (sample, error) { return f.piped(ctx, h, p, route{section: sink}) }},
		contender{"entrain, embedded stream", func(ctx context.Context) (sample, error) {
			return f.piped(ctx, h, p, route{section: "stream: {type: embedded}\n" + sink})
		}})
}

// route is how changes get to the targets: the sections of the pipeline file behind
// the source, and how many of the last targets cannot be written to until the others
// have everything.
type route struct {
	section string
	stalled int
}

// fan is the targets of one contender.
type fan []*replica

func openFan(ctx context.Context, target *pgserver.Server, db string) (fan, error) {
	var f fan
	for i := range fanSinks {
		r, err := openReplica(ctx, target, fmt.Sprintf("%s_%d", db, i))
		if err != nil {
			f.close(ctx)
			return nil, err
		}
		f = append(f, r)
	}
	return f, nil
}

func (f fan) close(ctx context.Context) {
	for _, r := range f {
		r.close(ctx)
	}
}

// empty removes what an earlier run left.
func (f fan) empty(ctx context.Context) error {
	for _, r := range f {
		if err := r.empty(ctx); err != nil {
			return err
		}
	}
	return nil
}

// arrived waits until everything is at all targets.
func (f fan) arrived(ctx context.Context) error {
	for _, r := range f {
		if err := r.await(ctx, applyTimeout, "SELECT EXISTS (SELECT FROM finished)"); err != nil {
			return err
		}
	}
	return nil
}

// same compares all rows of all targets with the source's.
func (f fan) same(ctx context.Context, p *prepared) error {
	for _, r := range f {
		if err := sameRows(ctx, p.session, r.session); err != nil {
			return err
		}
	}
	return nil
}

// timed returns how long run took and what the source used meanwhile.
func timed(p *prepared, run func() error) (sample, error) {
	before, err := serverCPU(p.server.Pid())
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	if err := run(); err != nil {
		return sample{}, err
	}
	wall := time.Since(began)
	after, err := serverCPU(p.server.Pid())
	return sample{wall: wall, cpu: after - before}, err
}

// subscribed measures a native subscription at each target.
func (f fan) subscribed(ctx context.Context, p *prepared) (sample, error) {
	if err := f.empty(ctx); err != nil {
		return sample{}, err
	}
	var slots []string
	for _, r := range f {
		slot, err := p.copySlot(ctx)
		if err != nil {
			return sample{}, err
		}
		slots = append(slots, slot)
		if err := r.subscribe(ctx, subscription{source: p.server.Port(), db: p.db, slot: slot}); err != nil {
			return sample{}, err
		}
	}
	s, err := timed(p, func() error {
		for _, r := range f {
			if err := r.exec(ctx, "ALTER SUBSCRIPTION native ENABLE"); err != nil {
				return err
			}
		}
		return f.arrived(ctx)
	})
	for i, r := range f {
		err = errors.Join(err, r.unsubscribe(ctx), p.dropSlot(ctx, slots[i]))
	}
	return s, errors.Join(err, f.same(ctx, p))
}

// sinks is the section of a pipeline file that has all targets.
func (f fan) sinks() string {
	var items strings.Builder
	for i, r := range f {
		fmt.Fprintf(&items, "- {name: sink%d, type: postgres, url: %q}\n", i, r.server.URL(r.db))
	}
	return "sinks:\n" + indent(items.String())
}

// piped measures entrain into all targets, by a route.
func (f fan) piped(ctx context.Context, h *harness, p *prepared, by route) (sample, error) {
	if err := f.empty(ctx); err != nil {
		return sample{}, err
	}
	slot, err := p.copySlot(ctx)
	if err != nil {
		return sample{}, err
	}
	file, err := h.pipelineWith(entrainSource{url: p.server.URL(p.db), slot: slot}.yaml(), by.section)
	if err != nil {
		return sample{}, err
	}
	flowing := f[:len(f)-by.stalled]
	for _, r := range f[len(flowing):] {
		if err := r.exec(ctx, "BEGIN; LOCK TABLE t"); err != nil {
			return sample{}, err
		}
	}
	proc := newProcess(ctx, h.bin, "run", file)
	s, err := timed(p, func() error {
		if err := proc.start(); err != nil {
			return err
		}
		ctx, cancel := proc.watch(ctx)
		defer cancel()
		return flowing.arrived(ctx)
	})
	for _, r := range f[len(flowing):] {
		err = errors.Join(err, r.exec(ctx, "ROLLBACK"))
	}
	if err == nil {
		err = f.arrived(ctx)
	}
	if proc.cmd.Process == nil {
		return sample{}, err
	}
	used, stopErr := proc.stop(ctx)
	s.rss = used.rss
	return s, errors.Join(err, stopErr, p.dropSlot(ctx, slot), f.same(ctx, p))
}
