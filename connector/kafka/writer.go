package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

var errClosed = errors.New("the session is over")

// writer is one session. Its records are on their way while the next ones are
// encoded; only the end of a batch with a position waits for them.
type writer struct {
	*production
	shape  *shape
	client *kgo.Client
	admin  *kadm.Client
	form   form
	pool   *slabPool
	topics map[string]*topic
	state  *state
	// own is the state topic; nil without transactions.
	own *topic
	// log is whose writer it is, nil for a sink's; beside is where the shapes of a
	// log's tables are.
	log    *Log
	beside *topic
	// stream and version are those of the last event of a log, defined counts its
	// definitions, and waiting are those that wait for the end of a transaction.
	stream  *entrain.Stream
	version uint64
	defined uint64
	waiting []definition
	// turn has a token in it while a goroutine uses the writer.
	turn chan struct{}
	// stop is the context of what Close does.
	stop context.Context

	open  bool      // a transaction was begun and not ended
	begun time.Time // when
	// committed is when the brokers answered to the end of the one before.
	committed time.Time
	now       time.Time // of the batch at hand, for its records
	settled   time.Time // when all that was accepted was durable last
	through   entrain.Position
	over      error // why the session takes no more
	records   atomic.Int64
	// ended: a Write was given up before it had its turn. Unlike what is above, this
	// is for any goroutine.
	ended atomic.Bool

	mu      sync.Mutex
	refused error // why a record was not written
}

// exactWriter is a writer with transactions.
type exactWriter struct{ *writer }

// Counts returns the number of records that were written or are on their way.
func (w *writer) Counts() map[string]int64 { return map[string]int64{"records": w.records.Load()} }

// Write implements [entrain.Writer].
func (w *writer) Write(ctx context.Context, b *entrain.Batch) error {
	if err := w.enter(ctx); err != nil {
		w.ended.Store(true)
		return err
	}
	defer w.leave()
	if w.ended.Load() && w.over == nil {
		w.giveUp()
	}
	if w.over != nil {
		return fmt.Errorf("write to kafka: %w", w.over)
	}
	err := ctx.Err()
	if err == nil {
		err = w.write(ctx, b)
	}
	if err == nil && !w.open {
		err = w.defineWaiting(ctx)
	}
	if err != nil {
		w.giveUp()
	}
	return err
}

func (w *writer) write(ctx context.Context, b *entrain.Batch) error {
	w.now = notBefore(w.settled, time.Now())
	if w.exactly && w.own == nil {
		return errors.New("write to kafka: the position was not taken over")
	}
	err := w.begin(ctx)
	for i := 0; i < len(b.Events) && err == nil; i++ {
		if err = w.form.event(ctx, &b.Events[i]); err != nil {
			err = w.named(&b.Events[i], err)
		}
	}
	if err == nil && !b.Through.IsZero() {
		err = w.end(ctx, b.Through)
	}
	if refused := w.refusal(); refused != nil && ctx.Err() == nil {
		err = refused // the cause, where err may be what came of it
	}
	if err != nil {
		return w.explain(err)
	}
	return nil
}

// named says which event an encoder refused.
func (w *writer) named(e *entrain.Event, err error) error {
	var refused *encodingError
	if !errors.As(err, &refused) {
		return err
	}
	failed := entrain.FailedEvent{ID: e.ID(), Table: tableName(e), Op: e.Op, Err: refused.err}
	return &entrain.BatchError{Failed: []entrain.FailedEvent{failed}}
}

// encodingError is what an encoder says of an event.
type encodingError struct{ err error }

func (e *encodingError) Error() string { return e.err.Error() }

func tableName(e *entrain.Event) string {
	if e.Table == nil {
		return "no table"
	}
	return e.Table.String()
}

// begin opens a transaction unless one is open.
func (w *writer) begin(ctx context.Context) error {
	if !w.exactly || w.open {
		return nil
	}
	w.marked(ctx)
	if err := w.client.BeginTransaction(); err != nil {
		return err
	}
	w.open, w.begun = true, time.Now()
	return nil
}

// end makes everything that was accepted durable, together with the position.
func (w *writer) end(ctx context.Context, through entrain.Position) error {
	if err := w.form.end(ctx); err != nil {
		return err
	}
	if w.exactly {
		p := positionRecord{V: stateVersion, Incarnation: through.Incarnation, Offset: through.Offset}
		if w.log != nil {
			p.Topic = w.log.name
		}
		if err := w.remember(ctx, w.own, positionKey, p); err != nil {
			return err
		}
	}
	if err := w.waits(func() error { return w.settle(ctx, through) }); err != nil {
		return err
	}
	w.settled = notBefore(w.settled, time.Now())
	w.outage.over()
	return nil
}

// settle waits until all records are written, and commits.
func (w *writer) settle(ctx context.Context, through entrain.Position) error {
	if err := bounded(ctx, 2*patience, w.client.Flush); err != nil {
		return fmt.Errorf("write to kafka up to %s: %w", through, err)
	}
	w.pool.flushed()
	if err := w.refusal(); err != nil || !w.exactly {
		return err
	}
	if err := w.commit(ctx); err != nil {
		return fmt.Errorf("commit up to %s at kafka: %w", through, err)
	}
	w.through = through
	return nil
}

