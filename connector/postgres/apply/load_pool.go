package apply

import (
	"context"
	"sync"

	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// loadPool keeps the sessions that no call of a load uses, of one table for the
// next: what a new one has to learn takes longer than a small table. They are
// kept as long as a load is open.
type loadPool struct {
	mu    sync.Mutex
	loads int            // that are open
	idle  []*loadSession // guarded by mu, as what follows
	// ready: entrain.load was seen since the first of these loads.
	ready bool
}

func (p *loadPool) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loads++
}

// leave is for a load that is closed. The last one ends the sessions.
func (p *loadPool) leave(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loads--; p.loads > 0 {
		return
	}
	var wg sync.WaitGroup
	for _, x := range p.idle {
		wg.Go(func() { dial.Close(ctx, x.conn) })
	}
	wg.Wait()
	p.idle, p.ready = nil, false
}

// take returns a session that nobody uses, nil if there is none.
func (p *loadPool) take(by holder) *loadSession {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	x := p.idle[n-1]
	p.idle = p.idle[:n-1]
	x.by, x.catalog.role = by, by.role
	return x
}

// give keeps a session for another call, unless no load is open any more.
func (p *loadPool) give(ctx context.Context, x *loadSession) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loads == 0 {
		dial.Close(ctx, x.conn)
		return
	}
	p.idle = append(p.idle, x)
}

func (p *loadPool) isReady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

func (p *loadPool) setReady() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = p.loads > 0
}

// inLoad runs do in a session by which a holder loads; none outlives an error.
func (s *Sink) inLoad(ctx context.Context, by holder, do func(x *loadSession) error) error {
	x := s.loads.take(by)
	if x == nil {
		var err error
		if x, err = s.openLoad(ctx, by); err != nil {
			return err
		}
	}
	return s.use(ctx, x, do)
}

// use runs do in a session that was taken, and gives it back.
func (s *Sink) use(ctx context.Context, x *loadSession, do func(x *loadSession) error) error {
	if err := do(x); err != nil {
		dial.Close(ctx, x.conn)
		return err
	}
	s.loads.give(context.WithoutCancel(ctx), x)
	return nil
}

// asHolder is inLoad by the right of the sink's last session that took the
// position over.
func (s *Sink) asHolder(ctx context.Context, do func(x *loadSession) error) error {
	by, ok := s.lease.get()
	if !ok {
		return errNoHolder
	}
	return s.inLoad(ctx, by, do)
}
