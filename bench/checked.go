package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/redisserver"
)

// promise is a contract with a rule for each column of the loads' table.
const promise = `table: public.t
columns:
  - {name: id, type: bigint, key: true, min: "1"}
  - {name: customer, type: integer, nullable: false, min: "0", max: "999"}
  - {name: name, type: text, nullable: false, pattern: "^customer [0-9]+$", max_length: 20}
  - {name: status, type: text, nullable: false, values: [new, shipped]}
  - {name: at, type: timestamp with time zone, nullable: false}
  - {name: amount, type: "numeric(12,2)", nullable: false, min: "0", max: "9999999999"}
  - {name: body, type: text, nullable: false, max_length: 200}
`

// checked measures all that is checked on the way, by turns with a pipeline that checks
// nothing: contracts whose breach is a stop and the version gate at a PostgreSQL sink;
// contracts and deduplication by Redis at a Kafka sink that keeps no position, the only
// kind that has one to be had. No sink has all three: a gate needs rows, deduplication a
// sink without a position.
func checked(ctx context.Context, h *harness) (err error) {
	contracts, err := h.promises()
	if err != nil {
		return err
	}
	source, target, err := h.servers(ctx, map[string]string{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	if err := checkedRows(ctx, h, checkedEnds{source, target, contracts}); err != nil {
		return err
	}
	return checkedTopic(ctx, h, checkedEnds{source: source, contracts: contracts})
}

// checkedEnds are the servers, and the section of contracts.
type checkedEnds struct {
	source, target *pgserver.Server
	contracts      string
}

// least is the part of the plain rate that is wanted.
var least = limits{rate: 0.6}

// promises writes the contract and returns the section of a pipeline file.
func (h *harness) promises() (string, error) {
	dir := filepath.Join(h.dir, "contracts")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	section := fmt.Sprintf("\ncontracts: {dir: %q, validation: stop}", dir)
	return section, os.WriteFile(filepath.Join(dir, "t.yaml"), []byte(promise), 0o600)
}

// checkedRows is the part with the PostgreSQL sink.
func checkedRows(ctx context.Context, h *harness, ends checkedEnds) error {
	ours, err := openReplica(ctx, ends.target, "checked_entrain")
	if err != nil {
		return err
	}
	defer ours.close(ctx)
	pairs := load{"pairs", h.scaled(200_000), "insert_and_update"}
	for _, w := range []struct {
		load
		name string
	}{
		{pairs, fmt.Sprintf("apply %d x (insert; update of another row), contracts and version_gate", pairs.count)},
		{load{"one_transaction", h.opt.rows, "insert_at_once"}, fmt.Sprintf("apply %d inserts of one transaction, contracts and version_gate", h.opt.rows)},
	} {
		p, err := h.prepare(ctx, ends.source, w.load)
		if err != nil {
			return err
		}
		h.say("%s", w.name)
		var contenders []contender
		for _, checks := range []string{"", "\n  version_gate: true" + ends.contracts} {
			contenders = append(contenders, contender{"entrain", func(ctx context.Context) (sample, error) {
				return ours.replay(ctx, p, func(slot string) (sample, error) {
					file, err := h.pipelineWith(entrainSource{url: p.server.URL(p.db), slot: slot}.yaml(), "sink:\n"+indent(ours.sink())+checks)
					if err != nil {
						return sample{}, err
					}
					return measure(ctx, h.bin, "run", file, "--until", p.end)
				})
			}})
		}
		if err := h.addChecked(ctx, p, checkedWork{w.name, contenders}); err != nil {
			return err
		}
	}
	return nil
}

// checkedWork is a load without checks, and with them.
type checkedWork struct {
	name       string
	contenders []contender
}

func (h *harness) addChecked(ctx context.Context, p *prepared, w checkedWork) error {
	samples, err := alternate(ctx, h, h.opt.runs, w.contenders...)
	if err := errors.Join(err, p.discard(ctx)); err != nil {
		return err
	}
	return h.add(compare(pairing{w.name, "without checks"}, samples[1], samples[0], least))
}

// checkedTopic is the part with the Kafka sink.
func checkedTopic(ctx context.Context, h *harness, ends checkedEnds) (err error) {
	broker, err := startBroker(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.remove(ctx)) }()
	keys, err := startKeys(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.remove(ctx)) }()
	p, err := h.prepare(ctx, ends.source, load{"one_row", h.scaled(600_000), "insert_rows"})
	if err != nil {
		return err
	}
	k := &kafkaWork{h: h, source: ends.source, topics: broker}
	name := fmt.Sprintf("%d one-row transactions to Kafka, contracts and deduplication by Redis", p.count)
	h.say("%s", name)
	var contenders []contender
	for _, checks := range []string{"", fmt.Sprintf("\ndeduplication: {url: \"redis://%s/0\"}", keys.server.Addr()) + ends.contracts} {
		contenders = append(contenders, contender{"entrain", func(ctx context.Context) (sample, error) {
			s, err := k.into(ctx, p, func(topic string) string { return "sink:\n" + indent(k.sink(topic)+"\nexactly_once: false") + checks })
			if checks != "" && err == nil {
				err = keys.expect(ctx, p.count)
			}
			return s, err
		}})
	}
	return h.addChecked(ctx, p, checkedWork{name, contenders})
}

// keyServer is a Redis, with a client for what is not measured.
type keyServer struct {
	server *redisserver.Server
	client *redis.Client
}

func startKeys(ctx context.Context) (*keyServer, error) {
	install, err := redisserver.Obtain(ctx)
	if err != nil {
		return nil, err
	}
	srv, err := redisserver.Start(ctx, redisserver.Config{Install: install})
	if err != nil {
		return nil, err
	}
	return &keyServer{srv, redis.NewClient(&redis.Options{Addr: srv.Addr()})}, nil
}

func (k *keyServer) remove(ctx context.Context) error {
	return errors.Join(k.client.Close(), k.server.Remove(ctx))
}

// expect fails unless there is a key for each change, and removes all. What else comes
// in the stream, such as the message behind the load, has one too.
func (k *keyServer) expect(ctx context.Context, n int64) error {
	have, err := k.client.DBSize(ctx).Result()
	if err == nil && have < n {
		err = fmt.Errorf("%w: Redis has %d keys for %d changes", errCount, have, n)
	}
	return errors.Join(err, k.client.FlushAll(ctx).Err())
}
