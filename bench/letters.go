package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// letters measures what rows cost that the target refuses: inserts, each a
// transaction, of which a constraint of the target allows all, or all but each
// hundredth or tenth. What is refused becomes a dead letter, alone or with its
// transaction; directly, and behind an embedded stream.
func letters(ctx context.Context, h *harness) (err error) {
	source, target, err := h.servers(ctx, map[string]string{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	p, err := h.prepare(ctx, source, load{"letters", h.scaled(100_000), "insert_rows"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.discard(ctx)) }()
	for _, through := range []string{"", "stream: {type: embedded}\n"} {
		for _, unit := range []string{"transaction", "event"} {
			if err := h.refusals(ctx, p, target, refusing{through: through, unit: unit}); err != nil {
				return err
			}
		}
	}
	return nil
}

// refusing is how a run is set up in which rows are refused.
type refusing struct {
	through string // the stream's section, with its end of line; "" directly
	unit    string // what becomes a dead letter with an event
	each    int64  // one row of so many is refused; 0 for none
}

func (r refusing) name(p *prepared) string {
	way := "directly"
	if r.through != "" {
		way = "embedded stream"
	}
	return fmt.Sprintf("%d inserts, %g %% refused, unit %s, %s", p.count, 100/float64(r.each), r.unit, way)
}

// refusals compares runs in which rows are refused with one in which none is.
func (h *harness) refusals(ctx context.Context, p *prepared, target *pgserver.Server, r refusing) (err error) {
	into, err := openReplica(ctx, target, fmt.Sprintf("letters_%s_%d", r.unit, len(r.through)))
	if err != nil {
		return err
	}
	defer into.close(ctx)
	var contenders []contender
	rates := []struct {
		each int64
		want limits
	}{{0, limits{}}, {100, limits{rate: 0.5}}, {10, limits{rate: 0.1}}}
	for _, rate := range rates {
		how := r
		how.each = rate.each
		contenders = append(contenders, contender{fmt.Sprintf("one of %d refused", rate.each), func(ctx context.Context) (sample, error) {
			return into.refuse(ctx, h, p, how)
		}})
	}
	samples, err := alternate(ctx, h, h.opt.runs, contenders...)
	if err != nil {
		return err
	}
	for i, rate := range rates[1:] {
		r.each = rate.each
		if err := h.add(compare(pairing{r.name(p), "none refused"}, samples[i+1], samples[0], rate.want)); err != nil {
			return err
		}
	}
	return nil
}

// refuse measures one run, and then counts what came and what did not.
func (r *replica) refuse(ctx context.Context, h *harness, p *prepared, how refusing) (sample, error) {
	slot, err := p.copySlot(ctx)
	if err != nil {
		return sample{}, err
	}
	if err := r.empty(ctx); err != nil {
		return sample{}, err
	}
	refused := int64(0)
	constraint := []string{"ALTER TABLE t DROP CONSTRAINT IF EXISTS picky"}
	if how.each > 0 {
		refused = p.count / how.each
		constraint = append(constraint, fmt.Sprintf("ALTER TABLE t ADD CONSTRAINT picky CHECK (id %% %d <> 0)", how.each))
	}
	if err := r.exec(ctx, constraint...); err != nil {
		return sample{}, err
	}
	sections := fmt.Sprintf("%ssink:\n%s\ndead_letter: {unit: %s}", how.through, indent(r.sink()), how.unit)
	file, err := h.pipelineWith(entrainSource{url: p.server.URL(p.db), slot: slot}.yaml(), sections)
	if err != nil {
		return sample{}, err
	}
	s, err := measure(ctx, h.bin, "run", file, "--until", p.end)
	if err != nil {
		return sample{}, err
	}
	return s, errors.Join(r.counted(ctx, h, p.count-refused, refused), p.dropSlot(ctx, slot))
}

// counted fails if a row is lost or doubled, and tells how many sessions there were.
func (r *replica) counted(ctx context.Context, h *harness, rows, letters int64) error {
	there, err := r.value(ctx, "SELECT count(*) || ' rows' FROM t")
	if err != nil {
		return err
	}
	parked := "0 letters"
	if letters > 0 {
		if parked, err = r.value(ctx, "SELECT count(*) || ' letters' FROM entrain.dead_letter"); err != nil {
			return err
		}
	}
	sessions, err := r.value(ctx, "SELECT max(fence) FROM entrain.position")
	if err != nil {
		return err
	}
	h.say("  %s, %s, %s sessions", there, parked, sessions)
	if want := fmt.Sprintf("%d rows, %d letters", rows, letters); there+", "+parked != want {
		return fmt.Errorf("%w: %s, %s, want %s", errDiffer, there, parked, want)
	}
	return nil
}
