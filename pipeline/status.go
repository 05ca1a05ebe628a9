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
	committed time.Time // commit time of the last durable transaction
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
	// LagSeconds between the commit of the last change that was delivered and
	// now; 0 when everything read was delivered.
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
		if p.state.down.IsZero() {
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
	p.state.up = true
	p.state.position, p.state.unsettled = s.fed.at, settled{}
	return nil
}

// detach keeps the counts of a session that ended.
func (p *Pipeline) detach(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.past = p.totals()
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

// committed notes the commit time of the last transaction that is durable.
func (p *Pipeline) committed(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.committed = at
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
	at := p.state.position
	if s := p.state.session; s != nil {
		at = s.fed.at
		st.BufferedBytes = s.queue.held()
		p.describe(&st, s, now)
		if s.fed.events.acked > 0 || st.Waiting == "source" && st.LagBytes <= 0 {
			p.state.down = time.Time{}
		}
	} else {
		st.Reread = c.captured - c.applied - c.filtered - c.parked
	}
	if !p.state.down.IsZero() {
		st.LagSeconds = max(st.LagSeconds, now.Sub(p.state.down).Seconds())
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
	var lag entrain.Lag
	if lagger, ok := s.reader.(entrain.Lagger); ok {
		lag = lagger.Lag()
		st.LagBytes = lag.Bytes
	}
	if inFlight > 0 && !p.state.committed.IsZero() {
		st.LagSeconds = now.Sub(p.state.committed).Seconds()
	}
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
