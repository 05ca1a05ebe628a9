package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// DeadLetters say what becomes of events that the sink refuses for good: they are
// taken out and stored, and the others flow.
type DeadLetters struct {
	// Store keeps what is taken out.
	Store LetterStore
	// Rules say when and how much is taken out.
	Rules parking.Rules
	// Alert is from how many letters on their number is logged as an error; 0 for
	// never.
	Alert int
	// Audit writes down what a person changes in a letter, and returns when that
	// survives a crash. Nil: none can be changed.
	Audit func([]EditRecord) error
}

// LetterStore keeps dead letters. Calls return when what they did survives a crash.
// It may be used from several goroutines.
type LetterStore interface {
	// Letters returns all, in any order.
	Letters(ctx context.Context) ([]parking.Letter, error)
	// Park adds letters. One whose event is there already is left as it is.
	Park(ctx context.Context, letters []parking.Letter) error
	// Unpark removes the letters of events by their ids. One that is not there is no
	// error.
	Unpark(ctx context.Context, ids []string) error
}

// desk is where the dead letters of a pipeline are dealt with.
type desk struct {
	opt  *DeadLetters // nil: there are none, and what is refused ends the pipeline
	p    *Pipeline
	asks chan ask      // for the goroutine that writes
	gone chan struct{} // closed when Run ends: nobody answers any more

	looked  int              // how many places were seen to have no letters that were left
	pending []parking.Letter // stored, while the batch that they were in is not durable

	letters atomic.Int64 // how many there are

	mu      sync.Mutex // held while the store works
	lot     *parking.Lot
	loaded  bool
	alerted bool
	parks   int // how often letters were added
}

func newDesk(p *Pipeline, o *DeadLetters) *desk {
	d := &desk{opt: o, p: p, asks: make(chan ask), gone: make(chan struct{})}
	if o != nil {
		d.lot = parking.New(o.Rules)
	}
	return d
}

// begin is called when a session begins.
func (d *desk) begin(ctx context.Context) error {
	if err := d.noneLeft(ctx); err != nil || d.opt == nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lot.Begin()
	d.pending = nil
	if d.loaded {
		return nil
	}
	letters, err := d.opt.Store.Letters(ctx)
	if err != nil {
		return entrain.Retryable(fmt.Errorf("read the dead letters: %w", err))
	}
	d.lot.Add(letters)
	d.loaded = true
	d.alert()
	return nil
}

// refuse notes what ended a session, and reports whether the pipeline goes on
// without the events that it is about.
func (d *desk) refuse(err error) bool {
	if d.opt == nil {
		return false
	}
	var noted *notedError
	if errors.As(err, &noted) {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lot.Refuse(err, time.Now())
}

// decided reports whether what ended a session is taken out by the next one, which
// need not wait for anything.
func (d *desk) decided(err error) bool {
	if d.opt == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lot.Decided(err)
}

// condemn notes that an event is to be taken out, because it breaks its contract. It
// is called before the event is queued.
func (d *desk) condemn(e *entrain.Event, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lot.Condemn(e, parking.Letter{Reason: reason, Class: codeContract, First: time.Now()})
}

// sort takes out of a batch what is not to be delivered, and stores it: behind
// that it may become durable that the batch is done (P1). It returns what is left, and
// the letters that it has stored.
func (d *desk) sort(ctx context.Context, b *entrain.Batch, delays *backoff) (*entrain.Batch, []parking.Letter, error) {
	if d.opt == nil {
		return b, nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	pass, letters, err := d.lot.Sort(b, time.Now())
	if err != nil {
		return nil, nil, entrain.Retryable(err)
	}
	return pass, letters, d.store(ctx, letters, delays)
}

// store keeps letters that the lot has taken out; if it cannot, they are in the lot no
// more. The caller holds mu.
func (d *desk) store(ctx context.Context, letters []parking.Letter, delays *backoff) error {
	if len(letters) == 0 {
		return nil
	}
	d.parks++
	if err := d.opt.Store.Park(ctx, letters); err != nil {
		d.lot.Remove(letters)
		return entrain.Retryable(fmt.Errorf("store %d dead letters: %w", len(letters), err))
	}
	delays.reset() // the next one that is refused waits as this one did
	d.pending = append(d.pending, letters...)
	d.log(letters)
	d.alert()
	return nil
}

// log tells of those that were refused themselves: of several by the first.
func (d *desk) log(letters []parking.Letter) {
	refused, others := -1, 0
	for i := range letters {
		switch {
		case letters[i].Reason == "":
		case refused < 0:
			refused = i
		default:
			others++
		}
	}
	if refused < 0 {
		d.p.log.Warn("events wait behind a dead letter", "events", len(letters), "behind", letters[0].Behind)
		return
	}
	l := letters[refused]
	if l.Class == codeContract {
		d.p.log.Error("an event breaks its contract: it is a dead letter, and the others go on", "event", l.Event.ID(), "table", l.Event.Table.String(),
			"with", len(letters)-1, "breach", l.Reason)
		return
	}
	if _, rows := d.p.opt.Sink.(entrain.RowKeeper); rows && keyless(l.Event.Table) {
		d.p.log.Warn("a dead letter of a table without a key is replayed only if the target's table has one", "table", l.Event.Table.String(),
			"next", "at the target: ALTER TABLE … ADD PRIMARY KEY (…), see docs/dead-letters.md")
	}
	if others > 0 {
		d.p.log.Error("the sink refuses events: they are dead letters, and the others go on", "events", 1+others, "with", len(letters)-1-others,
			"first", l.Event.ID(), "table", l.Event.Table.String(), "attempts", l.Attempts, "error", l.Reason)
		return
	}
	d.p.log.Error("the sink refuses an event: it is a dead letter, and the others go on", "event", l.Event.ID(), "table", l.Event.Table.String(),
		"with", len(letters)-1, "attempts", l.Attempts, "error", l.Reason)
}

// alert counts the letters, and says once that there are too many.
func (d *desk) alert() {
	d.letters.Store(int64(d.lot.Len()))
	over := d.opt.Alert > 0 && d.lot.Len() >= d.opt.Alert
	if over && !d.alerted {
		d.p.log.Error("there are many dead letters", "letters", d.lot.Len(), "alert_threshold", d.opt.Alert, "next", "entrain dlq list FILE")
	}
	d.alerted = over
}

// durable notes that what was taken out so far will not come again.
func (d *desk) durable() {
	if d.opt == nil || len(d.pending) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lot.Parked(d.pending)
	d.pending = nil
}
