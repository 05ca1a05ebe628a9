package campaign

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// takeOverLimit is how soon a standby has to capture, in the wide run.
const takeOverLimit = 15 * time.Second

const partsTables = 6

// partsSQL is several tables that are copied one after the other, one of them larger.
func partsSQL(rows int) (sql []string) {
	for i := range partsTables {
		rows := rows
		if i == 1 {
			rows *= 5
		}
		sql = append(sql, fmt.Sprintf(`CREATE TABLE part_%[1]d (id int PRIMARY KEY, n int NOT NULL, body text NOT NULL);
INSERT INTO part_%[1]d SELECT i, 0, repeat(md5(i::text), 4) FROM generate_series(1, %[2]d) i`, i, rows))
	}
	return sql
}

func partsNames() (names []string) {
	for i := range partsTables {
		names = append(names, fmt.Sprintf("part_%d", i))
	}
	return names
}

// pester changes rows of these tables until stop is called.
func pester(t *testing.T, url string, rows int) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	changes := 0
	work.Go(func() {
		for i := 1; ctx.Err() == nil; i++ {
			id, table := 1+i*7919%rows, i%partsTables
			sql := fmt.Sprintf("UPDATE part_%d SET n = n + 1 WHERE id BETWEEN %d AND %d + 9", table, id, id)
			switch i % 5 {
			case 1:
				sql = fmt.Sprintf("DELETE FROM part_%d WHERE id = %d", table, id)
			case 3:
				sql = fmt.Sprintf("INSERT INTO part_%d VALUES (%d, 0, 'new') ON CONFLICT DO NOTHING", table, rows+i)
			}
			if _, err := query(context.WithoutCancel(ctx), url, sql); err != nil {
				t.Errorf("%s: %v", sql, err)
				return
			}
			changes++
			wait(ctx, 5*time.Millisecond)
		}
	})
	stop = func() int {
		cancel()
		work.Wait()
		return changes
	}
	t.Cleanup(func() { stop() })
	return stop
}

// machine is where a capture runs: a file and a state of its own.
type machine struct {
	file pipelineFile
	p    *process
}

func (m *machine) start(t *testing.T) {
	t.Helper()
	m.p = launch(t, "capture", m.file.path)
}

// captures reports whether the process has got past waiting.
func (m *machine) captures(ctx context.Context) bool {
	report, err := admin.Ask(ctx, m.file.state())
	return err == nil && (report.Status.Phase == "snapshotting" || streaming(report))
}

// within waits for the takeover, and returns what it took.
func (m *machine) within(t *testing.T, what string) time.Duration {
	t.Helper()
	began := time.Now()
	pgtest.Eventually(t, patience, "the standby captures after "+what, func() bool {
		if !m.p.running() {
			t.Fatalf("the standby ended with %d: %s", m.p.code(), tail(m.p.stderr.String(), 3000))
		}
		return m.captures(t.Context())
	})
	took := time.Since(began)
	if took > takeOverLimit && wide() { // a busy machine takes longer
		t.Errorf("the standby took over %s after %s; want %s", took.Round(time.Second), what, takeOverLimit)
	}
	t.Logf("takeover after %s: %s", what, took.Round(100*time.Millisecond))
	return took
}

// ended returns how many offsets the topic has.
func (f *fleet) ended(t *testing.T) int64 {
	t.Helper()
	client := f.dialKafka()
	defer client.Close()
	list, err := kadm.NewClient(client).ListCommittedOffsets(t.Context(), f.topic())
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	list.Each(func(o kadm.ListedOffset) { sum += max(0, o.Offset) })
	return sum
}

// TestStandbyCapture: a capture that dies in the middle of the first copy, in the
// middle of a resync, or hangs, is taken over by the one that waits on another
// machine, which knows nothing but what is in the stream: CO-13. Nothing is lost
// or twice in the topic (P1, P2), and the one that hung writes nothing when it
// wakes up.
func TestStandbyCapture(t *testing.T) {
	t.Parallel()
	rows := 8000
	if wide() {
		rows = 50_000
	}
	broker := kafkatest.Start(t).Addr()
	srv := pgtest.Start(t, someMajor(t), nil)
	s := site{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), name: pgtest.Name(t)}
	pgtest.Exec(t, s.source, partsSQL(rows)...)
	f := newFleet(t, sampled(t, 0, 0), s, broker).split(1)
	a, b := &machine{file: f.file()}, &machine{file: f.file()}
	a.start(t)
	f.work(1)
	pgtest.Eventually(t, patience, "the copy begins", func() bool { return a.captures(t.Context()) })
	b.start(t)
	b.p.logs(t, "waiting to take over")
	stop := pester(t, s.source, rows)
	pgtest.Eventually(t, patience, "a table is in the topic", func() bool { return f.ended(t) > int64(rows) })
	a.p.kill()
	if n := f.ended(t); n > (partsTables+4)*int64(rows) {
		t.Errorf("the first copy was over: %d offsets", n)
	}
	b.within(t, "SIGKILL in the first copy")
	b.file.until(t, "the standby streams", streaming)

	a.start(t)
	a.p.logs(t, "waiting to take over")
	resyncHalf(t, f, b)
	a.within(t, "SIGKILL in a resync")
	pgtest.Eventually(t, 2*patience, "the table streams", func() bool {
		return a.file.tables(t)["public.part_1"].State == pipeline.TableStreaming
	})

	b.start(t)
	hangs(t, a, b)
	changes := stop()
	f.settled(partsNames(), livenessLimit)
	f.surprises()
	n := f.unique(t)
	t.Logf("%d statements at the source, %d changes in the topic, 0 lost, under 3 faults", changes, n)
}

// hangs stops a until b captures, and lets it go on then.
func hangs(t *testing.T, a, b *machine) {
	t.Helper()
	const waits = "waiting to take over"
	b.p.logs(t, waits)
	before := strings.Count(a.p.stderr.String(), waits)
	a.p.signal(t, syscall.SIGSTOP)
	b.within(t, "SIGSTOP")
	b.file.until(t, "the standby streams", streaming)
	a.p.signal(t, syscall.SIGCONT)
	pgtest.Eventually(t, patience, "the one that hung waits or has ended", func() bool {
		return !a.p.running() || strings.Count(a.p.stderr.String(), waits) > before
	})
	wait(t.Context(), time.Second)
	if !b.p.running() || !b.captures(t.Context()) {
		t.Errorf("the one that woke up took it back: %s", tail(b.p.stderr.String(), 2000))
	}
}

// resyncHalf kills m in the middle of a resync of the large table.
func resyncHalf(t *testing.T, f *fleet, m *machine) {
	t.Helper()
	const done = `"table copied","table":"public.part_1"`
	before, copies := f.ended(t), strings.Count(m.p.stderr.String(), done)
	m.file.order(t, "resync", "public.part_1")
	pgtest.Eventually(t, patience, "the resync has rows", func() bool { return f.ended(t) > before+2000 })
	m.p.kill()
	if strings.Count(m.p.stderr.String(), done) != copies {
		t.Error("the resync was over")
	}
}
