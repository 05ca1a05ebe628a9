package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

var (
	_ entrain.LetterHost   = (*Sink)(nil)
	_ entrain.LetterHost   = (*Log)(nil)
	_ entrain.LetterBox    = (*letterBox)(nil)
	_ entrain.Checker      = (*letterBox)(nil)
	_ entrain.Teardowner   = (*letterBox)(nil)
	_ entrain.LetterKeeper = (*letterKeeper)(nil)
)

// The headers of a dead letter, besides the event's id and operation.
const (
	headerTable     = "entrain-table"
	headerClass     = "entrain-class"
	headerDelivery  = "entrain-delivery"
	headerTxVersion = "entrain-tx-version"
)

const (
	// lettersSuffix makes the transactional id of who keeps the letters of a delivery.
	lettersSuffix = ".letters"
	// lettersTimeout is short: what a crash leaves open holds up all who read the topic.
	lettersTimeout = 20 * time.Second
	// letterSeparator stands between the delivery and the event's id in a key.
	letterSeparator = "/"
)

// letterRecord is the value of a dead letter's record.
type letterRecord struct {
	V        int    `json:"v"`
	Delivery string `json:"delivery"`
	entrain.DeadLetter
	Body json.RawMessage `json:"body"`
}

// letterBox is a compacted topic of dead letters: the key is the delivery and the
// event, and a tombstone removes a letter.
type letterBox struct {
	p  production
	in entrain.LetterPlace
}

// LetterBox implements [entrain.LetterHost].
func (s *Sink) LetterBox(in entrain.LetterPlace) (entrain.LetterBox, error) {
	return newLetterBox(s.production, in)
}

// LetterBox implements [entrain.LetterHost].
func (l *Log) LetterBox(in entrain.LetterPlace) (entrain.LetterBox, error) {
	if in.Name == l.name || in.Name == l.name+shapesSuffix {
		return nil, fmt.Errorf("topic %s is the stream's own", in.Name)
	}
	return newLetterBox(l.sink.production, in)
}

func newLetterBox(p production, in entrain.LetterPlace) (*letterBox, error) {
	if !isTopic(in.Name) {
		return nil, fmt.Errorf("%q cannot be a topic's name: letters, digits, . _ and - can, up to %d", in.Name, topicLimit)
	}
	if in.Name == p.transactionalID+stateSuffix {
		return nil, fmt.Errorf("topic %s has the pipeline's position", in.Name)
	}
	p.unpacked = max(p.unpacked, lettersUnpacked)
	return &letterBox{p: p, in: in}, nil
}

// wanted is what the topic is made with. A letter is larger than its event was, which
// may have been as large as the brokers let it.
func (b *letterBox) wanted() wanted {
	w := b.p.compacted(b.in.Name)
	w.ours = false
	w.configs["max.message.bytes"] = text(strconv.Itoa(int(min(2*int64(b.p.maxMessage)+64<<10, mostMessage))))
	return w
}

// Keeper implements [entrain.LetterBox].
func (b *letterBox) Keeper(delivery string) entrain.LetterKeeper {
	k := &letterKeeper{box: b, delivery: delivery, p: b.p}
	k.p.transactionalID, k.p.transactionTimout, k.p.exactly = letterProducer(delivery), lettersTimeout, true
	return k
}

func letterProducer(delivery string) string { return producerName(delivery) + lettersSuffix }

// Codes implements [entrain.Checker].
func (b *letterBox) Codes() []string { return codes() }

// Check implements [entrain.Checker].
func (b *letterBox) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	p := b.p
	p.transactionTimout, p.maxMessage = lettersTimeout, 0 // the topic's own limit counts
	q := questions{topics: []question{{wanted: b.wanted(), use: usedLetters}}}
	for _, d := range b.in.Deliveries {
		q.producers = append(q.producers, letterProducer(d))
	}
	report, _, err := p.examine(ctx, q)
	return report, err
}

// Teardown implements [entrain.Teardowner]: the letters of the pipeline's deliveries.
// The topic stays: others may keep theirs in it.
func (b *letterBox) Teardown(ctx context.Context) (all []entrain.Removal, err error) {
	err = b.p.asAdmin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		t, err := look(ctx, adm, b.in.Name)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil
		}
		if err != nil {
			return err
		}
		found := map[string]bool{}
		r := letterReading{box: b, topic: t.name}
		err = r.run(ctx, adm, func(key string, value []byte) {
			delete(found, key)
			if value != nil && (strings.HasPrefix(key, b.in.Pipeline+letterSeparator) || strings.HasPrefix(key, b.in.Pipeline+":")) {
				found[key] = true
			}
		})
		if err != nil || len(found) == 0 {
			return err
		}
		all = []entrain.Removal{b.removal(slices.Collect(maps.Keys(found)))}
		return nil
	})
	return all, err
}

