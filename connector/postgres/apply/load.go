package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// errNoHolder says that nobody can tell a load by whose right it writes.
var errNoHolder = errors.New("load rows: no session of this sink has taken the position over yet")

// tableLoad is the load of one table. Its sessions are its own: those that no
// call uses are in idle, and Close ends them.
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
	idle     []*loadSession // guarded by mu, as what follows
	finished bool
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
		return x.transact(ctx, l.claim(), func() error {
			var err error
			rows, err = l.copyPart(ctx, x, r)
			return err
		})
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
	err := l.inSession(ctx, func(x *loadSession) error {
		return x.transact(ctx, l.claim(), func() error { return l.conclude(ctx, x, note) })
	})
	if err != nil {
		return fmt.Errorf("finish the load of table %s: %w", l.from.Table, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = true
	return nil
}

// Close ends the load's sessions; see [entrain.TableLoad].
func (l *tableLoad) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.idle {
		dial.Close(l.stop, x.conn)
	}
	l.idle = nil
	if l.broken == nil {
		l.broken = errors.New("the load is closed")
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

// inSession runs do in a session of the load, which does not outlive an error.
func (l *tableLoad) inSession(ctx context.Context, do func(x *loadSession) error) error {
	x, err := l.take(ctx)
	if err != nil {
		return err
	}
	if err := do(x); err != nil {
		dial.Close(ctx, x.conn)
		if x.unsettled {
			l.breakOff(err)
		}
		return err
	}
	l.give(x)
	return nil
}

func (l *tableLoad) take(ctx context.Context) (*loadSession, error) {
	l.mu.Lock()
	if n := len(l.idle); n > 0 {
		defer l.mu.Unlock()
		x := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return x, nil
	}
	l.mu.Unlock()
	return l.sink.openLoad(ctx, l.by)
}

// give keeps a session for the next call, unless the load was closed meanwhile.
func (l *tableLoad) give(x *loadSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		dial.Close(l.stop, x.conn)
		return
	}
	l.idle = append(l.idle, x)
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
