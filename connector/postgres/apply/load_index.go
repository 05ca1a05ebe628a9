package apply

import (
	"context"
	"fmt"
	"sync"

	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// indexMemory is what the sorting for the indexes of a table may take at the
// server, in kB, shared by those that are made at the same time. A server that
// is set to give more to each does so.
const indexMemory = 256 << 10

const indexMemorySQL = `SELECT set_config('maintenance_work_mem',
  greatest(pg_size_bytes(current_setting('maintenance_work_mem')) / 1024, $1::bigint) || 'kB', true)`

// index makes the indexes of a table that we made and that has all its rows,
// each in a transaction of its own: several at a time, by the sessions that
// nobody uses just then. What is there of them is left as it is, so a load that
// ends in the middle does no harm.
func (l *tableLoad) index(ctx context.Context) error {
	d := l.from.Definition
	if l.plan.made == madeByOthers || l.plan.mode != modeDirect || d == nil || len(d.Indexes) == 0 {
		return nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var helpers []*loadSession
	for len(helpers)+1 < len(d.Indexes) {
		x := l.sink.loads.take(l.by)
		if x == nil {
			break
		}
		helpers = append(helpers, x)
	}
	todo := make(chan string, len(d.Indexes))
	for _, sql := range d.Indexes {
		todo <- sql
	}
	close(todo)
	memory := dial.Question{SQL: indexMemorySQL, Args: []string{fmt.Sprint(indexMemory / (len(helpers) + 1))}}
	work := func(x *loadSession) error {
		for sql := range todo {
			err := l.watch(x, l.indexBy(ctx, x, sql, memory))
			if err != nil {
				stop(err)
				return err
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	for _, x := range helpers {
		wg.Go(func() { _ = l.sink.use(ctx, x, work) }) // stop has the error
	}
	if err := l.sink.inLoad(ctx, l.by, work); err != nil {
		stop(err) // also of a session that could not be opened
	}
	wg.Wait()
	return context.Cause(ctx)
}

// indexBy makes one index.
func (l *tableLoad) indexBy(ctx context.Context, x *loadSession, sql string, memory dial.Question) error {
	if _, err := x.begin(ctx, l.claim(), memory); err != nil {
		return err
	}
	if err := x.define(ctx, l.from.Table, []string{sql}); err != nil {
		return err
	}
	return x.commit(ctx, l.claim())
}
