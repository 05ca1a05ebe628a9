package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
)

const (
	liveRate = 1000 // transactions a second
	liveDB   = "live"
	// warmUp are transactions before those that count: connections are made and
	// plans cached.
	warmUp = 200
	// arriveTimeout bounds the wait for the last row.
	arriveTimeout = time.Minute
)

// latency measures the time from commit to commit, by the servers' own
// clocks, of one-row transactions at a steady rate: by turns through a
// native subscription and through entrain. Beside them stands one pipelined
// round trip to the target, below which no client can be that commits one
// transaction after the other.
func latency(ctx context.Context, h *harness) (err error) {
	source, target, err := h.servers(ctx, map[string]string{
		"track_commit_timestamp": "on", "synchronous_commit": "on", "wal_keep_size": "1GB", // the log is read afterwards
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	l, err := openLive(ctx, h, source)
	if err != nil {
		return err
	}
	defer l.close(ctx)
	native, err := openReplica(ctx, target, "live_native")
	if err != nil {
		return err
	}
	defer native.close(ctx)
	ours, err := openReplica(ctx, target, "live_entrain")
	if err != nil {
		return err
	}
	defer ours.close(ctx)
	floor, err := openReplica(ctx, target, "live_roundtrip")
	if err != nil {
		return err
	}
	defer floor.close(ctx)
	var trip, theirs, mine spread
	h.say("latency: %d one-row transactions a second for %d s", liveRate, h.opt.seconds)
	_, err = alternate(ctx, h, h.opt.runs,
		contender{"round trip (p50)", func(ctx context.Context) (sample, error) {
			times, err := roundTrips(ctx, floor, h.opt.seconds*liveRate)
			return trip.add(h, sample{}, times), err
		}},
		contender{"native subscription (p50)", func(ctx context.Context) (sample, error) {
			s, times, err := l.run(ctx, native, native.follow)
			return theirs.add(h, s, times), err
		}},
		contender{"entrain (p50)", func(ctx context.Context) (sample, error) {
			s, times, err := l.run(ctx, ours, func(ctx context.Context, from subscription) (running, error) {
				return h.follow(ctx, ours, entrainSource{url: source.URL(liveDB), slot: from.slot})
			})
			return mine.add(h, s, times), err
		}})
	if err != nil {
		return err
	}
	const work, subscription = "latency %s, 1000 transactions a second", "native subscription"
	return errors.Join(
		h.add(compare(pairing{fmt.Sprintf(work, "p50"), "pipelined round trip"}, mine.p50, trip.p50, limits{time: 1.6})),
		h.add(compare(pairing{fmt.Sprintf(work, "p50"), subscription}, mine.p50, theirs.p50, limits{})),
		h.add(compare(pairing{fmt.Sprintf(work, "p95"), subscription}, mine.p95, theirs.p95, limits{})),
		h.add(compare(pairing{fmt.Sprintf(work, "p99"), subscription}, mine.p99, theirs.p99, limits{time: 1.2})),
	)
}

// spread holds what was measured in each run, with a percentile as its time.
type spread struct{ p50, p95, p99 []sample }

// add takes a run in and returns it with its median as the time.
func (q *spread) add(h *harness, s sample, times []time.Duration) sample {
	slices.Sort(times)
	at := func(p int) sample {
		s.wall = percentile(times, p)
		return s
	}
	q.p50, q.p95, q.p99 = append(q.p50, at(50)), append(q.p95, at(95)), append(q.p99, at(99))
	h.say("    p50 %s  p95 %s  p99 %s  of %d", seconds(at(50).wall), seconds(at(95).wall), seconds(at(99).wall), len(times))
	return at(50)
}

// live is the source under a steady load.
type live struct {
	h      *harness
	server *pgserver.Server
	*session
	slots int
}

// insertSQL is the transaction.
const insertSQL = "INSERT INTO t SELECT " + newRow + " FROM (SELECT $1::bigint) one(i)"

func openLive(ctx context.Context, h *harness, source *pgserver.Server) (*live, error) {
	if err := makeDatabase(ctx, source, liveDB); err != nil {
		return nil, err
	}
	s, err := connect(ctx, source.URL(liveDB), nil)
	if err != nil {
		return nil, err
	}
	l := &live{h: h, server: source, session: s}
	if err = l.exec(ctx, routines); err == nil {
		_, err = l.conn.Prepare(ctx, "insert_row", insertSQL, nil)
	}
	if err != nil {
		l.close(ctx)
		return nil, err
	}
	return l, nil
}

// running is a contender at work; stop ends it and returns what it used.
type running struct {
	stop func(context.Context) (sample, error)
	// watch returns a context that ends with the contender; nil: nobody knows
	// when that is.
	watch func(context.Context) (context.Context, context.CancelFunc)
}

// run measures one contender from a new slot on: begin starts it. It returns
// what it used and the latency of each row.
func (l *live) run(ctx context.Context, r *replica, begin func(context.Context, subscription) (running, error)) (sample, []time.Duration, error) {
	l.slots++
	from := subscription{source: l.server.Port(), db: liveDB, slot: fmt.Sprintf("live_%d", l.slots)}
	err := errors.Join(l.exec(ctx, "TRUNCATE t, finished", "CHECKPOINT"), r.empty(ctx))
	if err == nil {
		err = l.exec(ctx, fmt.Sprintf("SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", from.slot))
	}
	if err != nil {
		return sample{}, nil, err
	}
	before, err := serverCPU(r.server.Pid())
	if err != nil {
		return sample{}, nil, err
	}
	logBegin, err := r.value(ctx, "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return sample{}, nil, err
	}
	contender, err := begin(ctx, from)
	if err != nil {
		return sample{}, nil, err
	}
	err = l.load(ctx, r)
	s, stopErr := contender.stop(ctx)
	after, cpuErr := serverCPU(r.server.Pid())
	s.cpu += after - before
	if err = errors.Join(err, stopErr, cpuErr, l.dropSlot(ctx, from.slot)); err != nil {
		return sample{}, nil, err
	}
	times, err := l.latencies(ctx, r, logBegin)
	return s, times, err
}

// load commits the warm-up, then the transactions that count, and waits until
// all have arrived.
func (l *live) load(ctx context.Context, r *replica) error {
	if err := l.commit(ctx, -warmUp, warmUp); err != nil {
		return err
	}
	if err := r.arrived(ctx, warmUp); err != nil {
		return err
	}
	n := l.h.opt.seconds * liveRate
	began := time.Now()
	if err := l.commit(ctx, 1, n); err != nil {
		return err
	}
	if rate := float64(n) / time.Since(began).Seconds(); rate < 0.95*liveRate {
		l.h.say("    the source did only %.0f transactions a second", rate)
	}
	return r.arrived(ctx, warmUp+n)
}

// arrived waits until the table has n rows.
func (r *replica) arrived(ctx context.Context, n int) error {
	return r.await(ctx, arriveTimeout, fmt.Sprintf("SELECT count(*) = %d FROM t", n))
}

// commit makes n one-row transactions at the rate, with keys from first on.
func (l *live) commit(ctx context.Context, first, n int) error {
	pace := newPace(liveRate)
	defer pace.stop()
	for i := range n {
		if err := pace.wait(ctx, i); err != nil {
			return err
		}
		key := []byte(strconv.Itoa(first + i))
		if res := l.conn.ExecPrepared(ctx, "insert_row", [][]byte{key}, nil, nil).Read(); res.Err != nil {
			return fmt.Errorf("insert row %s: %w", key, res.Err)
		}
	}
	return nil
}

// pace is a steady rate, which begins now.
type pace struct {
	began time.Time
	rate  int // a second
	timer *time.Timer
}

func newPace(rate int) *pace { return &pace{time.Now(), rate, time.NewTimer(0)} }

func (p *pace) stop() { p.timer.Stop() }

// wait returns when number i is due, at once if that is past.
func (p *pace) wait(ctx context.Context, i int) error {
	p.timer.Reset(time.Until(p.began.Add(time.Duration(i) * time.Second / time.Duration(p.rate))))
	select {
	case <-p.timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// latencies returns the time between the commits of each row, those at the
// replica from its log, which began at the position: both servers have this
// machine's clock.
func (l *live) latencies(ctx context.Context, r *replica, began string) ([]time.Duration, error) {
	if err := sameRows(ctx, l.session, r.session); err != nil {
		return nil, err
	}
	end, err := r.value(ctx, "SELECT pg_current_wal_flush_lsn()")
	if err != nil {
		return nil, err
	}
	commits, err := readCommits(ctx, r.server, began, end)
	if err != nil {
		return nil, err
	}
	committed, err := l.rows(ctx, "SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint FROM t WHERE id > 0 ORDER BY id")
	if err != nil {
		return nil, err
	}
	applied, err := r.rows(ctx, "SELECT xmin FROM t WHERE id > 0 ORDER BY id")
	if err != nil {
		return nil, err
	}
	times := make([]time.Duration, len(committed))
	for i := range committed {
		from, err := strconv.ParseInt(committed[i][0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("commit time of row %d: %w", i+1, err)
		}
		to, ok := commits[applied[i][0]]
		if !ok {
			return nil, fmt.Errorf("row %d: no commit of transaction %s in the target's log", i+1, applied[i][0])
		}
		times[i] = to.Sub(time.UnixMicro(from))
	}
	return times, nil
}

// follow starts the native subscription, as safe as we are: what it has
// confirmed is written.
func (r *replica) follow(ctx context.Context, from subscription) (running, error) {
	if err := r.subscribe(ctx, from); err != nil {
		return running{}, err
	}
	err := r.exec(ctx, "ALTER SUBSCRIPTION native SET (synchronous_commit = 'on')", "ALTER SUBSCRIPTION native ENABLE")
	return running{stop: func(ctx context.Context) (sample, error) { return sample{}, r.unsubscribe(ctx) }}, err
}

// follow starts entrain into the replica.
func (h *harness) follow(ctx context.Context, r *replica, source entrainSource) (running, error) {
	file, err := h.pipelineFile(source.yaml(), r.sink())
	if err != nil {
		return running{}, err
	}
	p := newProcess(ctx, h.bin, "run", file)
	if err := p.start(); err != nil {
		return running{}, err
	}
	return running{stop: p.stop}, nil
}
