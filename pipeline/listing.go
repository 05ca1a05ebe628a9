package pipeline

import (
	"context"

	"github.com/entrainsync/entrain"
)

// Tables lists the tables that the source captures now, and those of which
// something is remembered. It may be called while Run works, from any goroutine.
func (p *Pipeline) Tables(ctx context.Context) ([]TableStatus, error) {
	if err := p.tables.load(ctx); err != nil {
		return nil, err
	}
	listed, err := p.listTables(ctx)
	if err != nil {
		return nil, err
	}
	once, err := p.onceStatus(ctx)
	if err != nil {
		return nil, err
	}
	return append(p.tables.status(listed), once...), nil
}

// status is what is known of the listed tables and of the others.
func (t *tables) status(listed []entrain.ChunkTable) []TableStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []TableStatus
	seen := map[tableName]bool{}
	for i := range listed {
		table := listed[i].Table
		name := tableName{table.Schema, table.Name}
		st := TableStatus{Table: table.String(), State: TableStreaming, Estimate: listed[i].Rows}
		if l := t.lives[name]; l != nil {
			st = l.status(listed[i].Rows)
		}
		seen[name] = true
		all = append(all, st)
	}
	for _, l := range t.sorted() {
		if !seen[tableName{l.Schema, l.Name}] {
			all = append(all, l.status(-1))
		}
	}
	return all
}

func (l *life) status(estimate int64) TableStatus {
	return TableStatus{
		Table: l.Schema + "." + l.Name, State: l.State, Held: l.Held, Refresh: l.Refresh, Reason: l.Reason, Code: l.Code, Since: l.Since,
		Rows: l.Copy.Rows, Estimate: estimate,
	}
}
