package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// backend implements [packed.Backend] on a Redis server.
type backend struct{ *server }

// messageBytes is the largest message that is written: no server takes less.
const messageBytes = 1<<20 - 4<<10

func (s *server) streamKey(producer string) string { return s.prefix + ":log:" + producer }
func (s *server) valuesKey(producer string) string { return s.prefix + ":values:" + producer }
func (s *server) producersKey() string             { return s.prefix + ":producers" }

// Open implements [packed.Backend].
func (b *backend) Open(ctx context.Context, producer string) (*packed.Sequence, error) {
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	s := &sequence{conn: c, key: b.streamKey(producer), beside: b.valuesKey(producer)}
	if err := s.open(ctx, producer); err != nil {
		c.close()
		return nil, err
	}
	return &packed.Sequence{
		ID: s.id, MessageBytes: messageBytes, Tail: s, History: s, State: s,
		Look:   func(number uint64) string { return s.look(entryID(number)) },
		Remove: func(number uint64) string { return s.remove(entryID(number)) },
		Close: func() error {
			c.close()
			return nil
		},
	}, nil
}

// Producers implements [packed.Backend].
func (b *backend) Producers(ctx context.Context) ([]string, error) {
	c, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return do(ctx, c, func() ([]string, error) {
		named, err := c.client.SMembers(ctx, b.producersKey()).Result()
		producers := []string{}
		for _, p := range named {
			var n int64
			if n, err = c.client.Exists(ctx, b.streamKey(p)).Result(); err != nil {
				break
			}
			if n > 0 {
				producers = append(producers, p)
			}
		}
		return producers, err
	})
}

// sequence is one session with the messages of a producer.
type sequence struct {
	conn   *conn
	key    string // of the stream
	beside string // of the hash
	id     string
	gaps   []gap
}

// idPrefix is what the identity of a stream begins with.
const idPrefix = "entrain."

// look and remove are commands about an entry, for people.
func (s *sequence) look(id string) string {
	return s.conn.server.cli("XRANGE " + quote(s.key) + " " + id + " " + id)
}

func (s *sequence) remove(id string) string {
	return s.conn.server.cli("XDEL " + quote(s.key) + " " + id)
}

// gap is between the last message that a run of the server found and the first
// number that it gives out: what was in between is lost.
type gap struct{ survived, floor uint64 }

func (s *sequence) open(ctx context.Context, producer string) error {
	keys := []string{s.key, s.beside, s.conn.server.producersKey()}
	answer, err := do(ctx, s.conn, func() ([]string, error) {
		return scriptOpen.Run(ctx, s.conn.client, keys, idPrefix+rand.Text(), s.conn.seen().run, producer).StringSlice()
	})
	if err != nil {
		return fmt.Errorf("open stream %s: %w", s.key, err)
	}
	var kept string
	s.id, kept = answer[0], answer[1]
	if s.id == "" {
		return s.conn.server.stopForeign(fmt.Errorf("the stream %s has been made by another program", s.key))
	}
	if s.id != kept {
		return s.stopApart()
	}
	for _, text := range strings.Fields(answer[2]) {
		var g gap
		if _, err := fmt.Sscanf(text, "%d:%d", &g.survived, &g.floor); err != nil {
			return fmt.Errorf("the hash %s has the gap %q: %w", s.beside, text, err)
		}
		s.gaps = append(s.gaps, g)
	}
	return nil
}

// run runs a script that returns a number, negative where the stream is another.
func (s *sequence) run(ctx context.Context, script *goredis.Script, args ...any) (int64, error) {
	n, err := do(ctx, s.conn, func() (int64, error) {
		return script.Run(ctx, s.conn.client, []string{s.key, s.beside}, append([]any{s.id}, args...)...).Int64()
	})
	if err == nil && n < 0 {
		err = s.gone()
	}
	return n, err
}

// gone ends the session: the next one finds what there is now.
func (s *sequence) gone() error {
	return entrain.Retryable(fmt.Errorf("the stream %s was removed", s.key))
}

// Last implements [packed.Tail].
func (s *sequence) Last(ctx context.Context) (packed.Message, error) {
	return s.one(ctx, func() ([]goredis.XMessage, error) {
		return s.conn.client.XRevRangeN(ctx, s.key, "+", "-", 1).Result()
	})
}

// At implements [packed.History].
func (s *sequence) At(ctx context.Context, number uint64) (packed.Message, error) {
	return s.one(ctx, func() ([]goredis.XMessage, error) {
		return s.conn.client.XRangeN(ctx, s.key, entryID(number), "+", 1).Result()
	})
}

