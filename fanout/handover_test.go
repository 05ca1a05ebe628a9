package fanout

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/fanout/window"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// TestHandover: tables move between classes again and again, over faults and ends in
// the middle, and every change comes once, in its table's order.
func TestHandover(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			m := &mover{rig: newRig(t, rigConfig{}), to: newTarget(), rng: rand.New(rand.NewPCG(seed, 3)), tables: tables(),
				want: map[string][]string{}, classes: map[string]string{}, memory: map[string]*notes{}}
			m.to.fault = func() error {
				if m.dice(6) == 0 {
					return entrain.Retryable(errors.New("planted"))
				}
				return nil
			}
			wish := map[string]string{}
			for range 12 {
				if m.dice(2) == 0 {
					wish = m.anyClasses()
				}
				m.run(wish, time.Duration(1+m.dice(20000))*time.Millisecond)
				m.more()
			}
			least := map[string]int{}
			for table := range m.want {
				least[table] = len(m.want[table])
			}
			m.well = true
			m.run(wish, 5*time.Minute)
			m.expect(seed, least)
		})
	}
}

// mover moves tables from class to class.
type mover struct {
	*rig
	to      *target
	tables  []*entrain.Table
	want    map[string][]string // by table
	version int
	classes map[string]string // that hold, by table
	memory  map[string]*notes // by class

	mu   sync.Mutex
	rng  *rand.Rand
	well bool // no faults any more
}

// dice is below n; 1 where all is to be well and it could be 0.
func (m *mover) dice(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.well {
		return min(1, n-1)
	}
	return m.rng.IntN(n)
}

// more commits transactions.
func (m *mover) more() {
	for range m.dice(20) {
		for table, list := range commit(m.source, &m.version, 1+m.dice(5), m.tables[:1+m.dice(3)]...) {
			m.want[table] = append(m.want[table], list...)
		}
	}
}

func (m *mover) anyClasses() map[string]string {
	all := map[string]string{}
	for _, table := range m.tables {
		if class := []string{"", "small", "night"}[m.dice(3)]; class != "" {
			all[table.Name] = class
		}
	}
	return all
}

// under are the deliveries under some rules.
func (m *mover) under(classes map[string]string) []Sink {
	all := []*Lane{{Class: MainClass}}
	for _, class := range slices.Compact(slices.Sorted(maps.Values(classes))) {
		if m.memory[class] == nil {
			m.memory[class] = &notes{ran: time.Now()}
		}
		l := &Lane{Class: class, Memory: m.memory[class]}
		if class == "small" {
			l.Small = &window.Rules{Every: time.Second, Rows: 1 + m.dice(20), Bytes: 1 << 20}
		} else {
			l.Schedule = schedule(m.t, "* * * * *")
		}
		all = append(all, l)
	}
	return m.lanes(m.to, classes, all...)
}

// run runs for a time, under rules that may be others than those that hold.
func (m *mover) run(wish map[string]string, d time.Duration) {
	m.t.Helper()
	capture, err := pipeline.New(pipeline.Options{Source: m.source, Sink: m.log})
	if err != nil {
		m.t.Fatal(err)
	}
	o := Options{Capture: capture, Stream: m.log, Sinks: m.under(wish)}
	if !maps.Equal(m.classes, wish) {
		o.Handovers = func() ([]Handover, error) {
			return []Handover{{Sink: "copy", From: m.under(m.classes), Done: func(ends map[stream.Partition]entrain.Position) error {
				m.changed(wish, ends["shop"])
				return nil
			}}}, nil
		}
	}
	f, err := New(o)
	if err != nil {
		m.t.Fatal(err)
	}
	m.more()
	ctx, stop := context.WithTimeout(m.t.Context(), d)
	defer stop()
	if err := f.Run(ctx); err != nil && !entrain.IsRetryable(err) {
		m.t.Fatal(err)
	}
}

// changed has rules hold.
func (m *mover) changed(wish map[string]string, at entrain.Position) {
	for _, class := range wish {
		if slices.Contains(slices.Collect(maps.Values(m.classes)), class) {
			continue
		}
		n := m.memory[class]
		n.mu.Lock()
		n.begin, n.noted, n.had = at, false, entrain.Position{}
		n.mu.Unlock()
	}
	m.classes = wish
}

// expect checks that every table's changes came once and in order, at least so many.
func (m *mover) expect(seed uint64, least map[string]int) {
	m.t.Helper()
	got := m.to.all()
	for table, want := range m.want {
		if mine := of(table, got); len(mine) < least[table] || len(mine) > len(want) || !slices.Equal(mine, want[:len(mine)]) {
			m.t.Errorf("seed %d: table %s has %d events, not the first of %d in their order", seed, table, len(mine), len(want))
		}
	}
}
