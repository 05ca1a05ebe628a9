package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

var (
	_ entrain.Teardowner = (*Log)(nil)
	_ entrain.Teardowner = (*Sink)(nil)
)

// Teardown implements [entrain.Teardowner]: the messages and values of this
// producer.
func (l *Log) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	s := l.server
	values := s.valuesKey(l.producer)
	return s.teardown(ctx, left{
		what: "stream of " + l.producer, sign: values, keys: []string{s.streamKey(l.producer), values},
		set: s.producersKey(), member: l.producer,
	})
}

// Teardown implements [entrain.Teardowner]: the position. The streams that others
// read stay.
func (s *Sink) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	return s.server.teardown(ctx, left{what: "position " + s.position, sign: s.position, keys: []string{s.position, s.staged}})
}

// left is what there may be.
type left struct {
	what string
	sign string // the key that only we make
	keys []string
	// set, if not empty, has member in it.
	set, member string
}

func (s *server) teardown(ctx context.Context, of left) ([]entrain.Removal, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.close()
	there, err := do(ctx, c, func() (int64, error) { return c.client.Exists(ctx, of.sign).Result() })
	if err != nil {
		return nil, fmt.Errorf("look for what is left at Redis: %w", err)
	}
	if there == 0 {
		return nil, nil
	}
	quoted := make([]string, len(of.keys))
	for i, key := range of.keys {
		quoted[i] = quote(key)
	}
	commands := s.cli("DEL " + strings.Join(quoted, " "))
	if of.set != "" {
		commands += " && " + s.cli("SREM "+quote(of.set)+" "+quote(of.member))
	}
	return []entrain.Removal{{
		What: of.what + " in the Redis at " + s.url,
		SQL:  commands,
		Do:   func(ctx context.Context) error { return s.remove(ctx, of) },
	}}, nil
}

func (s *server) remove(ctx context.Context, of left) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = do(ctx, c, func() (int64, error) {
		n, err := c.client.Del(ctx, of.keys...).Result()
		if err == nil && of.set != "" {
			_, err = c.client.SRem(ctx, of.set, of.member).Result()
		}
		return n, err
	})
	return err
}