func (s *sequence) one(ctx context.Context, read func() ([]goredis.XMessage, error)) (packed.Message, error) {
	entries, err := do(ctx, s.conn, read)
	if err != nil {
		return packed.Message{}, err
	}
	if len(entries) > 0 {
		return s.message(&entries[0])
	}
	_, err = s.run(ctx, scriptHere)
	return packed.Message{}, err
}

// message is what an entry has, if it is of our stream.
func (s *sequence) message(e *goredis.XMessage) (packed.Message, error) {
	data, ours := e.Values[s.id].(string)
	if !ours {
		for field := range e.Values {
			if strings.HasPrefix(field, idPrefix) {
				return packed.Message{}, s.gone()
			}
		}
		return packed.Message{}, s.stopEntry(e.ID)
	}
	number, _, _ := strings.Cut(e.ID, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	return packed.Message{Number: n, Data: []byte(data)}, err
}

func entryID(number uint64) string { return strconv.FormatUint(number, 10) + "-0" }

// Append implements [packed.Tail]. When ctx ends, so does the session: what was
// being sent must not be used any more.
func (s *sequence) Append(ctx context.Context, after uint64, messages [][]byte) (n int, last uint64, err error) {
	args := make([]any, 0, 2+2*len(messages))
	args = append(args, s.id, strconv.FormatUint(after, 10))
	for _, m := range messages {
		args = append(args, footprint(len(m)), m)
	}
	answer, err := s.conn.whole(ctx, scriptAppend, []string{s.key, s.beside}, args)
	switch {
	case goredis.IsOOMError(err):
		return 0, 0, fmt.Errorf("%w: %w", packed.ErrFull, err)
	case err != nil:
		return 0, 0, err
	case answer[0] == "gone":
		return 0, 0, s.gone()
	case answer[0] == "fenced":
		return 0, 0, fmt.Errorf("%w: the last message is %s, not %d", packed.ErrFenced, answer[1], after)
	}
	last, err = strconv.ParseUint(answer[1], 10, 64)
	return len(messages), last, err
}

// whole runs a script whose arguments are not the caller's any more when it returns:
// when ctx ends, the connections are closed.
func (c *conn) whole(ctx context.Context, script *goredis.Script, keys []string, args []any) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.client.Close() })
	defer stop()
	answer, err := script.Run(context.WithoutCancel(ctx), c.client, keys, args...).StringSlice()
	return answer, c.server.mark(ctx, err)
}

// footprint is about how much memory a message of n bytes takes. Small ones share
// blocks of 4 kB; of a larger one the block is its own, and its size one of four
// between two powers of two.
func footprint(n int) int {
	const around, block = 96, 4096
	n += around
	if n <= block/2 {
		return n
	}
	n = max(n, block)
	step := 1 << (bits.Len(uint(n-1)) - 3)
	return (n+step-1)/step*step + around
}

// Remove implements [packed.Tail].
func (s *sequence) Remove(ctx context.Context, after, before uint64) error {
	for {
		n, err := s.run(ctx, scriptRemove, after, before)
		if err != nil || n == 0 {
			return err
		}
	}
}

// Trim implements [packed.History].
func (s *sequence) Trim(ctx context.Context, through uint64) error {
	_, err := s.run(ctx, scriptTrim, through+1)
	return err
}

// Stat implements [packed.State].
func (s *sequence) Stat(ctx context.Context) (packed.Stat, error) {
	answer, err := do(ctx, s.conn, func() ([]string, error) {
		return scriptStat.Run(ctx, s.conn.client, []string{s.key, s.beside}, s.id).StringSlice()
	})
	switch {
	case err != nil:
		return packed.Stat{}, err
	case answer[0] == "gone":
		return packed.Stat{}, s.gone()
	case answer[0] == "empty":
		return packed.Stat{}, nil
	}
	var at packed.Stat
	_, err = fmt.Sscan(strings.Join(answer[1:], " "), &at.First, &at.Last, &at.Messages, &at.Bytes)
	return at, err
}

// Values implements [packed.State].
func (s *sequence) Values(ctx context.Context) (map[string][]byte, error) {
	list, err := do(ctx, s.conn, func() ([]string, error) {
		return scriptValues.Run(ctx, s.conn.client, []string{s.key, s.beside}, s.id).StringSlice()
	})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, s.gone()
	}
	values := make(map[string][]byte, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		if !strings.HasPrefix(list[i], "#") {
			values[list[i]] = []byte(list[i+1])
		}
	}
	return values, nil
}

// Store implements [packed.State].
func (s *sequence) Store(ctx context.Context, name string, value []byte) error {
	args := []any{name}
	if value != nil {
		args = append(args, string(value))
	}
	_, err := s.run(ctx, scriptStore, args...)
	return err
}

var errFollowerClosed = errors.New("the follower was closed")
