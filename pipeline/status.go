package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
)

// phase is where a pipeline is in its life; docs/states.md draws it.
type phase string

const (
	phaseNew          phase = "new"
	phaseConnecting   phase = "connecting"
	phaseSnapshotting phase = "snapshotting"
	phaseStreaming    phase = "streaming"
	phaseDraining     phase = "draining"
	phaseStopped      phase = "stopped"
	phaseFailed       phase = "failed"
)

// moves are the possible transitions.
var moves = map[phase][]phase{
	phaseNew:          {phaseConnecting},
	phaseConnecting:   {phaseConnecting, phaseSnapshotting, phaseStreaming, phaseStopped, phaseFailed},
	phaseSnapshotting: {phaseConnecting, phaseStreaming, phaseStopped, phaseFailed},
	phaseStreaming:    {phaseConnecting, phaseDraining, phaseStopped, phaseFailed},
	phaseDraining:     {phaseConnecting, phaseDraining, phaseStopped, phaseFailed},
}

// state is what Status shows; guarded by the pipeline's mutex.
type state struct {
	phase     phase
	lastErr   error
	up        bool      // a session has been up
	down      time.Time // since when no session gets further, zero if one does
	session   *session
	past      counts    // of sessions that ended
	writing   time.Time // since when the sink is at work, zero if it is not
	broken    time.Time // since when a change waits that a session had read when it broke; zero if none does
	position  entrain.Position
	unsettled settled // events that the last session left durable at position, unconfirmed
}

type counts struct {
	captured int64
	settled
	extra map[string]int64
}

// settled is what became of events that a sink has durably.
type settled struct{ applied, filtered, parked int64 }

func (s *settled) add(more settled) {
	s.applied += more.applied
	s.filtered += more.filtered
	s.parked += more.parked
}

// Status is a pipeline at one moment, as `entrain status` shows it.
type Status struct {
	// Phase: new, connecting, snapshotting, streaming, draining, stopped or
	// failed.
	Phase string `json:"phase"`
	// Waiting says what the pipeline waits for: "source" (there is nothing
	// new), "sink" (a write is under way), "connection", or "" for nothing.
	Waiting string `json:"waiting"`
	// WaitingSeconds is for how long, as far as it is known.
	WaitingSeconds float64 `json:"waiting_seconds"`
	// Position that the sink has durably.
	Position    string `json:"position"`
	Incarnation string `json:"incarnation"`
	// LagBytes of the source's log that are not delivered; -1 if not known.
	LagBytes int64 `json:"lag_bytes"`
	// LagSeconds is how long the oldest change waits that was read and is not
	// delivered, from its commit on; while no session gets further, at least since when
	// that is so. 0 when nothing waits, however much of the source's log is not ours.
	LagSeconds float64 `json:"lag_seconds"`
	// BufferedBytes are read but not yet handed to the sink.
	BufferedBytes int `json:"buffered_bytes"`
	// Captured counts the events read from the source, Applied those durable
	// at the sink whose position is saved, Filtered those that a transform or a snapshot left
	// out on the way to there, or that the sink had already, Parked those that became dead letters, Reread those that a broken session had read but
	// not brought that far, and which were read again. At rest captured =
	// applied + filtered + parked + reread (P1).
	Captured int64 `json:"captured"`
	Applied  int64 `json:"applied"`
	Filtered int64 `json:"filtered"`
	Parked   int64 `json:"parked"`
	Reread   int64 `json:"reread"`
	// DeadLetters are stored now: parked ones less those that were replayed or dropped.
	DeadLetters int `json:"dead_letters"`
	// Duplicates are the filtered ones that the sink had already, counted when they
	// were recognised, and DuplicateRate is their part, 0 to 1, of the changes of the
	// last minute. Both are 0 without deduplication.
	Duplicates    int64   `json:"duplicates,omitempty"`
	DuplicateRate float64 `json:"duplicate_rate,omitempty"`
	// Snapshot is the progress of copying existing rows, nil if this run has
	// copied none.
	Snapshot *SnapshotStatus `json:"snapshot,omitempty"`
	// Retained is what the source's server keeps back for the pipeline, nil if that
	// is not known.
	Retained *entrain.Retained `json:"retained,omitempty"`
	// ContractBreaches counts, by table at the source, events that broke the table's
	// contract, whatever became of them; those that were read again once more.
	ContractBreaches map[string]int64 `json:"contract_breaches,omitempty"`
	// Tables counts the tables by state that are not simply streaming.
	Tables map[TableState]int `json:"tables,omitempty"`
	// Circuit is the breaker, nil if there is none.
	Circuit *CircuitStatus `json:"circuit,omitempty"`
	// Counts of the source and the sink by name.
	Counts map[string]int64 `json:"counts"`
	// Error that ended the last session, "" if none did.
	Error string `json:"error,omitempty"`
}