// removal removes letters by their keys.
func (b *letterBox) removal(keys []string) entrain.Removal {
	return entrain.Removal{
		What: fmt.Sprintf("%d dead letters of pipeline %s in the topic %s of the brokers %s, which stays: their changes are lost",
			len(keys), b.in.Pipeline, b.in.Name, strings.Join(b.p.brokers, ",")),
		SQL: b.p.tombstones(b.in.Name, keys),
		Do: func(ctx context.Context) error {
			records := make([]*kgo.Record, len(keys))
			for i, key := range keys {
				records[i] = &kgo.Record{Topic: b.in.Name, Key: []byte(key)}
			}
			return b.p.failure(b.p.put(ctx, records...))
		},
	}
}

// letterKeeper keeps the letters of one delivery. Each call connects anew: letters
// are rare.
type letterKeeper struct {
	box      *letterBox
	delivery string
	p        production

	mu    sync.Mutex
	topic topic           // that known is of
	next  int64           // up to where it was read
	known map[string]bool // keys of letters that are there
}

// Letters implements [entrain.LetterKeeper].
func (k *letterKeeper) Letters(ctx context.Context) (all []entrain.DeadLetter, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	err = k.with(ctx, func(ctx context.Context, client *kgo.Client) error {
		if err := own(ctx, client); err != nil {
			return err
		}
		r := letterReading{box: k.box, topic: k.topic.name}
		found := map[string][]byte{} // the last value of each key
		err := r.run(ctx, kadm.NewClient(client), func(key string, value []byte) {
			delete(found, key)
			if value != nil && strings.HasPrefix(key, k.delivery+letterSeparator) {
				found[key] = value
			}
		})
		if err != nil {
			return err
		}
		k.next, k.known = r.next, map[string]bool{}
		for key, value := range found {
			var l letterRecord
			if err := decodeState(value, &l, &l.V); err != nil {
				return k.stopDamaged(key, err)
			}
			k.known[key] = true
			if l.Delivery == k.delivery { // its name can go on behind the separator
				l.DeadLetter.Body = l.Body
				all = append(all, l.DeadLetter)
			}
		}
		return nil
	})
	return all, err
}

// KeepLetters implements [entrain.LetterKeeper]: the letters are one transaction of
// Kafka's.
func (k *letterKeeper) KeepLetters(ctx context.Context, letters []entrain.DeadLetter) error {
	records := make([]*kgo.Record, len(letters))
	for i := range letters {
		var err error
		if records[i], err = k.record(&letters[i]); err != nil {
			return err
		}
	}
	return k.write(ctx, func(key string) bool { return !k.known[key] }, records)
}

// DropLetters implements [entrain.LetterKeeper].
func (k *letterKeeper) DropLetters(ctx context.Context, ids []string) error {
	records := make([]*kgo.Record, len(ids))
	for i, id := range ids {
		records[i] = &kgo.Record{Topic: k.box.in.Name, Key: []byte(k.key(id))}
	}
	return k.write(ctx, func(key string) bool { return k.known[key] }, records)
}

func (k *letterKeeper) key(id string) string { return k.delivery + letterSeparator + id }

// record is a letter as it is kept, with what other readers may want to sort by.
func (k *letterKeeper) record(l *entrain.DeadLetter) (*kgo.Record, error) {
	value, err := json.Marshal(letterRecord{V: stateVersion, Delivery: k.delivery, DeadLetter: *l, Body: l.Body})
	if err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", l.ID, err)
	}
	r := &kgo.Record{Topic: k.box.in.Name, Key: []byte(k.key(l.ID)), Value: value}
	version := ""
	if parts := strings.Split(l.ID, "/"); len(parts) > 1 { // source/incarnation/version/ordinal
		version = parts[len(parts)-2]
	}
	for _, h := range [][2]string{{headerID, l.ID}, {headerOp, l.Op}, {headerTable, l.Table}, {headerClass, l.Class},
		{headerDelivery, k.delivery}, {headerTxVersion, version}} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return r, nil
}

// write writes those of the records whose keys are wanted once the topic was read up
// to its end: all or none.
func (k *letterKeeper) write(ctx context.Context, wants func(key string) bool, records []*kgo.Record) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.with(ctx, func(ctx context.Context, client *kgo.Client) error {
		if err := own(ctx, client); err != nil {
			return err
		}
		if err := k.readOn(ctx, kadm.NewClient(client)); err != nil {
			return err
		}
		some := records[:0:0]
		for _, r := range records {
			if wants(string(r.Key)) {
				some = append(some, r)
			}
		}
		if len(some) == 0 {
			return nil
		}
		if err := k.tooLarge(some); err != nil {
			return err
		}
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		if err := client.ProduceSync(ctx, some...).FirstErr(); err != nil {
			return errors.Join(err, client.EndTransaction(ctx, kgo.TryAbort))
		}
		return client.EndTransaction(ctx, kgo.TryCommit)
	})
}

