package apply

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/versiongate"
)

const (
	// keepTombstones is how long the version of a deleted row is kept at least.
	keepTombstones = time.Hour
	// sweepEvery is every how many batches one table is swept, sweepRows how many
	// tombstones that removes at most.
	sweepEvery = 100
	sweepRows  = 5_000
)

// sweeper removes tombstones that are no longer needed: all deliveries of the pipeline
// have passed them, this session has for an hour, and no dead letter is kept that may
// still be delivered.
type sweeper struct {
	keep    time.Duration
	now     func() time.Time
	tables  []*targetTable // in turn
	batches int
	older   moment // what is before it is old enough, once newer is
	newer   moment
}

// moment is where the mark was at a time.
type moment struct {
	at   time.Time
	mark versiongate.Version
}

func (s *sweeper) meet(t *targetTable) {
	s.tables = slices.DeleteFunc(s.tables, func(o *targetTable) bool { return o.Relation == t.Relation })
	s.tables = append(s.tables, t)
}

// bound is below which versions tombstones are old enough; zero for none.
func (s *sweeper) bound(mark versiongate.Version) versiongate.Version {
	now := s.now()
	if s.newer.at.IsZero() {
		s.newer = moment{now, mark}
	}
	if now.Sub(s.newer.at) >= s.keep {
		s.older, s.newer = s.newer, moment{now, mark}
	}
	return s.older.mark
}

const (
	lettersKeptSQL = `SELECT 1 FROM entrain.dead_letter WHERE pipeline = $1 OR starts_with(pipeline, $1 || ':') LIMIT 1`
)

// sweep removes tombstones of one table now and then, in the open transaction.
func (g *gate) sweep(ctx context.Context) error {
	s := &g.sweeper
	bound := s.bound(g.mark)
	s.batches++
	if s.batches < sweepEvery || len(s.tables) == 0 || bound == (versiongate.Version{}) {
		return nil
	}
	s.batches = 0
	kept, err := dial.QueryRow(ctx, g.w.conn, hasLettersSQL)
	if err == nil && kept != nil {
		kept, err = dial.QueryRow(ctx, g.w.conn, lettersKeptSQL, g.family)
	}
	if err != nil {
		return g.explain(fmt.Errorf("look for dead letters: %w", err))
	}
	if kept != nil {
		return nil
	}
	t := s.tables[0]
	s.tables = append(s.tables[1:], t)
	args := append([]string{g.family, t.Table.String(), relationText(t)}, texts(bound)...)
	if err := g.run(ctx, versiongate.SweepSQL, append(args, strconv.Itoa(sweepRows))...); err != nil {
		return fmt.Errorf("remove tombstones of table %s: %w", t.Table, err)
	}
	return nil
}

// tables are the names of the gate's tables; none without a gate.
func (g *gate) tables() []string {
	if g == nil {
		return nil
	}
	return versiongate.Tables
}
