package capture

import (
	"context"
	"fmt"
	"time"

	"github.com/entrainsync/entrain"
)

// A server that shuts down waits until a logical walsender has sent everything
// and been told that it is durable. With a sink that hangs that would be never.
// The slot keeps what was not delivered, so nothing is gained by the wait: the
// session is ended once it makes no progress (P7).

const (
	// stateCannotConnect is what a server says to newcomers while it shuts
	// down. One that starts up says the same, but has no sessions yet.
	stateCannotConnect = "57P03"

	// leaveStep is how long a session may make no progress then, and
	// leaveLimit how long it may go on at all.
	leaveStep  = time.Second
	leaveLimit = 10 * time.Second
)

// probe finds out why the connection beside the stream was ended: the server
// ends all ordinary ones first when it shuts down.
func (w *slotWatch) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchInterval)
	defer cancel()
	return w.dial(ctx)
}

// leave ends the session when it does not get further.
func (w *slotWatch) leave(ctx context.Context) {
	ticker := time.NewTicker(leaveStep)
	defer ticker.Stop()
	before := w.confirmed()
	for range leaveLimit / leaveStep {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		now := w.confirmed()
		if now == before {
			break
		}
		before = now
	}
	if before < w.read() {
		w.cfg.Log.Warn("the source shuts down while not everything that was read is delivered: the slot keeps the rest",
			"slot", w.cfg.Slot, "delivered", before.String())
	} else {
		w.cfg.Log.Info("the source shuts down; everything that was read is delivered", "slot", w.cfg.Slot, "delivered", before.String())
	}
	w.giveUp(fmt.Errorf("%w: the source shuts down", entrain.ErrDisconnected))
}