// own takes the producer over: from here on nobody else writes the letters of this
// delivery, and what a dead process left open is ended, which readers would wait for.
func own(ctx context.Context, client *kgo.Client) error {
	_, _, err := client.ProducerID(ctx)
	return err
}

// with runs do with a client of its own, once the topic is as it should be.
func (k *letterKeeper) with(ctx context.Context, do func(ctx context.Context, client *kgo.Client) error) error {
	err := bounded(ctx, 2*patience, func(ctx context.Context) error {
		if err := k.ready(ctx); err != nil {
			return err
		}
		client, err := k.p.producer()
		if err != nil {
			return err
		}
		defer client.Close()
		return do(ctx, client)
	})
	if err != nil {
		return (&writer{production: &k.p}).explain(fmt.Errorf("dead letters in the topic %s: %w", k.box.in.Name, err))
	}
	return nil
}

// ready makes the topic, or sees that it loses nothing.
func (k *letterKeeper) ready(ctx context.Context) error {
	return k.p.asAdmin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		w := k.box.wanted()
		t, err := k.p.ensure(ctx, adm, w)
		if err != nil {
			return err
		}
		if err := k.p.suits(ctx, adm, question{w, usedLetters}); err != nil {
			return err
		}
		if t.id != k.topic.id {
			k.topic, k.next, k.known = *t, 0, map[string]bool{}
		}
		settings, err := topicSettings(ctx, adm, t.name)
		if err != nil {
			return err
		}
		k.p.maxMessage = k.box.p.maxMessage
		if n := (&topicFacts{settings: settings}).number("max.message.bytes"); n >= leastMessage {
			k.p.maxMessage = int32(min(n, mostMessage))
		}
		return nil
	})
}

// readOn learns what was written since the topic was read.
func (k *letterKeeper) readOn(ctx context.Context, adm *kadm.Client) error {
	r := letterReading{box: k.box, topic: k.topic.name, next: k.next}
	err := r.run(ctx, adm, func(key string, value []byte) {
		delete(k.known, key)
		if value != nil && strings.HasPrefix(key, k.delivery+letterSeparator) {
			k.known[key] = true
		}
	})
	k.next = r.next
	return err
}

// letterRoom is what a record takes besides key, value and headers.
const letterRoom = 256

// tooLarge is the stop for a letter that no batch has room for.
func (k *letterKeeper) tooLarge(records []*kgo.Record) error {
	for _, r := range records {
		size := len(r.Key) + len(r.Value) + letterRoom
		for _, h := range r.Headers {
			size += len(h.Key) + len(h.Value)
		}
		if size <= int(k.p.maxMessage) {
			continue
		}
		want := 1 << 20
		for want < size+size/8 {
			want *= 2
		}
		return &entrain.Stop{
			Code: "dead_letter_too_large",
			What: fmt.Sprintf("the dead letter %s has %d bytes, and a batch of the topic %s takes %d", r.Key, size, r.Topic, k.p.maxMessage),
			Why:  "an event that is refused must be kept somewhere before the others may go on",
			Next: k.p.set(r.Topic, "max.message.bytes="+strconv.Itoa(want)) + "; entrain run FILE",
		}
	}
	return nil
}

func (k *letterKeeper) stopDamaged(key string, err error) error {
	return &entrain.Stop{
		Code: "dead_letters_damaged",
		What: fmt.Sprintf("the dead letter %s in the topic %s cannot be read", key, k.box.in.Name),
		Why:  "something other than entrain wrote it, or a newer version of entrain did; the change in it would be lost",
		Next: "run that version; or take the record out, which loses its change: " + k.p.tombstones(k.box.in.Name, []string{key}),
		Err:  err,
	}
}

// letterReading reads a topic of letters.
type letterReading struct {
	box   *letterBox
	topic string
	next  int64 // where to begin, and where it ended
}

// run reads up to the end of the topic, also what is not decided yet: it waits until
// it is.
func (r *letterReading) run(ctx context.Context, adm *kadm.Client, take func(key string, value []byte)) error {
	first, err := oneOffset(adm.ListStartOffsets(ctx, r.topic))(r.topic, 0)
	if err != nil {
		return err
	}
	end, err := oneOffset(adm.ListEndOffsets(ctx, r.topic))(r.topic, 0)
	if err != nil {
		return err
	}
	r.next = max(r.next, first)
	if r.next >= end {
		return nil
	}
	opts, err := r.box.p.options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: {0: kgo.NewOffset().At(r.next)}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond), kgo.KeepControlRecords())...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for r.next < end {
		fetches := client.PollFetches(ctx)
		if err := fetchError(ctx, fetches); err != nil {
			return fmt.Errorf("read topic %s: %w", r.topic, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			rec := it.Next()
			r.next = rec.Offset + 1
			if !rec.Attrs.IsControl() {
				take(string(rec.Key), rec.Value)
			}
		}
	}
	return nil
}
