package capture

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestFailover: PG-26. The primary dies under load and its standby is promoted.
// The source, which knows both, goes on there by the slot that the standby took
// over: every row of the new primary was delivered, each once and in commit
// order (P1, P2, P3). Twenty times with ENTRAIN_TEST_WIDE=1.
func TestFailover(t *testing.T) {
	times := 1
	if os.Getenv("ENTRAIN_TEST_WIDE") == "1" {
		times = 20
	}
	for _, major := range majorsFrom(t, 17) {
		t.Run(versionName(major), func(t *testing.T) {
			for range times {
				failOver(t, major)
			}
		})
	}
}

func failOver(t *testing.T, major int) {
	t.Helper()
	p := startPair(t, major, map[string]string{"synchronized_standby_slots": pgtest.StandbySlot},
		map[string]string{"sync_replication_slots": "on"})
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%d,127.0.0.1:%d/postgres?target_session_attrs=read-write",
		p.primary.Port(), p.standby.Port())
	src := newTestSource(t, url)
	from := createSlot(t, src)
	ctx, cancel := context.WithCancel(t.Context())
	load := startLoad(ctx, t, url)
	sink := &collector{t: t, at: from}
	delivered := sink.run(ctx, src)
	pgtest.Eventually(t, sourcePatience, "the standby has the slot", func() bool {
		p.write(t, standbySnapshot) // or it takes until the next checkpoint or so
		return pgtest.QueryOne(t, p.standby.URL("postgres"), "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary") == "1"
	})
	enough := sink.count() + 300
	pgtest.Eventually(t, sourcePatience, "rows flow", func() bool { return sink.count() >= enough })
	if err := p.primary.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Promote(t, p.standby)
	before := load.written.Load()
	pgtest.Eventually(t, sourcePatience, "the load goes on", func() bool { return load.written.Load() >= before+300 })
	load.stop()
	checkDelivered(t, p, sink, delivered)
	cancel()
	<-delivered
	t.Logf("%d rows delivered, the last position is %s", sink.count(), sink.at)
	if err := p.standby.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// checkDelivered waits until the sink has what the new primary has, and then
// compares both row by row.
func checkDelivered(t *testing.T, p pair, sink *collector, ended <-chan struct{}) {
	t.Helper()
	rows := pgtest.Query(t, p.standby.URL("postgres"), "SELECT id FROM t ORDER BY id")
	pgtest.Eventually(t, sourcePatience, "all rows are delivered", func() bool {
		select {
		case <-ended:
			t.Fatal("the sink's loop ended")
		default:
		}
		return sink.count() >= int64(len(rows))
	})
	got := sink.rows.Load()
	want := make([]int, len(rows))
	for i, row := range rows {
		want[i], _ = strconv.Atoi(row[0])
	}
	if !slices.Equal(*got, want) {
		t.Errorf("delivered %d rows, the new primary has %d; first difference at %d", len(*got), len(want), difference(*got, want))
	}
}

func difference(a, b []int) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// load commits one row after the other, by one client, so that ids grow with
// commits; what a dying server did not answer is left out by a new id.
type load struct {
	written atomic.Int64
	stop    func()
}

func startLoad(ctx context.Context, t *testing.T, url string) *load {
	ctx, cancel := context.WithCancel(ctx)
	l, done := &load{}, make(chan struct{})
	l.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(l.stop)
	go func() {
		defer close(done)
		id := 0
		for ctx.Err() == nil {
			l.session(ctx, url, &id)
		}
	}()
	return l
}

// session writes until its server fails.
func (l *load) session(ctx context.Context, url string, id *int) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for err == nil {
		*id++
		if err = insertRow(ctx, conn, *id); err == nil {
			l.written.Add(1)
		}
	}
}

// collector is a sink that has a row for good when a position covers it.
type collector struct {
	t    *testing.T
	at   entrain.Position
	rows atomic.Pointer[[]int]
}

func (c *collector) count() int64 {
	if rows := c.rows.Load(); rows != nil {
		return int64(len(*rows))
	}
	return 0
}

