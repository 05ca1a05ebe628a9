package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// apply measures PostgreSQL → PostgreSQL beside a native subscription, each
// into a database of its own on one target server.
func apply(ctx context.Context, h *harness) (err error) {
	source, target, err := h.servers(ctx, map[string]string{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	pairs := load{"pairs", h.scaled(200_000), "insert_and_update"}
	big := load{"one_transaction", h.opt.rows, "insert_at_once"}
	for _, w := range []struct {
		load
		name string
		want limits
		// workMem: the same is wanted with this decoding_work_mem, too.
		workMem string
	}{
		{pairs, fmt.Sprintf("apply %d x (insert; update of another row), each a transaction", pairs.count), limits{rate: 1.8}, ""},
		{big, fmt.Sprintf("apply %d inserts of one transaction", big.count), limits{rate: 1.4}, "1GB"},
	} {
		p, err := h.prepare(ctx, source, w.load)
		if err != nil {
			return err
		}
		h.say("%s", w.name)
		ours := []string{""}
		if w.workMem != "" {
			ours = append(ours, w.workMem)
		}
		samples, err := h.applyByTurns(ctx, p, target, ours)
		if err := errors.Join(err, p.discard(ctx)); err != nil {
			return err
		}
		for i, name := range []string{w.name, w.name + ", decoding_work_mem " + w.workMem}[:len(ours)] {
			if err := h.add(compare(pairing{name, "native subscription"}, samples[i+1], samples[0], w.want)); err != nil {
				return err
			}
		}
	}
	return nil
}

// servers starts a source and a target. By default a server starts a worker for
// a subscription at most every 5 s, which would count as time of the peer's in
// all runs but the first.
func (h *harness) servers(ctx context.Context, settings map[string]string) (source, target *pgserver.Server, err error) {
	settings = maps.Clone(settings)
	settings["wal_retrieve_retry_interval"] = "10ms"
	if source, err = h.server(ctx, settings); err != nil {
		return nil, nil, err
	}
	if target, err = h.server(ctx, settings); err != nil {
		return nil, nil, errors.Join(err, source.Remove(ctx))
	}
	return source, target, nil
}

// applyByTurns returns the samples of the subscription, then ours with each of
// the settings of decoding_work_mem.
func (h *harness) applyByTurns(ctx context.Context, p *prepared, target *pgserver.Server, workMem []string) ([][]sample, error) {
	native, err := openReplica(ctx, target, p.db+"_native")
	if err != nil {
		return nil, err
	}
	defer native.close(ctx)
	ours, err := openReplica(ctx, target, p.db+"_entrain")
	if err != nil {
		return nil, err
	}
	defer ours.close(ctx)
	contenders := []contender{{"native subscription", func(ctx context.Context) (sample, error) {
		return native.replay(ctx, p, func(slot string) (sample, error) {
			return native.subscribed(ctx, subscription{source: p.server.Port(), db: p.db, slot: slot})
		})
	}}}
	for _, mem := range workMem {
		contenders = append(contenders, contender{"entrain", func(ctx context.Context) (sample, error) {
			return ours.replay(ctx, p, func(slot string) (sample, error) {
				return h.piped(ctx, entrainSource{url: p.server.URL(p.db), slot: slot, workMem: mem}, ours, p.end)
			})
		}})
	}
	return alternate(ctx, h, h.opt.runs, contenders...)
}

// piped measures one run of entrain into a replica.
func (h *harness) piped(ctx context.Context, source entrainSource, into *replica, end string) (sample, error) {
	file, err := h.pipelineFile(source.yaml(), into.sink())
	if err != nil {
		return sample{}, err
	}
	return measure(ctx, h.bin, "run", file, "--until", end)
}

// replica is a database that changes are applied to.
type replica struct {
	server *pgserver.Server
	db     string
	*session
}

func openReplica(ctx context.Context, srv *pgserver.Server, db string) (*replica, error) {
	if err := makeDatabase(ctx, srv, db); err != nil {
		return nil, err
	}
	s, err := connect(ctx, srv.URL(db), nil)
	if err != nil {
		return nil, err
	}
	return &replica{srv, db, s}, nil
}

// sink is the sink section of a pipeline file.
func (r *replica) sink() string { return fmt.Sprintf("type: postgres\nurl: %q", r.server.URL(r.db)) }

// empty removes what an earlier run left, the position too.
func (r *replica) empty(ctx context.Context) error {
	return r.exec(ctx, "TRUNCATE t, finished", "DROP SCHEMA IF EXISTS entrain CASCADE", "CHECKPOINT")
}

// replay measures one run over the whole load and then compares every row. The
// processor time is all that the target's side used: its server and, if there
// is one, the process between the servers.
func (r *replica) replay(ctx context.Context, p *prepared, run func(slot string) (sample, error)) (sample, error) {
	slot, err := p.copySlot(ctx)
	if err != nil {
		return sample{}, err
	}
	if err := r.empty(ctx); err != nil {
		return sample{}, err
	}
	before, err := serverCPU(r.server.Pid())
	if err != nil {
		return sample{}, err
	}
	s, err := run(slot)
	if err != nil {
		return sample{}, err
	}
	after, err := serverCPU(r.server.Pid())
	if err != nil {
		return sample{}, err
	}
	s.cpu += after - before
	return s, errors.Join(sameRows(ctx, p.session, r.session), p.dropSlot(ctx, slot))
}

// subscription says where a native subscription reads.
type subscription struct {
	source   int // port of the server
	db, slot string
}

const applyTimeout = 30 * time.Minute

// subscribe makes the subscription, which waits to be enabled.
func (r *replica) subscribe(ctx context.Context, from subscription) error {
	return r.exec(ctx, fmt.Sprintf(`CREATE SUBSCRIPTION native CONNECTION 'host=127.0.0.1 port=%d user=postgres dbname=%s'
		PUBLICATION p WITH (enabled = false, create_slot = false, slot_name = '%s', copy_data = false)`,
		from.source, from.db, from.slot))
}

// unsubscribe removes it; its slot stays.
func (r *replica) unsubscribe(ctx context.Context) error {
	return r.exec(ctx, "ALTER SUBSCRIPTION native DISABLE", "ALTER SUBSCRIPTION native SET (slot_name = NONE)", "DROP SUBSCRIPTION native")
}

// subscribed measures a native subscription from the moment it is enabled until
// everything has arrived.
func (r *replica) subscribed(ctx context.Context, from subscription) (sample, error) {
	if err := r.subscribe(ctx, from); err != nil {
		return sample{}, err
	}
	began := time.Now()
	err := r.exec(ctx, "ALTER SUBSCRIPTION native ENABLE")
	if err == nil {
		err = r.await(ctx, applyTimeout, "SELECT EXISTS (SELECT FROM finished)")
	}
	s := sample{wall: time.Since(began)}
	return s, errors.Join(err, r.unsubscribe(ctx))
}
