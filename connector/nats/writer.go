package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/stream/packed"
)

// The headers of a message, which a consumer can filter by without its data.
const (
	headerID      = "Entrain-Id"
	headerOp      = "Entrain-Op"
	headerVersion = "Entrain-Schema-Version"
	headerKey     = "Entrain-Key"
	headerOldKey  = "Entrain-Old-Key"
)

const (
	// batchMessages is how many messages of a transaction are shown at once for sure.
	// The server takes 1000 a batch; the position is one, and an event can be several.
	batchMessages = 900
	batchMost     = 998
	// batchBytes is how much is collected before it is sent.
	batchBytes = 4 << 20
	// keptPositions is how many batches pass until older positions are removed.
	keptPositions = 1000
	maxSubjects   = 10_000
)

// spot is where an event is in the log. Events of one ordinal (a change of the
// shape and the row behind it) are never told apart.
type spot struct {
	Incarnation string `json:"incarnation"`
	Version     uint64 `json:"version"`
	Ordinal     uint64 `json:"ordinal"`
}

func placeOf(e *entrain.Event) spot {
	return spot{e.Tx.Stream.Incarnation, e.Tx.Version, e.Ordinal}
}

// through reports whether an event at p came no later than one at q, as far as
// that can be said.
func (p spot) through(q spot) bool {
	return p.Incarnation == q.Incarnation && (p.Version < q.Version || p.Version == q.Version && p.Ordinal <= q.Ordinal)
}

// record is the message that has the position. Written are the changes behind the
// position that the stream has nevertheless, since not all fitted in one batch. They can
// be of several transactions, and stay known until a change comes that is none of them:
// those who read again may be told of positions in between.
type record struct {
	Incarnation string    `json:"incarnation"`
	Offset      string    `json:"offset"`
	Written     *spot     `json:"written,omitempty"`
	Owner       string    `json:"owner"`
	Host        string    `json:"host"`
	PID         int       `json:"pid"`
	At          time.Time `json:"at"`
}

// writer is one session of a sink.
type writer struct {
	sink *Sink
	seq  *sequence
	enc  encoding.Encoder
	// debezium, if not nil, is enc.
	debezium *encoding.Debezium
	owner    string
	forever  bool  // messages can be kept from growing too old
	over     error // why the session takes no more

	taken    bool   // Position was called
	number   uint64 // of the last message with the position
	is       record // what it has
	behind   int    // older positions that are still there
	pending  []*natsgo.Msg
	bytes    int
	last     *spot // of the last event that was taken, if it comes again at the same place
	came     *spot // of the last event that came, whether the stream has it or not
	subjects map[*entrain.Table]string
	messages atomic.Int64

	lost chan error // has room for one
	quit context.CancelFunc
	wg   sync.WaitGroup // of watch
}

// watch notices that the session is over though nobody writes.
func (w *writer) watch(ctx context.Context) {
	ctx, w.quit = context.WithCancel(ctx)
	w.wg.Go(func() {
		if err := w.seq.watch(ctx); err != nil {
			w.lost <- err
		}
	})
}

// Lost implements [entrain.Watcher].
func (w *writer) Lost() <-chan error { return w.lost }

var (
	errClosed   = errors.New("the session with NATS is over")
	errNotTaken = errors.New("nats sink: Position was not called")
)

// Position implements [entrain.Positioner].
func (w *writer) Position(ctx context.Context) (entrain.Position, error) {
	if w.over != nil {
		return entrain.Position{}, w.over
	}
	for {
		err := w.take(ctx)
		if err == nil {
			return entrain.Position{Incarnation: w.is.Incarnation, Offset: w.is.Offset}, nil
		}
		if !errors.Is(err, packed.ErrFenced) { // else another one has just moved it
			err = w.sink.backend.denied(ctx, w.seq.nc, err)
			return entrain.Position{}, w.end(fmt.Errorf("take the position %s over: %w", w.sink.position, err))
		}
	}
}

func (w *writer) take(ctx context.Context) error {
	is, number, err := w.read(ctx)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	is.Owner, is.Host, is.PID, is.At = w.owner, host, os.Getpid(), time.Now().UTC()
	m, err := w.position(is)
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	at, err := w.seq.publishBehind(within, m, number)
	if err != nil {
		return mark(ctx, err)
	}
	w.taken, w.is, w.number, w.last = true, is, at, is.Written
	w.behind = keptPositions // whatever there is goes with the first batch
	return nil
}

// read returns the position that the stream has, and its message's number; zero
// ones if there is none.
func (w *writer) read(ctx context.Context) (record, uint64, error) {
	var is record
	m, err := w.seq.Last(ctx)
	if err != nil || m.Number == 0 {
		return is, 0, err
	}
	if err := json.Unmarshal(m.Data, &is); err != nil {
		return is, 0, fmt.Errorf("message %d of the stream %s has no position: %w", m.Number, w.sink.backend.name, err)
	}
	return is, m.Number, nil
}

