package pipeline

import (
	"fmt"
	"hash/fnv"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/backfill"
)

// chosen stands for what of a table's rows and columns goes to the sink: the source's
// choice and what the pipeline's rules do. Where it becomes another one before all rows
// are copied, those that are there are not what the rest will be.
func (p *Pipeline) chosen(table *entrain.Table, bySource string) string {
	rules := ""
	if p.opt.Snapshot.Rules != nil {
		rules = p.opt.Snapshot.Rules(table.Schema, table.Name)
	}
	if bySource == "" && rules == "" {
		return "all"
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%q,%q", bySource, rules)
	return fmt.Sprintf("%016x", h.Sum64())
}

// choose notes what is to be copied of a table. Copying begins anew if it was something
// else, and reports that: what is known of it is of no use then. mu is held.
func (t *tables) choose(l *life, found *entrain.ChunkTable) (other bool) {
	now := t.p.chosen(found.Table, found.Chosen)
	was := l.Chosen
	if now == was {
		return false
	}
	l.Chosen, t.owed = now, true
	if was == "" || l.copy == nil && l.Copy.After == nil && l.Copy.Rows == 0 && !l.Copy.Finished {
		return false
	}
	t.p.log.Warn("other rows or columns of a table are chosen than before: it is copied from its beginning once more", "table", found.Table.String())
	l.Copy, l.begun = backfill.Progress{}, false
	return true
}

// rechosen does that for the tables that are being read: while no session read chunks,
// what the source captures may have changed.
func (t *tables) rechosen(listed []entrain.ChunkTable) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.sorted() {
		found := findTable(listed, l.Schema, l.Name)
		if found == nil || l.copy == nil || l.over || !l.reads() || !t.choose(l, found) {
			continue
		}
		if err := t.renew(l, l.copy.Table()); err != nil {
			return err
		}
	}
	t.signal()
	return nil
}