// run opens sessions, one after the other, until ctx ends.
func (c *collector) run(ctx context.Context, src entrain.Source) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			err := c.session(ctx, src)
			if ctx.Err() == nil && !entrain.IsRetryable(err) {
				c.t.Errorf("the session ends with %v", err)
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return done
}

func (c *collector) session(ctx context.Context, src entrain.Source) error {
	r, err := src.Open(ctx, c.at)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		b, err := r.Read(ctx)
		if err != nil {
			return err
		}
		if b.Through.IsZero() {
			return fmt.Errorf("a part of a transaction of one row")
		}
		var rows []int
		if old := c.rows.Load(); old != nil {
			rows = *old
		}
		for _, e := range b.Events {
			value, _ := e.After.Column(0, len(e.Table.Columns))
			id, err := strconv.Atoi(string(value))
			if err != nil {
				return err
			}
			rows = append(rows, id)
		}
		c.rows.Store(&rows)
		c.at = b.Through
		if b.Free != nil {
			b.Free()
		}
		if err := r.Ack(ctx, c.at); err != nil {
			return err
		}
	}
}

// TestFailoverOfASlot: slots that are made here can be taken over where the
// server has that, and what the configuration says is done to one that exists.
func TestFailoverOfASlot(t *testing.T) {
	eachShared(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, oneTable)
		modern := pgtest.QueryOne(t, url, "SELECT current_setting('server_version_num')::int >= 170000") == "t"
		cfg := sourceConfig(t, url)
		failover := func() string {
			return pgtest.QueryOne(t, url, "SELECT coalesce(to_jsonb(s) ->> 'failover', 'none') FROM pg_replication_slots s WHERE slot_name = '"+cfg.Slot+"'")
		}
		at := createSlot(t, mustSource(t, cfg))
		if got, want := failover(), map[bool]string{true: "true", false: "none"}[modern]; got != want {
			t.Errorf("failover of a new slot: %s, want %s", got, want)
		}
		for _, want := range []bool{false, true} {
			cfg.Failover = &want
			src := mustSource(t, cfg)
			if want && !modern {
				stop := expectStop(t, openError(t, src, at), "failover_unsupported")
				if !strings.Contains(stop.Next, "source.failover") {
					t.Errorf("stop %+v", stop)
				}
				continue
			}
			closeReader(t, openReader(t, src, at))
			if got := failover(); modern && got != strconv.FormatBool(want) {
				t.Errorf("failover of a slot that existed: %s, want %t", got, want)
			}
		}
	})
}

// TestSyncedSlotIsNotRead: a standby's copy of the slot is not read from, but
// that passes: it may be promoted any moment.
func TestSyncedSlotIsNotRead(t *testing.T) {
	p := startPair(t, majorsFrom(t, 17)[0], nil, map[string]string{"sync_replication_slots": "on"})
	src := newTestSource(t, p.primary.URL("postgres"))
	at := createSlot(t, src)
	there := p.standby.URL("postgres")
	pgtest.Eventually(t, sourcePatience, "the standby has the slot", func() bool {
		p.write(t, "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t", standbySnapshot)
		at = captureNow(t, src, at).last(t)
		return pgtest.QueryOne(t, there, "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary") == "1"
	})
	cfg := src.cfg
	cfg.URL = connector.Secret(pgtest.SourceURL(there))
	standby := mustSource(t, cfg)
	err := openError(t, standby, at)
	if !entrain.IsRetryable(err) || !strings.Contains(err.Error(), "target_session_attrs=read-write") {
		t.Errorf("error %v, want a retryable one that says what to do", err)
	}
	pgtest.Promote(t, p.standby)
	p.standbyWrites(t, "INSERT INTO t VALUES (4711, 'after')")
	if got := captureNow(t, standby, at); len(got.lines) != 1 || !strings.Contains(got.lines[0], "after") {
		t.Errorf("after the promotion: %q", got.lines)
	}
}
