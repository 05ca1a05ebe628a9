package nats

import (
	"context"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/entrainsync/entrain"
)

const (
	// lookEvery is how often a session that writes nothing looks whether its server is
	// there.
	lookEvery = 2 * time.Second
	// lookTimeout is how long the server may take to say so.
	lookTimeout = 4 * time.Second
)

// watch waits until the connection is lost, and returns why, or until ctx ends. While
// something is written it does not ask: the answer would come behind all of it.
func (s *sequence) watch(ctx context.Context) error {
	changed := s.nc.StatusChanged(natsgo.CLOSED)
	defer s.nc.RemoveStatusListener(changed)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			return s.gone(ctx, s.nc.LastError())
		case <-tick.C:
		}
		if s.busy.Load() > 0 {
			continue
		}
		within, cancel := context.WithTimeout(ctx, lookTimeout)
		err := s.nc.FlushWithContext(within)
		cancel()
		if err != nil && s.busy.Load() == 0 {
			return s.gone(ctx, err)
		}
	}
}

// gone is why a session is over by itself; nil if ctx has ended it.
func (s *sequence) gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = natsgo.ErrConnectionClosed
	}
	lost := entrain.Retryable(fmt.Errorf("the connection to NATS at %s is lost: %w: %w", s.backend.url, entrain.ErrDisconnected, err))
	return s.backend.denied(ctx, s.nc, lost)
}
