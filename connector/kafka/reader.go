package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// reader is one session with a partition. The records that it gets are all
// committed; a position may therefore stand behind the last event of any
// transaction of the source, which is seen by the record that follows: one of
// another transaction, or the marker of Kafka's.
type reader struct {
	log     *Log
	cursor  string
	number  int32
	topicID string
	client  *kgo.Client
	decoder *encoding.NativeDecoder
	at      entrain.Position // where the session began
	next    int64            // offset behind what was delivered
	last    int64            // where the partition ended when the session began
	end     int64            // where a bounded session ends; -1: nowhere
	until   int64            // if not 0, nothing from this offset on is handed out
	queue   []*kgo.Record    // that were got and not delivered
	shapes  *shapes
	stream  *entrain.Stream // of the last event
	shadows map[*entrain.Table]*entrain.Table

	acks acks

	mu        sync.Mutex
	heard     time.Time
	committed time.Time
}

// batchBytes is about how much is in a batch.
const batchBytes = 1 << 20

func (r *reader) start(ctx context.Context) {
	r.shapes = &shapes{log: r.log, ctx: ctx, tables: map[uint64]*entrain.Table{}, databases: map[string]string{}}
	r.shadows = map[*entrain.Table]*entrain.Table{}
	r.acks.start(ctx, func(ctx context.Context, offset int64) error {
		return r.log.commit(ctx, r.cursor, r.number, offset)
	})
}

// Read implements [entrain.Reader].
func (r *reader) Read(ctx context.Context) (*entrain.Batch, error) {
	r.shapes.ctx = ctx // the decoder asks without one
	for {
		if b, err := r.batch(ctx); b != nil || err != nil {
			return b, err
		}
		if r.end >= 0 && r.next >= r.end {
			return nil, io.EOF
		}
		if err := r.poll(ctx); err != nil {
			return nil, err
		}
	}
}

// poll waits for records.
func (r *reader) poll(ctx context.Context) error {
	fetches := r.client.PollRecords(ctx, pollRecords)
	if ctx.Err() != nil && fetches.Empty() {
		return ctx.Err()
	}
	if fetches.IsClientClosed() {
		return fmt.Errorf("read partition %d of %s: %w", r.number, r.log.name, errClosed)
	}
	var failed error
	fetches.EachError(func(_ string, _ int32, err error) {
		if isOverrun(err) {
			err = r.lookAgain(ctx, err)
		}
		if ctx.Err() == nil && !errors.Is(err, errLater) {
			failed = errors.Join(failed, err)
		}
	})
	if failed != nil {
		return r.log.explain(fmt.Errorf("read partition %d of %s at offset %d: %w", r.number, r.log.name, r.next, failed))
	}
	fetches.EachRecord(func(rec *kgo.Record) {
		if r.until == 0 || rec.Offset < r.until {
			r.queue = append(r.queue, rec)
		}
	})
	r.mu.Lock()
	r.heard = time.Now()
	r.mu.Unlock()
	return nil
}

// lookAgain says what became of the offset that comes next.
func (r *reader) lookAgain(ctx context.Context, err error) error {
	r.at = entrain.Position{Incarnation: r.topicID, Offset: offsetText(r.number, r.next)}
	found := r.log.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error { return r.begin(ctx, adm) })
	if found == nil {
		return err // it is there again
	}
	return found
}

// transactionOf returns what the ids of a transaction's events have in common;
// nil for a record that is none of ours.
func transactionOf(rec *kgo.Record) []byte {
	for i := range rec.Headers {
		if h := &rec.Headers[i]; h.Key == headerID {
			return h.Value[:bytes.LastIndexByte(h.Value, '/')+1]
		}
	}
	return nil
}

// batch makes a batch of the queue: whole transactions up to a marker, or a part of
// one where it is too large; nil if the queue has no end of one yet.
func (r *reader) batch(ctx context.Context) (*entrain.Batch, error) {
	taken, through, size := 0, int64(-1), 0
	for taken < len(r.queue) && size < batchBytes {
		n, whole := r.run(taken, batchBytes-size)
		if !whole && taken > 0 && through >= 0 {
			break // it begins the next batch
		}
		if !whole && !r.full(n) {
			return nil, nil
		}
		for _, rec := range r.queue[taken : taken+n] {
			size += len(rec.Value)
			if err := r.add(ctx, rec); err != nil {
				r.decoder.Batch().Free() // the records stay: a later Read decodes them anew
				return nil, err
			}
		}
		taken += n
		if !whole {
			break
		}
		last := r.queue[taken-1]
		through = last.Offset + 1
		if last.Attrs.IsControl() {
			break
		}
	}
	if taken == 0 {
		return nil, nil
	}
	return r.deliver(taken, through), nil
}

