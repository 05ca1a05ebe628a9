package campaign

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// moves give rows of the parts other keys, back and forth, and empty one of them.
func moves(t *testing.T, url string) {
	t.Helper()
	for i := range 40 {
		table := fmt.Sprintf("part_%d", i%partsTables)
		pgtest.Exec(t, url,
			fmt.Sprintf("INSERT INTO %s VALUES (%d, 7, 'moves')", table, 100_000+i),
			fmt.Sprintf("UPDATE %s SET id = id + 1000, n = n + 1 WHERE id = %d", table, 100_000+i),
			fmt.Sprintf("UPDATE %s SET id = id + 1000, n = n + 1 WHERE id = %d AND %d %% 3 > 0", table, 101_000+i, i),
			fmt.Sprintf("DELETE FROM %s WHERE id = %d AND %d %% 4 = 0", table, 102_000+i, i))
	}
	pgtest.Exec(t, url, "TRUNCATE part_5", "INSERT INTO part_5 SELECT i, i, 'after' FROM generate_series(1, 50) i")
}

// TestDeliverySetBack is CO-15: a delivery whose position is set back, to the
// beginning or to any place in between, delivers again, and both sides are equal
// again.
func TestDeliverySetBack(t *testing.T) {
	t.Parallel()
	rows := 200
	broker := kafkatest.Start(t).Addr()
	srv := pgtest.Start(t, someMajor(t), nil)
	s := site{source: pgtest.CreateDatabase(t, srv), target: pgtest.CreateDatabase(t, srv), name: pgtest.Name(t)}
	pgtest.Exec(t, s.source, partsSQL(rows)...)
	f := newFleet(t, sampled(t, 0, 0), s, broker).split(1)
	f.capture()
	f.captures[0].file.until(t, "the capture streams", streaming)
	stop := pester(t, s.source, rows)
	moves(t, s.source)
	wait(t.Context(), time.Second)
	changes := stop()
	f.work(1)
	f.settled(partsNames(), livenessLimit)
	end := f.ended(t)
	places := []int64{0, f.rng.Int64N(end), f.rng.Int64N(end)}
	if wide() {
		for range 20 {
			places = append(places, f.rng.Int64N(end))
		}
	}
	for _, place := range places {
		if p := f.workers[0].terminate(t); p.code() != exitOK {
			t.Fatalf("exit code %d", p.code())
		}
		f.setBack(place, "")
		f.workers[0] = superviseAs(t, &supervisor{file: f.workers[0].file, verb: "deliver"})
		f.settled(partsNames(), livenessLimit)
		pgtest.Eventually(t, patience, "the delivery is at the end again", func() bool {
			return pgtest.QueryOne(t, s.target, fmt.Sprintf("SELECT bool_or(nullif(split_part(position, '/', 2), '')::bigint >= %d) FROM entrain.position", end)) == "t"
		})
		f.settled(partsNames(), livenessLimit)
	}
	f.surprises()
	t.Logf("%d statements, %d offsets, set back to %v", changes, end, places)
}

// setBack does what docs/kafka.md says; more is what else is set.
func (f *fleet) setBack(place int64, more string) {
	f.t.Helper()
	sql := fmt.Sprintf("UPDATE entrain.position SET %s position = '0/%d' WHERE pipeline = '%s:out:%s/0' RETURNING pipeline",
		more, place, f.site.name, f.topic())
	if rows, err := query(f.t.Context(), f.site.target, sql); err != nil || len(rows) != 1 {
		f.t.Fatalf("%s: %v %v", sql, rows, err)
	}
}

