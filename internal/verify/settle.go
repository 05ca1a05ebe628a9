package verify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/entrainsync/entrain"
)

// settle takes the open keys through rounds until there is a verdict about each.
func (r *run) settle(ctx context.Context) error {
	open := r.open
	r.open, r.bytes = nil, 0
	for len(open) > 0 {
		if r.behind != nil {
			r.giveUp(open)
			return nil
		}
		r.Log.Debug("looking at keys that differed", "keys", len(open), "round", 1+len(open[0].looks))
		err := r.round(ctx, open)
		var behind *ErrBehind
		if errors.As(err, &behind) {
			r.behind = behind
			continue
		}
		if err != nil {
			return err
		}
		var rest []*candidate
		for _, c := range open {
			v := Judge(c.first, c.looks)
			if v == Open {
				rest = append(rest, c)
			}
			c.of.result.note(c.show, v)
		}
		if open = rest; len(open) > 0 {
			if err := pause(ctx, betweenRounds); err != nil {
				return err
			}
		}
	}
	return nil
}

// giveUp says of the tables that have open keys that they were not compared.
func (r *run) giveUp(open []*candidate) {
	keys := map[*pair]int{}
	for _, c := range open {
		keys[c.of]++
	}
	for p, n := range keys {
		p.result.refuse(fmt.Sprintf("%d keys differ, but may be on their way: %s", n, r.behind.Why))
	}
}

// round looks once at each key.
func (r *run) round(ctx context.Context, open []*candidate) error {
	before, err := look(ctx, atSource{r.Source}, open)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := r.wait(ctx); err != nil {
		return err
	}
	sink, err := look(ctx, atSink{r.Sink}, open)
	if err != nil {
		return fmt.Errorf("target: %w", err)
	}
	after, err := look(ctx, atSource{r.Source}, open)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	for _, c := range open {
		c.looks = append(c.looks, Look{before[c], sink[c], after[c]})
	}
	return nil
}

// wait returns when the sink has everything that the source has committed.
func (r *run) wait(ctx context.Context) error {
	end, err := r.horizon.End(ctx)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	began, said := time.Now(), false
	for {
		at, err := r.reacher.Reached(ctx)
		if err != nil {
			return fmt.Errorf("ask for the sink's position: %w", err)
		}
		why, err := r.horizon.Behind(ctx, at, end)
		switch waited := time.Since(began); {
		case err != nil:
			return fmt.Errorf("source: %w", err)
		case why == "":
			return nil
		case waited > r.Timeout:
			return &ErrBehind{fmt.Sprintf("within %s the sink did not come to where the source was: %s", r.Timeout, why)}
		case waited > sayAfter && !said:
			said = true
			r.Log.Info("waiting for the sink to come to where the source is", "now", why, "at most", r.Timeout)
		}
		if err := pause(ctx, pollPosition); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end is one of the two.
type end interface {
	of(p *pair) entrain.DigestQuery
	Read(ctx context.Context, q entrain.DigestQuery) iter.Seq2[entrain.Digest, error]
}

type (
	atSource struct{ entrain.DigestSession }
	atSink   struct{ entrain.DigestSession }
)

func (atSource) of(p *pair) entrain.DigestQuery { return p.source }
func (atSink) of(p *pair) entrain.DigestQuery   { return p.sink }

// look asks one end for the keys of the candidates.
func look(ctx context.Context, at end, open []*candidate) (map[*candidate]State, error) {
	byKey := map[*pair]map[string]*candidate{}
	for _, c := range open {
		if byKey[c.of] == nil {
			byKey[c.of] = map[string]*candidate{}
		}
		byKey[c.of][c.key] = c
	}
	found := make(map[*candidate]State, len(open))
	for first := 0; first < len(open); {
		of, last := open[first].of, first
		for last < len(open) && last-first < atOnce && open[last].of == of {
			last++
		}
		q := at.of(of)
		for _, c := range open[first:last] {
			q.Of = append(q.Of, c.key)
		}
		for d, err := range at.Read(ctx, q) {
			if err != nil {
				return nil, err
			}
			if c := byKey[of][d.Key]; c != nil {
				found[c] = stateOf(d)
			}
		}
		first = last
	}
	return found, nil
}
