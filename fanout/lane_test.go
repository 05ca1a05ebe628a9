package fanout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/fanout/window"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/packed"
)

// target is what several deliveries write into, each with a position of its own.
type target struct {
	mu        sync.Mutex
	positions map[string]entrain.Position
	got       []string // what is durable: table/version/ordinal
	commits   [][]string
	fault     func() error
}

func newTarget() *target {
	return &target{positions: map[string]entrain.Position{}, fault: func() error { return nil }}
}

func (t *target) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.got)
}

// delivery is one of a target's.
type delivery struct {
	*target
	name string
}

func (d delivery) Open(context.Context) (entrain.Writer, error) {
	return &targetWriter{delivery: d}, d.fault()
}

type targetWriter struct {
	delivery
	pending []string
}

func (w *targetWriter) Position(context.Context) (entrain.Position, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.positions[w.name], nil
}

func (w *targetWriter) Write(_ context.Context, b *entrain.Batch) error {
	if err := w.fault(); err != nil {
		return err
	}
	for _, e := range b.Events {
		if e.Table != nil {
			w.pending = append(w.pending, fmt.Sprintf("%s/%d/%d", e.Table.Name, e.Tx.Version, e.Ordinal))
		}
	}
	if b.Through.IsZero() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, w.pending...)
	if len(w.pending) > 0 {
		w.commits = append(w.commits, w.pending)
	}
	w.positions[w.name], w.pending = b.Through, nil
	return nil
}

func (w *targetWriter) Close() error { return nil }

// notes is a memory of one lane.
type notes struct {
	mu         sync.Mutex
	begin, had entrain.Position
	noted      bool
	ran        time.Time
}

func (n *notes) Begin(_ stream.Partition, had entrain.Position) (entrain.Position, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.begin.IsZero():
		return had, nil
	case !n.noted:
		n.noted, n.had = true, had
		return n.begin, nil
	case n.had == had:
		return n.begin, nil
	}
	return had, nil
}

func (n *notes) Ran(stream.Partition) (time.Time, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ran, nil
}

func (n *notes) SetRan(_ stream.Partition, at time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ran = at
	return nil
}

// tables named a, b and c.
func tables() (list []*entrain.Table) {
	for _, name := range []string{"a", "b", "c"} {
		table := *entraintest.StandardTable()
		table.Name = name
		list = append(list, &table)
	}
	return list
}

// commit commits n rows of each of some tables at once, and returns what a target gets of it,
// by table.
func commit(src *entraintest.MemorySource, version *int, n int, of ...*entrain.Table) map[string][]string {
	var events []entrain.Event
	want := map[string][]string{}
	*version++
	for k := range n {
		for i, table := range of {
			id := entraintest.Text(fmt.Sprint(*version*1000 + k))
			events = append(events, entraintest.Insert(table, id, id, id, entraintest.Null))
			want[table.Name] = append(want[table.Name], fmt.Sprintf("%s/%d/%d", table.Name, 1000**version, k*len(of)+i))
		}
	}
	src.Commit(events...)
	return want
}

// lanes are the deliveries into a target of the tables that are of a class.
func (r *rig) lanes(to *target, classes map[string]string, lanes ...*Lane) []Sink {
	var all []Sink
	for _, l := range lanes {
		name := (&Sink{Name: "copy", Lane: l}).full()
		l.Sees = func(_, table string) bool {
			class, other := classes[table]
			return other && class == l.Class || !other && l.main()
		}
		all = append(all, Sink{Name: "copy", Cursor: "shop." + name, Lane: l,
			Deliver: func(_ context.Context, _ stream.Partition, source entrain.Source) (*Delivery, error) {
				engine, err := pipeline.New(pipeline.Options{Source: source, Sink: delivery{to, name}})
				return &Delivery{Engine: engine}, err
			}})
	}
	return all
}

// of are the entries of one table.
func of(table string, all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s[:len(table)+1] != table+"/" })
}

func nightly(t *testing.T) *window.Schedule { return schedule(t, "0 2 * * *") }