// position is a message with a position.
func (w *writer) position(is record) (*natsgo.Msg, error) {
	data, err := json.Marshal(is)
	if err != nil {
		return nil, err
	}
	m := &natsgo.Msg{Subject: w.sink.position, Header: natsgo.Header{}, Data: data}
	if w.forever {
		m.Header.Set(jetstream.MsgTTLHeader, "never")
	}
	return m, nil
}

// end ends the session: what was not durable has no effect.
func (w *writer) end(err error) error {
	w.over = errClosed
	w.pending, w.subjects = nil, nil
	return err
}

// Write implements [entrain.Writer].
func (w *writer) Write(ctx context.Context, b *entrain.Batch) error {
	if w.over != nil {
		return w.over
	}
	if !w.taken {
		return w.end(errNotTaken)
	}
	if err := w.write(ctx, b); err != nil {
		return w.end(err)
	}
	return nil
}

func (w *writer) write(ctx context.Context, b *entrain.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range b.Events {
		if err := w.next(ctx, &b.Events[i]); err != nil {
			return err
		}
	}
	at := entrain.Position{Incarnation: w.is.Incarnation, Offset: w.is.Offset}
	if b.Through.IsZero() || b.Through == at && len(w.pending) == 0 {
		return nil
	}
	if w.debezium != nil {
		if end := w.debezium.End(); !w.endWritten() {
			if err := w.records(end, nil); err != nil {
				return err
			}
		}
	}
	is := w.is
	is.Incarnation, is.Offset = b.Through.Incarnation, b.Through.Offset
	return w.send(ctx, is)
}

// endWritten reports whether the stream has the end of the last event's transaction:
// that is written with the transaction behind it.
func (w *writer) endWritten() bool {
	to := w.is.Written
	return to != nil && w.came != nil && w.came.Incarnation == to.Incarnation && w.came.Version < to.Version
}

// next takes an event, unless an earlier session has written it. What was collected
// is sent before it where it is too much, or where a transaction would no longer
// fit.
func (w *writer) next(ctx context.Context, e *entrain.Event) error {
	at, again := placeOf(e), !e.OfCopy()
	if again {
		w.came = &at
		if w.is.Written != nil && at.through(*w.is.Written) {
			if w.debezium != nil { // which counts the events of a transaction
				_, _ = w.debezium.Records(e) // whose records are there
			}
			return nil
		}
		w.is.Written = nil // events come in order: none of what is to come is there
	}
	begins := w.last == nil || w.last.Version != at.Version
	full := w.bytes >= batchBytes || len(w.pending) >= batchMessages || begins && len(w.pending) >= batchMessages/2
	if full && (!again || w.last == nil || !at.through(*w.last)) {
		is := w.is
		is.Written = w.last
		if err := w.send(ctx, is); err != nil {
			return err
		}
	}
	if again {
		w.last = &at
	}
	err := w.event(e)
	if err == nil && len(w.pending) > batchMost {
		err = fmt.Errorf("it is more than %d messages", batchMost)
	}
	if err != nil {
		failed := entrain.FailedEvent{ID: e.ID(), Table: tableName(e), Op: e.Op, Err: err}
		return &entrain.BatchError{Failed: []entrain.FailedEvent{failed}}
	}
	return nil
}

func tableName(e *entrain.Event) string {
	if e.Table == nil {
		return "no table"
	}
	return e.Table.String()
}

// event makes messages of an event.
func (w *writer) event(e *entrain.Event) error {
	source := e.Tx.Stream.Source
	switch {
	case w.debezium != nil:
		records, err := w.debezium.Records(e)
		if err != nil {
			return err
		}
		return w.records(records, e)
	case e.Op == entrain.OpTruncate:
		return w.truncate(e)
	case e.Table == nil:
		return w.message(e, subjectOf(w.sink.messages, source, &entrain.Table{}))
	}
	return w.message(e, w.target(source, e.Table))
}

// target is the subject of a table.
func (w *writer) target(source string, t *entrain.Table) string {
	if s := w.subjects[t]; s != "" {
		return s
	}
	if len(w.subjects) >= maxSubjects {
		clear(w.subjects)
	}
	s := subjectOf(w.sink.subject, source, t)
	w.subjects[t] = s
	return s
}

