package demo

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/verify"
)

// verify compares both sides once more, as the command of that name does.
func (d *demo) verify(ctx context.Context) error {
	source, sink, err := d.ends()
	if err != nil {
		return err
	}
	log := d.opt.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	o := verify.Options{
		Map: asItIs, Wants: func(string, string) bool { return true }, Timeout: 10 * time.Second, Log: log,
	}
	if o.Source, err = source.Digest(ctx); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer o.Source.Close()
	if o.Sink, err = sink.Digest(ctx); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer o.Sink.Close()
	found, err := verify.Run(ctx, o)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	var rows int64
	for _, t := range found {
		if t.Outcome != verify.SameRows {
			return fmt.Errorf("%w: entrain verify finds table %s %s", ErrDiffer, t.Source, t.Outcome)
		}
		rows += t.Rows
	}
	fmt.Fprintf(d.screen.out, "entrain verify: %d tables, %d rows, equal by key\n", len(found), rows)
	return nil
}

// asItIs is what a pipeline without rules makes of a table.
func asItIs(t *entrain.Table) (verify.Mapping, error) {
	m := verify.Mapping{Table: t, From: make([]int, len(t.Columns))}
	for i := range m.From {
		m.From[i] = i
	}
	return m, nil
}
