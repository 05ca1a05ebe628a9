package main

import (
	"context"
	"errors"
	"fmt"
)

// gate measures apply with the version gate by turns with apply without, in order:
// what the gate costs is that the version of each row is noted.
func gate(ctx context.Context, h *harness) (err error) {
	source, target, err := h.servers(ctx, map[string]string{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	ours, err := openReplica(ctx, target, "gate_entrain")
	if err != nil {
		return err
	}
	defer ours.close(ctx)
	pairs := load{"pairs", h.scaled(200_000), "insert_and_update"}
	for _, w := range []struct {
		load
		name string
	}{
		{pairs, fmt.Sprintf("apply %d x (insert; update of another row) with version_gate", pairs.count)},
		{load{"one_transaction", h.opt.rows, "insert_at_once"}, fmt.Sprintf("apply %d inserts of one transaction with version_gate", h.opt.rows)},
	} {
		p, err := h.prepare(ctx, source, w.load)
		if err != nil {
			return err
		}
		h.say("%s", w.name)
		var contenders []contender
		for _, setting := range []string{"", "\nversion_gate: true"} {
			contenders = append(contenders, contender{"entrain", func(ctx context.Context) (sample, error) {
				return ours.replay(ctx, p, func(slot string) (sample, error) {
					file, err := h.pipelineFile(entrainSource{url: p.server.URL(p.db), slot: slot}.yaml(), ours.sink()+setting)
					if err != nil {
						return sample{}, err
					}
					return measure(ctx, h.bin, "run", file, "--until", p.end)
				})
			}})
		}
		samples, err := alternate(ctx, h, h.opt.runs, contenders...)
		if err := errors.Join(err, p.discard(ctx)); err != nil {
			return err
		}
		if err := h.add(compare(pairing{w.name, "without version_gate"}, samples[1], samples[0], limits{rate: 0.8})); err != nil {
			return err
		}
	}
	return nil
}
