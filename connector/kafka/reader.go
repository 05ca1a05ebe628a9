package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	open    txRecords        // of which a part was delivered, its end was not
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

// txRecords is what the records of one of the source's transactions have in common.
type txRecords struct {
	id       []byte // what the ids of its events begin with; nil: there is none
	producer int64  // of Kafka's, whose marker ends it
}

// batch makes a batch of the queue: whole transactions up to a marker, or a part of
// one where it is too large; nil if the queue has no end of one yet. What comes before a
// record that cannot be read is delivered first.
func (r *reader) batch(ctx context.Context) (*entrain.Batch, error) {
	var upTo handOver
	for size := 0; upTo.records < len(r.queue) && size < batchBytes; {
		n, whole := r.run(upTo.records, batchBytes-size)
		if !whole && upTo.records > 0 {
			break // it begins the next batch
		}
		if !whole && !r.full(n) {
			return nil, nil
		}
		added, err := r.addAll(ctx, r.queue[upTo.records:upTo.records+n])
		if err != nil && (upTo.records == 0 || ctx.Err() != nil) {
			r.decoder.Batch().Free() // the records stay: a later Read decodes them anew
			return nil, err
		}
		if err != nil {
			break
		}
		size += added
		upTo = handOver{records: upTo.records + n, events: r.decoder.Len(), whole: whole}
		if last := r.queue[upTo.records-1]; !whole || last.Attrs.IsControl() {
			break
		}
	}
	if upTo.records == 0 {
		return nil, nil
	}
	return r.deliver(upTo), nil
}

// handOver is what the next batch consists of.
type handOver struct {
	records, events int  // of the queue, of the decoder
	whole           bool // the last transaction's end is among them
}

// addAll decodes records, and returns their size.
func (r *reader) addAll(ctx context.Context, records []*kgo.Record) (size int, err error) {
	for _, rec := range records {
		size += len(rec.Value)
		if err := r.add(ctx, rec); err != nil {
			return 0, err
		}
	}
	return size, nil
}

// run returns how many records from the one at from on are of one transaction, up
// to about limit bytes, and whether that is its end. Its producer's marker behind it
// belongs to it. What others put in its middle, records and markers, ends no transaction
// of ours and goes with it.
func (r *reader) run(from, limit int) (n int, whole bool) {
	var tx txRecords
	if from == 0 {
		tx = r.open
	}
	size, own, foreign := 0, 0, false // own is behind its last record, foreign of a value behind that
	for ; from+n < len(r.queue); n++ {
		rec := r.queue[from+n]
		id := transactionOf(rec)
		marker := rec.Attrs.IsControl()
		switch {
		case marker && (tx.id == nil || rec.ProducerID == tx.producer), id != nil && own > 0 && !bytes.Equal(id, tx.id):
			// That is the end of it. What others wrote behind it is for the next run.
			if foreign && own > 0 {
				return own, true
			}
			if marker {
				n++
			}
			return n, true
		case id == nil && tx.id == nil:
			return 1, true // it is none of ours
		case id != nil && !bytes.Equal(id, tx.id): // with it the open one has ended
			tx = txRecords{id, rec.ProducerID}
		}
		if id != nil {
			own, foreign = n+1, false
		} else if !marker && rec.Value != nil {
			foreign = true
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
func (r *reader) deliver(upTo handOver) *entrain.Batch {
	b := r.decoder.Batch()
	b.Events = b.Events[:upTo.events]
	if len(b.Events) > 0 {
		r.mu.Lock()
		r.committed = b.Events[len(b.Events)-1].Tx.CommitTime
		r.mu.Unlock()
	}
	taken := r.queue[:upTo.records]
	r.next = taken[len(taken)-1].Offset + 1
	if upTo.whole {
		r.open = txRecords{}
		b.Through = entrain.Position{Incarnation: r.topicID, Offset: offsetText(r.number, r.next)}
	} else if tx := openIn(taken); tx.id != nil {
		r.open = tx
	}
	for _, rec := range taken {
		rec.Recycle()
	}
	rest := copy(r.queue, r.queue[len(taken):])
	clear(r.queue[rest:])
	r.queue = r.queue[:rest]
	return b
}

// openIn is the transaction that the last one of ours among records is of.
func openIn(records []*kgo.Record) txRecords {
	for _, rec := range slices.Backward(records) {
		if id := transactionOf(rec); id != nil {
			return txRecords{bytes.Clone(id), rec.ProducerID} // the record's memory goes
		}
	}
	return txRecords{}
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
	then := "it stands in the middle of a transaction, which cannot be passed over: " + anew
	if r.open.id == nil && rec == r.queue[0] {
		then = fmt.Sprintf("to pass it over, end the process and set this sink's position to '%s' (docs/kafka.md, Delivering again)", offsetText(r.number, rec.Offset+1))
	}
	return &entrain.Stop{
		Code: "stream_foreign",
		What: fmt.Sprintf("the record at offset %d of partition %d of the topic %s is no event of ours", rec.Offset, r.number, r.log.name),
		Why:  "another program, or a newer version of entrain, wrote it",
		Next: fmt.Sprintf("look at it: kafka-console-consumer.sh %s --topic %s --partition %d --offset %d --max-messages 1 --property print.headers=true; "+
			"%s; see that nobody else writes there", r.log.sink.bootstrap(), quote(r.log.name), r.number, rec.Offset, then),
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