// truncate makes a message for the subject of each table, of the format flat one a
// table.
func (w *writer) truncate(e *entrain.Event) error {
	one, told := *e, map[string]bool{}
	for i, t := range e.Truncate.Tables {
		s := w.target(e.Tx.Stream.Source, t)
		if w.sink.format == "flat" {
			only := *e.Truncate
			only.Tables = e.Truncate.Tables[i : i+1]
			one.Truncate = &only
		} else if told[s] {
			continue
		}
		told[s] = true
		if err := w.message(&one, s); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) message(e *entrain.Event, subject string) error {
	value, err := w.enc.Append(nil, e)
	if err != nil {
		return err
	}
	if len(value) == 0 {
		return nil // the format does not tell of it
	}
	m := &natsgo.Msg{Subject: subject, Header: natsgo.Header{}, Data: value[:len(value)-1]} // without its newline
	m.Header.Set(headerID, e.ID())
	m.Header.Set(headerOp, e.Op.String())
	if w.sink.format == "cloudevents" {
		m.Header.Set("Content-Type", "application/cloudevents+json")
	}
	if e.Table != nil {
		m.Header.Set(headerVersion, fmt.Sprintf("%016x", e.Table.Version))
		if err := setKeys(m.Header, e); err != nil {
			return err
		}
	}
	return w.add(m)
}

// add collects a message.
func (w *writer) add(m *natsgo.Msg) error {
	if limit := int(w.seq.nc.MaxPayload()) - headerBytes; m.Size() > limit {
		return fmt.Errorf("its message has %d bytes, and the server takes %d (max_payload)", m.Size(), limit)
	}
	w.pending = append(w.pending, m)
	w.bytes += m.Size()
	return nil
}

// setKeys adds the key of the row that an event is about, if it has one.
func setKeys(h natsgo.Header, e *entrain.Event) error {
	if !encoding.HasKey(e.Table) {
		return nil
	}
	row, other := e.After, e.Before
	switch e.Op {
	case entrain.OpInsert, entrain.OpRead, entrain.OpUpdate:
	case entrain.OpDelete:
		row, other = e.Before, nil
	default:
		return nil
	}
	key, err := encoding.AppendKey(nil, e.Table, row, other)
	if err != nil {
		return err
	}
	h.Set(headerKey, string(key))
	if e.Op != entrain.OpUpdate || e.Before == nil {
		return nil
	}
	old, err := encoding.AppendKey(nil, e.Table, e.Before, e.After)
	if err == nil && string(old) != string(key) {
		h.Set(headerOldKey, string(old))
	}
	return err
}

// send publishes what was collected and the position behind it.
func (w *writer) send(ctx context.Context, is record) error {
	is.At = time.Now().UTC()
	m, err := w.position(is)
	if err != nil {
		return err
	}
	w.seq.busy.Add(1)
	defer w.seq.busy.Add(-1)
	within, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	publish := w.one
	if w.seq.atomic {
		publish = w.batch
	}
	number, err := publish(within, m)
	switch err = mark(ctx, err); {
	case errors.Is(err, packed.ErrFenced):
		return w.fenced(ctx)
	case errors.Is(err, packed.ErrFull):
		return entrain.Retryable(fmt.Errorf("the stream %s is full: %w", w.sink.backend.name, err))
	case err != nil:
		return fmt.Errorf("write to the stream %s: %w", w.sink.backend.name, w.sink.backend.denied(ctx, w.seq.nc, err))
	}
	w.messages.Add(int64(len(w.pending)))
	clear(w.pending)
	w.pending, w.bytes, w.is, w.number = w.pending[:0], 0, is, number
	return w.tidy(ctx)
}

// batch publishes all at once. That the position is still ours is asked of its own
// message.
func (w *writer) batch(ctx context.Context, position *natsgo.Msg) (uint64, error) {
	position.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(w.number, 10))
	return w.seq.publishBatch(ctx, append(w.pending, position))
}

// tidy removes positions that others have followed.
func (w *writer) tidy(ctx context.Context) error {
	if w.behind++; w.behind < keptPositions {
		return nil
	}
	w.behind = 0
	err := w.seq.stream.Purge(ctx, jetstream.WithPurgeSubject(w.sink.position), jetstream.WithPurgeKeep(1))
	return mark(ctx, err)
}

// fenced is for a position that is not as this session left it.
func (w *writer) fenced(ctx context.Context) error {
	by, number, err := w.read(ctx)
	if err != nil {
		return err
	}
	if number == 0 || len(by.Owner) >= len(process) && by.Owner[:len(process)] == process {
		// It is gone, or a session of this process is our successor.
		return entrain.Retryable(fmt.Errorf("the position %s is not as this session left it", w.sink.position))
	}
	return &entrain.Stop{
		Code: "fenced",
		What: fmt.Sprintf("process %d on %s has taken the position %s over at %s", by.PID, by.Host, w.sink.position, by.At.Format(time.RFC3339)),
		Why:  "going on could write changes twice; two processes must not run one pipeline",
		Next: "entrain status FILE; stop one of the two; entrain run FILE",
	}
}

// Close implements [entrain.Writer].
func (w *writer) Close() error {
	_ = w.end(errClosed)
	w.quit()
	w.seq.nc.Close()
	w.wg.Wait()
	return nil
}

// Counts implements [entrain.Counter]: messages that were published.
func (w *writer) Counts() map[string]int64 { return map[string]int64{"messages": w.messages.Load()} }
