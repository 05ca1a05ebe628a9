package redis

import (
	"context"
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain/stream/packed"
)

const (
	// block is how long the server waits for a message before it answers that there
	// is none; a context does not end that wait.
	block = 500 * time.Millisecond
	// atOnce is how many messages are read at once, of up to a megabyte each.
	atOnce = 8
)

// follower reads ahead by a connection of its own.
type follower struct {
	seq      *sequence
	conn     *conn
	messages chan packed.Message
	ctx      context.Context // until it is closed
	cancel   context.CancelFunc
	done     chan struct{} // is closed when reading has ended
	err      error         // why; then
}

// Follow implements [packed.History].
func (s *sequence) Follow(ctx context.Context, after uint64) (packed.Follower, error) {
	for _, g := range s.gaps {
		if g.survived < after && after <= g.floor {
			return nil, s.stopLost(after, g)
		}
	}
	c, err := s.conn.server.dial(ctx)
	if err != nil {
		return nil, err
	}
	if c.seen().run != s.conn.seen().run {
		c.close()
		return nil, s.conn.server.mark(ctx, errOtherRun)
	}
	f := &follower{seq: s, conn: c, messages: make(chan packed.Message), done: make(chan struct{})}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.wg.Go(func() {
		defer close(f.done)
		f.err = f.pump(after)
	})
	return f, nil
}

// pump reads until it is closed.
func (f *follower) pump(after uint64) error {
	for {
		streams, err := f.conn.client.XRead(f.ctx, &goredis.XReadArgs{
			Streams: []string{f.seq.key}, ID: entryID(after), Count: atOnce, Block: block,
		}).Result()
		if errors.Is(err, goredis.Nil) {
			// There is none, or the stream is not there any more.
			_, err = f.seq.run(f.ctx, scriptHere)
		}
		if err != nil {
			return f.conn.server.mark(f.ctx, err)
		}
		for _, s := range streams {
			if after, err = f.pass(s.Messages, after); err != nil {
				return err
			}
		}
	}
}

// pass hands messages out and returns the number of the last one.
func (f *follower) pass(entries []goredis.XMessage, after uint64) (uint64, error) {
	for i := range entries {
		m, err := f.seq.message(&entries[i])
		if err != nil {
			return after, err
		}
		select {
		case f.messages <- m:
			after = m.Number
		case <-f.ctx.Done():
			return after, f.ctx.Err()
		}
	}
	return after, nil
}

// Next implements [packed.Follower].
func (f *follower) Next(ctx context.Context) (packed.Message, error) {
	if err := ctx.Err(); err != nil {
		return packed.Message{}, err
	}
	select {
	case m := <-f.messages:
		return m, nil
	case <-ctx.Done():
		return packed.Message{}, ctx.Err()
	case <-f.done:
		if f.ctx.Err() != nil {
			return packed.Message{}, errFollowerClosed
		}
		return packed.Message{}, f.err
	}
}

// Close implements [packed.Follower].
func (f *follower) Close() error {
	f.cancel()
	f.conn.close()
	return nil
}