// run returns how many records from the one at from on are of one transaction, up
// to about limit bytes, and whether that is its end. A marker behind it belongs to
// it.
func (r *reader) run(from, limit int) (n int, whole bool) {
	first := r.queue[from]
	if first.Attrs.IsControl() {
		return 1, true
	}
	tx, size := transactionOf(first), 0
	if tx == nil {
		return 1, true // it is none of ours
	}
	for n = 1; from+n < len(r.queue); n++ {
		rec := r.queue[from+n]
		switch {
		case rec.Attrs.IsControl():
			return n + 1, true
		case !bytes.Equal(transactionOf(rec), tx):
			return n, true
		}
		if size += len(rec.Value); size >= limit && from == 0 {
			return n + 1, false // full looks at no more than these
		}
	}
	return n, r.until > 0 && r.queue[from+n-1].Offset+1 >= r.until
}

// full reports whether so much of a transaction is there that it is delivered
// without its end.
func (r *reader) full(n int) bool {
	size := 0
	for _, rec := range r.queue[:n] {
		size += len(rec.Value)
	}
	return size >= batchBytes || n >= pollRecords
}

// deliver hands out what was decoded. The records are not needed any more.
func (r *reader) deliver(taken int, through int64) *entrain.Batch {
	b := r.decoder.Batch()
	if len(b.Events) > 0 {
		r.mu.Lock()
		r.committed = b.Events[len(b.Events)-1].Tx.CommitTime
		r.mu.Unlock()
	}
	if through >= 0 {
		b.Through = entrain.Position{Incarnation: r.topicID, Offset: offsetText(r.number, through)}
	}
	r.next = r.queue[taken-1].Offset + 1
	for _, rec := range r.queue[:taken] {
		rec.Recycle()
	}
	rest := copy(r.queue, r.queue[taken:])
	clear(r.queue[rest:])
	r.queue = r.queue[:rest]
	return b
}

// add decodes a record, and adds what its JSON does not have.
func (r *reader) add(ctx context.Context, rec *kgo.Record) error {
	if rec.Attrs.IsControl() || rec.Value == nil {
		return nil
	}
	e, err := r.decoder.Add(rec.Value)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return r.foreign(rec, err)
	}
	if e.Message != nil && len(e.Message.Content) == 0 {
		e.Message.Content = nil
	}
	for i := range rec.Headers {
		if h := &rec.Headers[i]; h.Key == headerFlags {
			r.flag(e, h.Value)
		}
	}
	if e.Tx.Stream != r.stream {
		if err := r.shapes.complete(ctx, e.Tx.Stream); err != nil {
			return r.log.explain(err)
		}
		r.stream = e.Tx.Stream
	}
	return nil
}

// flag sets what the flags say.
func (r *reader) flag(e *entrain.Event, flags []byte) {
	e.Settling = bytes.HasPrefix(flags, flagTexts[1])
	if !bytes.HasSuffix(flags, flagTexts[2]) {
		return
	}
	if e.Table != nil {
		e.Table = r.shadow(e.Table)
	}
	if e.Truncate != nil {
		for i, t := range e.Truncate.Tables {
			e.Truncate.Tables[i] = r.shadow(t)
		}
	}
}

// shadow returns the double of a table: the same one for the same table.
func (r *reader) shadow(t *entrain.Table) *entrain.Table {
	if known := r.shadows[t]; known != nil {
		return known
	}
	if len(r.shadows) >= maxTables {
		clear(r.shadows)
	}
	double := *t
	double.Shadow = true
	r.shadows[t] = &double
	return &double
}

// foreign says what cannot be read.
func (r *reader) foreign(rec *kgo.Record, err error) error {
	var stop *entrain.Stop
	var lacks *besideError
	if errors.As(err, &lacks) || errors.As(err, &stop) {
		return r.log.explain(err)
	}
	return &entrain.Stop{
		Code: "stream_foreign",
		What: fmt.Sprintf("the record at offset %d of partition %d of the topic %s is no event of ours", rec.Offset, r.number, r.log.name),
		Why:  "another program, or a newer version of entrain, wrote it",
		Next: fmt.Sprintf("look at it: kafka-console-consumer.sh %s --topic %s --partition %d --offset %d --max-messages 1 --property print.headers=true",
			r.log.sink.bootstrap(), quote(r.log.name), r.number, rec.Offset),
		Data: true,
		Err:  err,
	}
}

// Ack implements [entrain.Reader]: the position is stored under the cursor's name
// now and then.
func (r *reader) Ack(_ context.Context, through entrain.Position) error {
	offset, err := parseOffset(through.Offset, r.number)
	if err != nil {
		return err
	}
	r.acks.set(offset)
	return nil
}

// Lag implements [entrain.Lagger].
func (r *reader) Lag() entrain.Lag {
	r.mu.Lock()
	defer r.mu.Unlock()
	return entrain.Lag{Bytes: -1, Committed: r.committed, Heard: r.heard}
}

// Close implements [entrain.Reader].
func (r *reader) Close() error {
	r.acks.stop()
	r.client.CloseAllowingRebalance()
	r.shapes.close()
	return nil
}
