package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/fanout"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/stream"
)

// classMemory is the file in which a pipeline's state remembers under which rules each
// sink was delivered into. It may be used from any goroutine.
type classMemory struct {
	path string

	mu    sync.Mutex
	sinks map[string]*sinkClasses
}

// sinkClasses is what is remembered of a sink.
type sinkClasses struct {
	// Rules that hold: names and tables of classes.
	Rules classes `json:"rules"`
	// Lanes that there are or were, by class.
	Lanes map[string]*laneNotes `json:"lanes"`
}

// laneNotes is what is remembered of the delivery of a class.
type laneNotes struct {
	// Begin is where it begins, by partition; Had is what its sink had as its position
	// when it began, which one of a former time may have left.
	Begin map[stream.Partition]entrain.Position `json:"begin,omitempty"`
	Had   map[stream.Partition]entrain.Position `json:"had,omitempty"`
	// Since is when the class began, Ran when its last scheduled window did, by
	// partition.
	Since time.Time                      `json:"since"`
	Ran   map[stream.Partition]time.Time `json:"ran,omitempty"`
}

// recallClasses reads what the state remembers. It is one for all engines of the
// program, of which one may still be at work when the next is made.
func (p *program) recallClasses(file *config.File) (*classMemory, error) {
	path := filepath.Join(store.Folder(file.State.Dir, file.Name), "classes.json")
	m := p.classed
	if m == nil || m.path != path {
		m = &classMemory{path: path}
		p.classed = m
	}
	return m, m.read()
}

// read reads what another process may have written; of a state that is not there,
// nothing.
func (m *classMemory) read() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sinks = map[string]*sinkClasses{}
	text, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m.sinks)
	}
	return err
}

// known are the classes that a sink has or had.
func (m *classMemory) known(sink string) []string {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sinks[sink] == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(m.sinks[sink].Lanes))
}

// rules returns those that hold for a sink; false if none are remembered.
func (m *classMemory) rules(sink string) (classes, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sinks[sink]
	if s == nil {
		return nil, false
	}
	return s.Rules, true
}

// change has other rules hold from some places on, where what was before has ended;
// without any from the beginning of the stream.
func (m *classMemory) change(sink string, to classes, ends map[stream.Partition]entrain.Position) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.sinks[sink]
	next := &sinkClasses{Rules: slices.Clone(to), Lanes: map[string]*laneNotes{}}
	var had []string
	if before != nil {
		maps.Copy(next.Lanes, before.Lanes)
		had = before.Rules.names()
	}
	for _, class := range to.names() {
		if class == fanout.MainClass || slices.Contains(had, class) {
			continue // it goes on
		}
		notes := &laneNotes{Since: time.Now(), Ran: map[stream.Partition]time.Time{}, Begin: map[stream.Partition]entrain.Position{}, Had: map[stream.Partition]entrain.Position{}}
		for p, at := range ends {
			if !at.IsZero() {
				notes.Begin[p] = at
			}
		}
		next.Lanes[class] = notes
	}
	m.sinks[sink] = next
	if err := m.save(); err != nil {
		m.sinks[sink] = before
		return err
	}
	return nil
}

// save is called with mu held.
func (m *classMemory) save() error {
	text, err := json.MarshalIndent(m.sinks, "", " ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(m.path), 0o700)
	}
	if err == nil {
		err = store.WriteFile(m.path, text)
	}
	return err
}

// lane is what is remembered of one class.
func (m *classMemory) lane(sink, class string) fanout.LaneMemory { return laneMemory{m, sink, class} }

// laneMemory implements [fanout.LaneMemory].
type laneMemory struct {
	all         *classMemory
	sink, class string
}

// notes is called with all.mu held; nil if there are none.
func (l laneMemory) notes() *laneNotes {
	if s := l.all.sinks[l.sink]; s != nil {
		return s.Lanes[l.class]
	}
	return nil
}

// Begin implements [fanout.LaneMemory]. What the sink has when a class begins is of an
// earlier time in which the class was there; once that is noted, another position
// is the class's own.
func (l laneMemory) Begin(p stream.Partition, had entrain.Position) (entrain.Position, error) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	n := l.notes()
	if n == nil {
		return had, nil
	}
	if n.Had == nil {
		n.Had = map[stream.Partition]entrain.Position{}
	}
	begin, begins := n.Begin[p]
	if !begins {
		return had, nil
	}
	noted, known := n.Had[p]
	switch {
	case !known:
		n.Had[p] = had
		return begin, l.all.save()
	case noted == had:
		return begin, nil
	}
	return had, nil
}

// Ran implements [fanout.LaneMemory].
func (l laneMemory) Ran(p stream.Partition) (time.Time, error) {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	n := l.notes()
	if n == nil {
		return time.Now(), nil
	}
	if at, ran := n.Ran[p]; ran {
		return at, nil
	}
	return n.Since, nil
}

// SetRan implements [fanout.LaneMemory].
func (l laneMemory) SetRan(p stream.Partition, at time.Time) error {
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	n := l.notes()
	if n == nil {
		return nil
	}
	if n.Ran == nil {
		n.Ran = map[stream.Partition]time.Time{}
	}
	n.Ran[p] = at
	return l.all.save()
}

// beginClasses remembers the rules of sinks that nothing was delivered into yet. It is
// called before their first delivery.
func (l *loaded) beginClasses() error {
	rules := classes(l.file.Classes)
	for _, end := range l.sinks {
		_, remembered := l.classed.rules(end.section.Name)
		if remembered || len(rules.names()) == 1 {
			continue
		}
		used, err := l.deliveredBefore(end)
		if err != nil {
			return err
		}
		if used {
			continue // what was delivered comes before: see handover
		}
		if err := l.classed.change(end.section.Name, rules, nil); err != nil {
			return err
		}
	}
	return nil
}

// deliveredBefore reports whether a sink has a delivery's state.
func (l *loaded) deliveredBefore(end sinkEnd) (bool, error) {
	entries, err := os.ReadDir(l.sinkFolder())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), end.section.Name+".") }), err
}

// handovers are what comes before the deliveries. Nothing of the pipeline is at work
// when it is asked for, and the state is held.
func (p *program) handovers(l *loaded) (all []fanout.Handover, err error) {
	if err := l.classed.read(); err != nil {
		return nil, err
	}
	if err := l.beginClasses(); err != nil {
		return nil, err
	}
	for _, end := range l.sinks {
		if h, changed := p.handover(l, end); changed && (l.only == "" || l.only == end.section.Name) {
			all = append(all, h)
		}
	}
	l.nameCursors()
	return all, nil
}

// handover is what comes before the deliveries of a sink whose rules have changed;
// false if they have not.
func (p *program) handover(l *loaded, end sinkEnd) (fanout.Handover, bool) {
	rules := classes(l.file.Classes)
	before, _ := l.classed.rules(end.section.Name)
	if rules.same(before) || len(rules.names()) == 1 && len(before.names()) == 1 {
		return fanout.Handover{}, false
	}
	h := fanout.Handover{Sink: end.section.Name}
	for _, one := range l.lanes(end, before) {
		h.From = append(h.From, p.fanoutSink(l, one, nil))
	}
	h.Done = func(ends map[stream.Partition]entrain.Position) error {
		if err := l.classed.change(end.section.Name, rules, ends); err != nil {
			return err
		}
		l.nameCursors()
		return nil
	}
	return h, true
}
