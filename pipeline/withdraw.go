package pipeline

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
)

// making writes down what is about to be made at the source, before it is.
func (c *copying) making(ctx context.Context, name string) error {
	c.made = name != ""
	c.ledger.Made = name
	if len(c.ledger.Tables) == 0 && c.ledger.Before == nil {
		c.ledger.Before = c.checkpoint(entrain.Position{}).Mark
	}
	return c.store.SaveLedger(ctx, c.ledger, nil)
}

// cancelled gives a copy up that somebody has cancelled. What it made at the
// source is removed, so that no log piles up there for a pipeline that does not
// run; the next run begins anew. What was there before stays, and then the next
// run goes on: the source has kept what changed since.
func (c *copying) cancelled(ctx context.Context, from entrain.Position) error {
	_, keeps := c.writer.(entrain.Positioner)
	_, loads := c.p.opt.Sink.(entrain.Loader)
	placed := c.ending || keeps && (!loads || !from.IsZero()) // the sink may have a place in the history already
	if c.ledger.Made == "" || placed {
		return &entrain.Stop{
			Code: "snapshot_cancelled",
			What: errCancelled.Error(),
			Why:  "what was copied stays at the target, and a slot at the source, where it keeps the log",
			Next: "entrain run FILE   # goes on; or, to give it up: entrain teardown FILE",
		}
	}
	c.ledger.Withdrawn = true
	made := c.ledger.Made
	with := Checkpoint{Mark: c.ledger.Before}
	if err := c.store.SaveLedger(ctx, c.ledger, &with); err != nil {
		return err
	}
	if _, err := c.p.finishWithdrawing(ctx, c.store, c.ledger); err != nil {
		return &entrain.Stop{
			Code: "snapshot_cancelled",
			What: errCancelled.Error() + ", but " + made + " is still at the source, and keeps its log",
			Why:  "it could not be removed: " + err.Error(),
			Next: "entrain run FILE   # removes it and copies anew; or, to give it up: entrain teardown FILE",
			Err:  err,
		}
	}
	return &entrain.Stop{
		Code: "snapshot_cancelled",
		What: errCancelled.Error() + ", and " + made + " removed from the source",
		Why:  "what was copied stays at the target; what changes at the source meanwhile is not kept",
		Next: "entrain run FILE   # copies all rows anew; or, to give it up: entrain teardown FILE",
	}
}

// finishWithdrawing removes what a cancelled copy made at the source and forgets
// the copy. After a crash it is called again.
func (p *Pipeline) finishWithdrawing(ctx context.Context, store LedgerStore, l Ledger) (Ledger, error) {
	source, ok := p.opt.Source.(entrain.Withdrawer)
	if !ok {
		return l, fmt.Errorf("%s: this kind of source cannot remove it", l.Made)
	}
	if err := source.Withdraw(ctx, l.Made, l.Incarnation); err != nil {
		return l, fmt.Errorf("remove %s, which a cancelled copy left at the source: %w", l.Made, err)
	}
	p.log.Info("removed what a cancelled copy made at the source", "what", l.Made)
	return Ledger{}, store.SaveLedger(ctx, Ledger{}, nil)
}