// become moves to another phase; an impossible move is an error in the engine.
func (p *Pipeline) become(to phase, cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.state.phase
	if from == "" {
		from = phaseNew
	}
	if !slices.Contains(moves[from], to) {
		return fmt.Errorf("pipeline: cannot go from %s to %s", from, to)
	}
	p.state.phase = to
	if cause != nil {
		p.state.lastErr = cause
		if p.state.down.IsZero() && !onlyReplay(cause) { // a replay that was refused keeps nothing of the stream
			p.state.down = time.Now()
		}
	}
	return nil
}

// becomeDraining notes that no more will be read.
func (p *Pipeline) becomeDraining() error { return p.become(phaseDraining, nil) }

// attach makes s the session at work.
func (p *Pipeline) attach(s *session) error {
	if err := p.become(phaseStreaming, nil); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.fed.at == p.state.position {
		p.state.past.add(p.state.unsettled) // the sink has kept them
	}
	p.state.session = s
	s.begun = time.Now()
	p.state.up = true
	p.state.position, p.state.unsettled = s.fed.at, settled{}
	return nil
}

// detach keeps the counts of a session that ended.
func (p *Pipeline) detach(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.past = p.totals()
	if s.getsOn(time.Now()) {
		p.state.recovered()
	}
	p.state.broken = earlier(p.state.broken, s.fed.waits.oldest())
	p.state.position = s.fed.at
	p.state.unsettled = s.fed.unconfirmed()
	p.state.session = nil
}

// lastPosition returns what a sink was last known to have.
func (p *Pipeline) lastPosition() entrain.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.position
}

// Position returns what the sink was last known to have, also when Run has ended; zero
// if no session was up. It may be called from any goroutine.
func (p *Pipeline) Position() entrain.Position {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.state.session; s != nil {
		return s.fed.at
	}
	return p.state.position
}

func (p *Pipeline) wasUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state.up
}

// writing notes since when the sink is at work; zero when it is done.
func (p *Pipeline) writing(since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.writing = since
}

// recovered notes that a session gets further, or has nothing to do.
func (s *state) recovered() { s.down, s.broken = time.Time{}, time.Time{} }

// quietFor is how long a session has read nothing before nothing is taken to wait
// that the last one had read.
const quietFor = 2 * time.Second

// getsOn reports whether the session got further than those before, or has nothing to
// do. The pipeline's mutex is held.
func (s *session) getsOn(now time.Time) bool {
	if s.fed.events.acked > 0 {
		return true
	}
	return s.fed.events.read == 0 && (now.Sub(s.begun) >= quietFor || s.lag().Bytes == 0)
}

// noteRead counts a batch that was read.
func (s *session) noteRead(b *entrain.Batch) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	now := time.Now()
	if s.fed.events.read == 0 && s.getsOn(now) {
		s.p.state.recovered() // what was before says nothing of what comes now
	}
	s.fed.noteRead(b, now)
}

// lag is how far the reader is behind, as far as it knows.
func (s *session) lag() entrain.Lag {
	if lagger, ok := s.reader.(entrain.Lagger); ok {
		return lagger.Lag()
	}
	return entrain.Lag{Bytes: -1}
}

