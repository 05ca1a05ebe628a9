package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// DropDoubles removes the pipeline's doubles of other tables than those to keep; see
// [entrain.DoubleDropper]. They are known by their comments, since their tables may be
// gone. A session that has been replaced removes nothing.
func (w *writer) DropDoubles(ctx context.Context, keep []entrain.TableName) error {
	if w.broken != nil {
		return fmt.Errorf("drop doubles after the session ended: %w", w.broken)
	}
	if !w.opened || w.inTx {
		return errors.New("drop doubles: not between two transactions of a session that has the position")
	}
	remark := doubleRemark(w.cfg.Pipeline)
	rows, err := dial.QueryRows(ctx, w.conn, doublesSQL, remark)
	if err != nil {
		return w.undone(ctx, fmt.Errorf("look for doubles of tables: %w", err))
	}
	rows = slices.DeleteFunc(rows, func(row []string) bool {
		return slices.ContainsFunc(keep, func(t entrain.TableName) bool { return t.Schema+"."+t.Name == strings.TrimPrefix(row[1], remark) })
	})
	if len(rows) == 0 {
		return nil
	}
	if err := w.dropTables(ctx, rows); err != nil {
		return w.undone(ctx, fmt.Errorf("drop doubles of tables: %w", err))
	}
	return nil
}

// dropTables drops doubles in one transaction, which holds the position row.
func (w *writer) dropTables(ctx context.Context, doubles [][]string) error {
	if err := w.runAll(ctx, []string{"BEGIN", "SET LOCAL lock_timeout = '5s'"}); err != nil {
		return err
	}
	ours, err := dial.QueryRow(ctx, w.conn, holderSQL+" FOR SHARE", w.cfg.Pipeline, w.cfg.Source, w.owner, w.fence)
	if err != nil {
		return err
	}
	if ours == nil {
		return w.stopFenced(ctx)
	}
	for _, row := range doubles {
		if err := run(ctx, w.conn, "DROP TABLE IF EXISTS entrain."+row[0]); err != nil {
			return err
		}
	}
	return run(ctx, w.conn, "COMMIT")
}

// undone leaves the session as it was, or ends it.
func (w *writer) undone(ctx context.Context, err error) error {
	if w.conn.IsClosed() {
		return w.fail(err)
	}
	if w.conn.TxStatus() == 'I' {
		return dial.Classify(err)
	}
	if fault := run(ctx, w.conn, "ROLLBACK"); fault != nil {
		return w.fail(errors.Join(err, fault))
	}
	return dial.Classify(err)
}
