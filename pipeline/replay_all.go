package pipeline

import (
	"context"
	"errors"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// replayAll replays all letters, as far as they can be: what the sink refuses again, or
// cannot take, holds up the letters of its tables and those that come behind them, and no
// others. The error is about the first that it refused.
func (p *Pipeline) replayAll(ctx context.Context) (total int, first error) {
	held := map[string]bool{} // tables
	for {
		before := len(held)
		n, err := p.onLetters(ctx, func(work context.Context, s *session) (int, error) {
			letters, err := p.letters.toReplay(work, s, nil)
			if err != nil {
				return 0, err
			}
			return p.letters.replay(work, s, replaying{asker: ctx, letters: p.letters.without(letters, held), refused: func(some []parking.Letter) {
				for i := range some {
					for _, t := range tablesOf(&some[i].Event) {
						held[t.String()] = true
					}
				}
			}})
		})
		total += n
		if first == nil {
			first = err
		}
		var again *replayError
		if err == nil || ctx.Err() != nil || !errors.As(err, &again) || entrain.IsRetryable(again.error) || len(held) == before {
			return total, first
		}
	}
}

// without leaves out the letters of some tables and what comes behind them: with the whole
// transaction, where these are parked whole.
func (d *desk) without(letters []parking.Letter, tables map[string]bool) []parking.Letter {
	if len(tables) == 0 {
		return letters
	}
	left := parking.New(d.opt.Rules)
	var some []parking.Letter
	for len(letters) > 0 {
		n := 1
		for d.opt.Rules.Unit == parking.Transactions && n < len(letters) && sameTransaction(letters[n].Event.Tx, letters[0].Event.Tx) {
			n++
		}
		waits := false
		for i := range letters[:n] {
			e := &letters[i].Event
			waits = waits || left.Before(e) != ""
			for _, t := range tablesOf(e) {
				waits = waits || tables[t.String()]
			}
		}
		if waits {
			left.Add(letters[:n])
		} else {
			some = append(some, letters[:n]...)
		}
		letters = letters[n:]
	}
	return some
}

// keyless reports whether the source names no columns that tell the table's rows apart.
func keyless(t *entrain.Table) bool {
	return t != nil && !slices.ContainsFunc(t.Columns, func(c entrain.Column) bool { return c.Key })
}
