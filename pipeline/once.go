package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
)

// copiedOnce lists what only a copy can deliver, since its changes are never seen.
func (p *Pipeline) copiedOnce(ctx context.Context) ([]entrain.TableName, error) {
	source, ok := p.opt.Source.(entrain.OnceLister)
	if !ok {
		return nil, nil
	}
	names, err := source.CopiedOnce(ctx)
	wants := p.opt.Snapshot.Wants
	return slices.DeleteFunc(names, func(n entrain.TableName) bool { return wants != nil && !wants(n.Schema, n.Name) }), err
}

// withoutCopy is asked where no rows will be copied: what was not copied before, and
// has no changes, would never come. Where nothing is ever copied that is a stop.
func (p *Pipeline) withoutCopy(ctx context.Context, ledger Ledger) error {
	once, err := p.copiedOnce(ctx)
	if err != nil {
		return err
	}
	var lacking []string
	for _, n := range once {
		if ledger.find(n.Schema, n.Name) == nil {
			lacking = append(lacking, n.Schema+"."+n.Name)
		}
	}
	switch {
	case len(lacking) == 0:
		return nil
	case p.opt.Snapshot.Mode == SnapshotNever:
		return &entrain.Stop{
			Code: "view_never_copied",
			What: "nothing would ever come of " + strings.Join(lacking, ", "),
			Why:  "the source has no changes of it (a view, a materialized view or a foreign table), and snapshot.mode is never",
			Next: "set snapshot.mode to initial in FILE, or take it out of source.tables.include",
		}
	}
	if !p.saidOnce {
		p.saidOnce = true
		p.log.Warn("the first copy was made without these, and they have no changes: nothing comes of them", "tables", strings.Join(lacking, ", "))
	}
	return nil
}

// onceStatus says where those are that only a copy delivers.
func (p *Pipeline) onceStatus(ctx context.Context) ([]TableStatus, error) {
	once, err := p.copiedOnce(ctx)
	store, keeps := p.opt.Store.(LedgerStore)
	if err != nil || len(once) == 0 || !keeps {
		return nil, err
	}
	ledger, err := store.LoadLedger(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]TableStatus, len(once))
	for i, n := range once {
		st := TableStatus{Table: n.Schema + "." + n.Name, State: TableLeftOut, Estimate: -1}
		switch copied := ledger.find(n.Schema, n.Name); {
		case copied != nil:
			st.State, st.Estimate = TableCopied, copied.Rows
		case ledger.Complete || ledger.From.IsZero():
			st.Reason = "the first copy was made without it"
		default:
			st.Reason = "its rows are to be copied"
		}
		all[i] = st
	}
	return all, nil
}

// checkStreams refuses an order about something that has no changes.
func (p *Pipeline) checkStreams(ctx context.Context, name tableName) error {
	once, err := p.copiedOnce(ctx)
	if err != nil || !slices.Contains(once, entrain.TableName{Schema: name.schema, Name: name.name}) {
		return err
	}
	return &entrain.Stop{
		Code: "view_copied_once",
		What: fmt.Sprintf("%s.%s is a view, a materialized view or a foreign table: the first copy delivers its rows, and nothing else does", name.schema, name.name),
		Why:  "it has no changes in the source's log, and no key in it by which it could be read beside the stream",
		Next: "entrain table list FILE",
	}
}