// TestTopicGone is the other half of ST-10: a topic that somebody deleted is a stop
// of both halves, and what they print leads to equal sides.
func TestTopicGone(t *testing.T) {
	t.Parallel()
	broker := kafkatest.Start(t).Addr()
	s, _ := shop(t, someMajor(t))
	s.name = pgtest.Name(t)
	f := newFleet(t, sampled(t, 0, 0), s, broker).split(1)
	file := f.file("snapshot: {mode: never}")
	capture := launch(t, "capture", file.path)
	file.until(t, "it streams", streaming)
	worker := f.file()
	deliver := launch(t, "deliver", worker.path)
	addOrders(t, s.source, 1, 500)
	f.settled([]string{"orders"}, livenessLimit)
	f.alter(func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.DeleteTopic(ctx, f.topic())
		return err
	})
	addOrders(t, s.source, 501, 600)
	capture.exitWithin(t, 2*patience, exitEnvironment)
	next := stopped(t, "topic_recreated", "capture", file.path)
	f.forget(t, between(t, next, "echo ", "; then:"))
	launch(t, "capture", file.path)
	file.until(t, "it streams", streaming)
	addOrders(t, s.source, 601, 700)
	deliver.logs(t, "stream_recreated")
	_, next, _ = strings.Cut(deliver.stderr.String(), "stream_recreated")
	if !strings.Contains(next, "entrain table resync "+worker.path) || !strings.Contains(next, "docs/kafka.md") {
		t.Errorf("the advice is %s", tail(next, 1000))
	}
	deliver.kill()
	f.setBack(0, strings.Replace(between(t, next, "incarnation '", ", position '0/0'"), " ", " = ", 1)+",")
	file.order(t, "resync", "public.orders")
	launch(t, "deliver", worker.path)
	f.settled([]string{"orders"}, livenessLimit)
}

// TestDividedStream: what happens to all rows of a table at one moment is a named
// stop where partitions are delivered one by one, and what the stop prints leads on.
func TestDividedStream(t *testing.T) {
	t.Parallel()
	broker := kafkatest.Start(t).Addr()
	s, _ := shop(t, someMajor(t))
	s.name = pgtest.Name(t)
	const whole = "CREATE TABLE whole (id int PRIMARY KEY); ALTER TABLE whole REPLICA IDENTITY FULL"
	pgtest.Exec(t, s.source, whole)
	pgtest.Exec(t, s.target, whole)
	f := newFleet(t, sampled(t, 0, 0), s, broker).split(3)
	file := f.file("snapshot: {mode: never}")
	capture := launch(t, "capture", file.path)
	file.until(t, "it streams", streaming)
	f.work(1)
	addOrders(t, s.source, 1, 100)
	for i := range 5 { // in one partition, with its truncates
		pgtest.Exec(t, s.source, "TRUNCATE whole", fmt.Sprintf("INSERT INTO whole SELECT generate_series(1, %d)", 10+i))
	}
	f.settled([]string{"orders", "whole"}, livenessLimit)

	pgtest.Exec(t, s.target, "DELETE FROM orders WHERE id % 2 = 0")
	for _, verb := range []string{"resync", "pause"} {
		next := stopped(t, "stream_divided", "table", verb, file.path, "public.orders")
		if !strings.HasPrefix(next, "entrain snapshot start "+file.path+" --table SCHEMA.TABLE") {
			t.Fatalf("the advice is %s", next)
		}
	}
	launch(t, "snapshot", "start", file.path, "--table", "public.orders").exit(t, exitOK)
	f.settled([]string{"orders"}, livenessLimit)

	pgtest.Exec(t, s.source, "TRUNCATE orders", "INSERT INTO orders VALUES (1, 'after')", "INSERT INTO whole VALUES (1000)")
	capture.exitWithin(t, patience, exitRuntime)
	next := stopped(t, "truncate_divided", "capture", file.path)
	if !strings.Contains(next, `add "public.orders" to source.tables.exclude in `+file.path) {
		t.Fatalf("the advice is %s", next)
	}
	file.edit(t, "create: true}", `create: true, tables: {exclude: ["public.orders"]}}`)
	launch(t, "capture", file.path)
	f.settled([]string{"whole"}, livenessLimit)
}