// earlier is the earlier one of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// totals sums the past sessions and the one at work.
func (p *Pipeline) totals() counts {
	c := counts{captured: p.state.past.captured, settled: p.state.past.settled, extra: map[string]int64{}}
	maps.Copy(c.extra, p.state.past.extra)
	s := p.state.session
	if s == nil {
		return c
	}
	c.captured += s.fed.events.read
	c.add(s.fed.confirmed())
	for _, end := range []any{s.reader, s.writer} {
		if counter, ok := end.(entrain.Counter); ok {
			for name, n := range counter.Counts() {
				c.extra[name] += n
			}
		}
	}
	return c
}

// Status returns the pipeline's state now.
func (p *Pipeline) Status() Status {
	tables, letters, doubles, breaches := p.tables.count(), int(p.letters.letters.Load()), p.seen.rate(time.Now()), p.contracts.breaches()
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	c := p.totals()
	st := Status{
		Phase: string(p.state.phase), LagBytes: -1,
		Captured: c.captured, Applied: c.applied, Filtered: c.filtered, Parked: c.parked, DeadLetters: letters, Tables: tables, Counts: c.extra,
		Duplicates: p.seen.found.Load(), DuplicateRate: doubles,
		ContractBreaches: breaches,
	}
	if st.Phase == "" {
		st.Phase = string(phaseNew)
	}
	if p.opt.Circuit != nil {
		c := p.opt.Circuit.Status(now)
		st.Circuit = &c
	}
	if p.state.lastErr != nil {
		st.Error = p.state.lastErr.Error()
	}
	at, waits := p.state.position, time.Time{}
	if s := p.state.session; s != nil {
		at = s.fed.at
		st.BufferedBytes = s.queue.held()
		p.describe(&st, s, now)
		if s.getsOn(now) {
			p.state.recovered()
		}
		waits = s.fed.waits.oldest()
	} else {
		st.Reread = c.captured - c.applied - c.filtered - c.parked
	}
	if since := earlier(earlier(p.state.down, p.state.broken), waits); !since.IsZero() {
		st.LagSeconds = max(0, now.Sub(since).Seconds())
	}
	if retainer, ok := p.opt.Source.(entrain.Retainer); ok {
		if r, known := retainer.Retained(); known {
			st.Retained = &r
		}
	}
	if p.state.phase == phaseConnecting {
		st.Waiting = "connection"
	}
	if st.Snapshot = p.progress.status(now); st.Snapshot != nil {
		st.Snapshot.Held = p.initial.isHeld()
	}
	st.Position, st.Incarnation = at.String(), at.Incarnation
	return st
}

// describe fills in what only a session at work knows.
func (p *Pipeline) describe(st *Status, s *session, now time.Time) {
	inFlight := s.fed.events.read - s.fed.events.acked
	st.Reread = p.state.past.captured - p.state.past.applied - p.state.past.filtered - p.state.past.parked
	lag := s.lag()
	st.LagBytes = lag.Bytes
	switch since := p.state.writing; {
	case !since.IsZero():
		st.Waiting, st.WaitingSeconds = "sink", now.Sub(since).Seconds()
	case inFlight == 0:
		st.Waiting = "source"
		if !lag.Heard.IsZero() {
			st.WaitingSeconds = max(0, now.Sub(lag.Heard).Seconds())
		}
	}
}

// SinkStatus is how the delivery of one partition into one sink is.
type SinkStatus struct {
	// Name of the sink, and behind a dot of the class of tables that is delivered,
	// where there are classes.
	Name string `json:"name"`
	// Partition of the log.
	Partition entrain.Partition `json:"partition"`
	// Failed is why the delivery was given up, until the next try; empty if it
	// runs.
	Failed string `json:"failed,omitempty"`
	// Paused: a person has it stand still.
	Paused bool `json:"paused,omitempty"`
	// Window, if set, is when the delivery goes on, which rests until then.
	Window *time.Time `json:"window,omitempty"`
	// Status of the pipeline that delivers, or of the last one. Its position is the
	// log's.
	Status Status `json:"status"`
}