// refuse notes the first record that was not written. It runs in the client's
// goroutines.
func (w *writer) refuse(s *slab, r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused != nil {
		return
	}
	w.refused = w.refusedRecord(r, err)
}

func (w *writer) refusal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

// refusedRecord says what a person has to know of it.
func (w *writer) refusedRecord(r *kgo.Record, err error) error {
	switch {
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return w.stopTooLarge(r, err)
	case denied(err) != "":
		return w.stopDenied(err, r.Topic)
	}
	return fmt.Errorf("write to topic %s: %w", r.Topic, err)
}

// explain makes of an error what the engine can act on.
func (w *writer) explain(err error) error {
	if errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) {
		if w.open && time.Since(w.begun) >= w.transactionTimout {
			return w.stopTimedOut(err)
		}
		return w.stopFenced(err)
	}
	if denied(err) == "transactional-id" {
		return w.stopDenied(err, w.transactionalID)
	}
	return w.failure(err)
}

// Position takes the producer over: the broker ends the transaction of the one
// before and lets it write no more. Then all that it wrote is decided, and the
// state topic says how far it was.
func (w *exactWriter) Position(ctx context.Context) (entrain.Position, error) {
	if err := w.enter(ctx); err != nil {
		return entrain.Position{}, err
	}
	defer w.leave()
	if w.over != nil {
		return entrain.Position{}, fmt.Errorf("position at kafka: %w", w.over)
	}
	w.now = time.Now()
	err := bounded(ctx, 2*patience, w.takeOver)
	if err != nil {
		w.over = errClosed
		err = w.explain(fmt.Errorf("position at kafka: %w", err))
		if errors.Is(err, entrain.ErrDisconnected) {
			w.outage.began(w.now)
		}
		return entrain.Position{}, err
	}
	w.outage.over()
	return w.state.position, nil
}

// takeOver fences all producers of an older session before it reads the state.
func (w *exactWriter) takeOver(ctx context.Context) error {
	if w.log != nil { // before anybody is fenced
		if err := w.log.unmoved(ctx, w.admin); err != nil {
			return err
		}
	}
	if _, _, err := w.client.ProducerID(ctx); err != nil {
		return err
	}
	own, err := w.ensure(ctx, w.admin, w.compacted(w.transactionalID+stateSuffix))
	if err != nil {
		return err
	}
	if w.log == nil {
		if err := w.suits(ctx, w.admin, question{w.compacted(own.name), usedState}); err != nil {
			return err
		}
		return w.introduce(ctx, own)
	}
	if w.beside, err = w.ensure(ctx, w.admin, w.compacted(w.log.name+shapesSuffix)); err != nil {
		return err
	}
	if err := w.suits(ctx, w.admin, question{w.events(w.log.name), usedStream},
		question{w.compacted(own.name), usedState}, question{w.compacted(w.beside.name), usedState}); err != nil {
		return err
	}
	v, err := openValues(ctx, w.production)
	if err != nil {
		return err
	}
	if err = w.introduce(ctx, own); err == nil {
		err = w.log.stays(w.state)
	}
	if err != nil {
		v.client.Close()
		return err
	}
	v.all = w.state.values
	w.state.shapes = map[string]bool{} // they are beside, and others may have removed them
	w.log.keep(v)
	return nil
}

// introduce writes who is the owner now, and reads the state up to that record: it is
// the end, whatever compaction left of the topic.
func (w *exactWriter) introduce(ctx context.Context, own *topic) error {
	host, _ := os.Hostname()
	r := &kgo.Record{Topic: own.name, Key: []byte(ownerKey)}
	var err error
	r.Value, err = appendJSON(nil, ownerRecord{V: stateVersion, Host: host, PID: os.Getpid(), Started: w.now.UTC()})
	if err != nil {
		return err
	}
	if err := w.client.BeginTransaction(); err != nil {
		return err
	}
	w.open, w.begun = true, time.Now()
	if err := w.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return fmt.Errorf("write to topic %s: %w", own.name, err)
	}
	if err := w.commit(ctx); err != nil {
		return err
	}
	w.own = own
	w.state, err = w.readState(ctx, own.name, r.Offset)
	return err
}

// Close rolls back what is not durable: consumers of committed records need not
// wait for the transaction to time out.
func (w *writer) Close() error {
	w.turn <- struct{}{}
	defer w.leave()
	w.giveUp()
	if w.client == nil {
		return nil
	}
	if w.log != nil {
		w.log.wrote(nil, w)
	}
	if w.open {
		ctx, cancel := context.WithTimeout(w.stop, closing)
		defer cancel()
		// Where it fails, the next session of the producer does the same.
		if w.client.AbortBufferedRecords(ctx) == nil {
			_ = w.client.EndTransaction(ctx, kgo.TryAbort)
		}
	}
	w.client.Close()
	w.client = nil
	return nil
}
