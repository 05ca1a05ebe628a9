package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/entrainsync/entrain"
)

// errNoHolder says that nobody can tell a load by whose right it writes.
var errNoHolder = errors.New("load rows: no session of this sink has taken the position over yet")

// tableLoad is the load of one table. Each call takes a session of the sink's
// for itself.
type tableLoad struct {
	sink  *Sink
	from  entrain.SnapshotTable
	by    holder
	id    string // of this load in entrain.load
	stop  context.Context
	table *targetTable
	// into is where parts go: the table or its stage.
	into *targetTable
	plan loadPlan

	mu       sync.Mutex
	finished bool // guarded by mu, as what follows
	closed   bool
	// broken is why the load has to begin anew.
	broken error
}

// Load prepares for the rows of a table; see [entrain.Loader].
func (s *Sink) Load(ctx context.Context, t entrain.SnapshotTable) (entrain.TableLoad, error) {
	by, ok := s.lease.get()
	if !ok {
		return nil, errNoHolder
	}
	l := &tableLoad{sink: s, from: t, by: by, id: newOwner(), stop: context.WithoutCancel(ctx)}
	s.loads.enter()
	err := l.inSession(ctx, func(x *loadSession) error { return l.prepare(ctx, x) })
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("prepare the load of table %s: %w", t.Table, err)
	}
	return l, nil
}

// Part stores rows; see [entrain.TableLoad].
func (l *tableLoad) Part(ctx context.Context, r entrain.RowReader) (int64, error) {
	if err := l.usable(); err != nil {
		return 0, err
	}
	var rows int64
	err := l.inSession(ctx, func(x *loadSession) error {
		var err error
		rows, err = l.copyPart(ctx, x, r)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("load a part of table %s: %w", l.from.Table, err)
	}
	return rows, nil
}

// Finish makes the rows the table's; see [entrain.TableLoad].
func (l *tableLoad) Finish(ctx context.Context, note string) error {
	if err := l.usable(); err != nil {
		return err
	}
	err := l.index(ctx)
	if err == nil {
		err = l.inSession(ctx, func(x *loadSession) error { return l.conclude(ctx, x, note) })
	}
	if err != nil {
		return fmt.Errorf("finish the load of table %s: %w", l.from.Table, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = true
	return nil
}

// Close ends the load; see [entrain.TableLoad]. The last one ends the sessions
// of all.
func (l *tableLoad) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = errors.New("the load is closed")
	}
	if !l.closed {
		l.closed = true
		l.sink.loads.leave(l.stop)
	}
	return nil
}

func (l *tableLoad) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.broken != nil:
		return fmt.Errorf("load table %s: %w", l.from.Table, l.broken)
	case l.finished:
		return fmt.Errorf("load table %s: the load is finished", l.from.Table)
	}
	return nil
}

// inSession runs do in a session, which does not outlive an error.
func (l *tableLoad) inSession(ctx context.Context, do func(x *loadSession) error) error {
	return l.sink.inLoad(ctx, l.by, func(x *loadSession) error { return l.watch(x, do(x)) })
}

// watch breaks the load off if an error leaves open whether a commit was done.
func (l *tableLoad) watch(x *loadSession, err error) error {
	if err != nil && x.unsettled {
		l.breakOff(err)
	}
	return err
}

// breakOff makes the load one that has to begin anew: of a commit without an
// answer nobody knows whether it was done.
func (l *tableLoad) breakOff(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = fmt.Errorf("it has to begin anew, since the outcome of a commit is unknown: %w", err)
	}
}