func schedule(t *testing.T, cron string) *window.Schedule {
	t.Helper()
	s, err := window.ParseSchedule(cron, time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pass lets time pass, of the bubble's clock.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	sleep(t.Context(), d)
}

// TestLanesWait: the stream's table is not late, a small window ends by its time or its
// rows, a schedule's at its time, and a flush at once. The clock is the bubble's.
func TestLanesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, to, version := newRig(t, rigConfig{}), newTarget(), 0
		ts := tables()
		night := &notes{ran: time.Now()}
		f := r.fanout(r.lanes(to, map[string]string{"b": "small", "c": "night"}, &Lane{Class: MainClass},
			&Lane{Class: "small", Small: &window.Rules{Every: 5 * time.Second, Rows: 10, Bytes: 1 << 20}},
			&Lane{Class: "night", Schedule: nightly(t), Memory: night})...)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		pass(t, 6*time.Second) // partitions are found
		has := func(when string, a, b, c int) {
			t.Helper()
			got := to.all()
			if x, y, z := len(of("a", got)), len(of("b", got)), len(of("c", got)); x != a || y != b || z != c {
				t.Errorf("%s: %d, %d and %d rows; want %d, %d and %d", when, x, y, z, a, b, c)
			}
		}
		commit(r.source, &version, 2, ts...)
		pass(t, time.Second)
		has("at once", 2, 0, 0)
		pass(t, 5*time.Second)
		has("after 5 s", 2, 2, 0)
		commit(r.source, &version, 12, ts[1])
		pass(t, time.Second)
		has("with 10 rows", 2, 14, 0)
		commit(r.source, &version, 1, ts[1], ts[2])
		pass(t, time.Second)
		if err := f.Flush(ctx, "copy"); err != nil {
			t.Error(err)
		}
		has("flushed", 2, 15, 3)
		commit(r.source, &version, 4, ts[2])
		pass(t, time.Until(time.Date(2000, 1, 1, 1, 59, 59, 0, time.UTC)))
		has("before the window", 2, 15, 3)
		pass(t, 10*time.Second)
		has("in the window", 2, 15, 7)
		if ran, _ := night.Ran(""); ran.Hour() != 2 {
			t.Errorf("the window was noted at %s", ran)
		}
		if err := f.Flush(ctx, "copy.stream"); err == nil {
			t.Error("a class that does not wait was flushed")
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestMissedWindow: a window that was missed, since nothing ran, begins at once; a
// failed one is tried again at once, not at the next time.
func TestMissedWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, to, version := newRig(t, rigConfig{}), newTarget(), 0
		failing := true
		to.fault = func() error {
			if failing {
				failing = false
				return errors.New("away")
			}
			return nil
		}
		commit(r.source, &version, 3, tables()[2])
		f := r.fanout(r.lanes(to, map[string]string{"c": "night"},
			&Lane{Class: "night", Schedule: nightly(t), Memory: &notes{ran: time.Now().Add(-30 * time.Hour)}})...)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		pass(t, time.Minute)
		if got := to.all(); len(got) != 3 {
			t.Errorf("%d rows", len(got))
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestWindowsOfAClockThatIsSet: a window begins when the clock shows its time, whatever
// the clock showed before: one that was set back costs no window, let alone all of them
// until it is there once more (CO-14; P9).
func TestWindowsOfAClockThatIsSet(t *testing.T) {
	l := &Lane{Schedule: nightly(t)}
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const year = 365 * 24 * time.Hour
	for _, c := range []struct {
		what    string
		ran     time.Time
		looks   []time.Time // what the clock shows
		windows []bool      // whether the window has come then
	}{
		{"is not set", noon, []time.Time{noon, noon.Add(14*time.Hour - 1), noon.Add(14 * time.Hour)}, []bool{false, false, true}},
		{"was ten years ahead when the last window was", noon.Add(10 * year), []time.Time{noon, noon.Add(14 * time.Hour)}, []bool{false, true}},
		{"is set ten years back", noon, []time.Time{noon, noon.Add(-10 * year), noon.Add(-10*year + 14*time.Hour)}, []bool{false, false, true}},
		{"is set an hour back", noon, []time.Time{noon, noon.Add(-time.Hour), noon.Add(13*time.Hour + 59*time.Minute), noon.Add(14 * time.Hour)}, []bool{false, false, false, true}},
		{"is set ten years ahead", noon, []time.Time{noon, noon.Add(10 * year)}, []bool{false, true}},
		{"is set an hour ahead over the window", noon, []time.Time{noon, noon.Add(14*time.Hour + 30*time.Minute)}, []bool{false, true}},
	} {
		ran := c.ran
		for i, now := range c.looks {
			next, left := l.due(&ran, now)
			if (left == 0) != c.windows[i] || left > lookAgain {
				t.Errorf("the clock %s: at %s the window is %s, looked at again in %s", c.what, now, next, left)
			}
		}
	}
}

// TestWindowBehindAClockSetBack: the same by a delivery whose last window is noted in
// the future.
func TestWindowBehindAClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, to, version := newRig(t, rigConfig{}), newTarget(), 0
		commit(r.source, &version, 3, tables()[2])
		night := &notes{ran: time.Now().Add(10 * 365 * 24 * time.Hour)}
		f := r.fanout(r.lanes(to, map[string]string{"c": "night"}, &Lane{Class: "night", Schedule: nightly(t), Memory: night})...)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		pass(t, 119*time.Minute)
		if got := to.all(); len(got) != 0 {
			t.Errorf("before the window: %d rows", len(got))
		}
		pass(t, 2*time.Minute)
		if got := to.all(); len(got) != 3 {
			t.Errorf("in the window: %d rows; want 3", len(got))
		}
		if ran, _ := night.Ran(""); ran.Year() != 2000 {
			t.Errorf("the window was noted at %s", ran)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// byHand is a log that the test writes itself, and what delivers it at night.
type byHand struct {
	t      *testing.T
	f      *Fanout
	writer entrain.Writer
}

func newByHand(t *testing.T, to *target) *byHand {
	t.Helper()
	log, err := packed.New(packed.Config{Backend: &packed.Memory{}, Producer: "shop", MessageBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, log: log}
	sinks := r.lanes(to, map[string]string{"c": "night"}, &Lane{Class: "night", Schedule: nightly(t), Memory: &notes{ran: time.Now()}})
	b := &byHand{t: t}
	if b.f, err = New(Options{Stream: log, Sinks: sinks}); err != nil {
		t.Fatal(err)
	}
	if b.writer, err = log.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.writer.(entrain.Positioner).Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// write writes rows from and up to to of a transaction, and its end if there is a
// position.
func (b *byHand) write(version, from, to int, through string) {
	b.t.Helper()
	batch := &entrain.Batch{}
	tx := &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: "i"}, Version: uint64(version), CommitTime: time.Now()}
	for k := from; k < to; k++ {
		id := entraintest.Text(fmt.Sprint(version*1000 + k))
		e := entraintest.Insert(tables()[2], id, id, id, entraintest.Null)
		e.Tx, e.Ordinal = tx, uint64(k)
		batch.Events = append(batch.Events, e)
	}
	if through != "" {
		batch.Through = entrain.Position{Incarnation: "i", Offset: through}
	}
	if err := b.writer.Write(b.t.Context(), batch); err != nil {
		b.t.Fatal(err)
	}
}

// TestWindowEndsWithTransaction: a large transaction of which the stream has a part
// when the window begins is not begun; the next window has all of it, in one commit.
func TestWindowEndsWithTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newTarget()
		b := newByHand(t, to)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.f.Run(ctx) }()
		b.write(1, 0, 5, "1")
		b.write(2, 0, 300, "")
		pass(t, time.Minute)
		if err := b.f.Flush(ctx, "copy.night"); err != nil {
			t.Error(err)
		}
		if got := to.all(); len(got) != 5 {
			t.Errorf("%d rows in the middle of the transaction; want 5", len(got))
		}
		b.write(2, 300, 700, "2")
		b.write(3, 0, 1, "3")
		if err := b.f.Flush(ctx, "copy.night"); err != nil {
			t.Error(err)
		}
		stop()
		if err := errors.Join(<-ended, b.writer.Close()); err != nil {
			t.Error(err)
		}
		if got := to.all(); len(got) != 706 {
			t.Errorf("%d rows; want 706", len(got))
		}
		for _, c := range to.commits {
			if n := len(of("c/2", c)); n != 0 && n != 700 {
				t.Errorf("a commit has %d of the transaction's 700 rows", n)
			}
		}
	})
}
