package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

// shapes are what is beside a log: tables by fingerprint, and streams. They are
// read when one is asked for that is not known yet: it was committed in the same
// transaction of Kafka's as the first event that needs it, but the markers of a
// transaction come to one partition before they come to another.
type shapes struct {
	log *Log
	// ctx is that of the Read at hand: the decoder asks without one.
	ctx context.Context

	mu     sync.Mutex  // Close can come while a Read waits
	client *kgo.Client // nil before the first question
	over   bool

	tables    map[uint64]*entrain.Table
	databases map[string]string
}

// shape is the [encoding.Shapes] of a reader.
func (r *reader) shape(version uint64) (*entrain.Table, error) {
	s := r.shapes
	err := s.until(s.ctx, func() bool { return s.tables[version] != nil })
	if err != nil {
		return nil, &besideError{fmt.Errorf("the shape %s beside %s: %w", fingerprint(version), r.log.name, err)}
	}
	return s.tables[version], nil
}

// besideError says that what is beside the log could not be got: the record that
// needs it is not to blame.
type besideError struct{ error }

func (e *besideError) Unwrap() error { return e.error }

// complete puts into a stream what events do not carry, before anybody else sees
// it.
func (s *shapes) complete(ctx context.Context, of *entrain.Stream) error {
	if of.Incarnation == "" { // of a definition
		return nil
	}
	name := strings.TrimPrefix(streamName(of), streamKey)
	there := func() bool {
		database, known := s.databases[name]
		if of.Database != database { // others read it, once it is delivered
			of.Database = database
		}
		return known
	}
	if err := s.until(ctx, there); err != nil {
		return fmt.Errorf("the stream %s beside %s: %w", name, s.log.name, err)
	}
	return nil
}

// until reads on until what is asked for is there.
func (s *shapes) until(ctx context.Context, there func() bool) error {
	if there() {
		return nil
	}
	client, err := s.dial()
	if err != nil {
		return err
	}
	err = bounded(ctx, patience, func(ctx context.Context) error {
		for !there() {
			fetches := client.PollFetches(ctx)
			if err := fetchError(ctx, fetches); err != nil {
				return err
			}
			for it := fetches.RecordIter(); !it.Done(); {
				if err := s.take(it.Next()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if errors.Is(err, errSilent) {
		return fmt.Errorf("it is not in the topic %s: %w", s.log.name+shapesSuffix, err)
	}
	return err
}

func (s *shapes) dial() (*kgo.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, errClosed
	}
	if s.client != nil {
		return s.client, nil
	}
	opts, err := s.log.sink.options()
	if err != nil {
		return nil, err
	}
	s.client, err = kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.log.name + shapesSuffix: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond),
	)...)
	return s.client, err
}

// take adds what a record says; what is none of ours is left alone.
func (s *shapes) take(rec *kgo.Record) error {
	key := string(rec.Key)
	if name, ok := strings.CutPrefix(key, streamKey); ok && rec.Value != nil {
		var of streamRecord
		if err := decodeState(rec.Value, &of, &of.V); err != nil {
			return fmt.Errorf("record %q: %w", key, err)
		}
		s.databases[name] = of.Database
	}
	digits, ok := strings.CutPrefix(key, shapeKey)
	if !ok || rec.Value == nil {
		return nil
	}
	version, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return nil
	}
	var of shapeRecord
	if err := json.Unmarshal(rec.Value, &of); err != nil || of.V != stateVersion {
		return fmt.Errorf("record %q has version %d, known is %d: %w", key, of.V, stateVersion, err)
	}
	t := &entrain.Table{Schema: of.Schema, Name: of.Table, FullIdentity: of.FullIdentity, Columns: of.Columns}
	if t.Version = t.Fingerprint(); t.Version == version && s.tables[version] == nil {
		s.tables[version] = t
	}
	return nil
}

func (s *shapes) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.client != nil {
		s.client.CloseAllowingRebalance()
		s.client = nil
	}
}

// ackPause is how often positions are stored for people and retention.
const ackPause = 5 * time.Second

// acks stores acknowledged offsets in a goroutine of its own.
type acks struct {
	mu     sync.Mutex
	offset int64 // the last one; -1: none
	stored int64
	end    context.CancelFunc
	done   chan struct{}
	commit func(ctx context.Context, offset int64) error
	ctx    context.Context
}

func (a *acks) start(ctx context.Context, commit func(ctx context.Context, offset int64) error) {
	a.ctx, a.offset, a.stored, a.commit, a.done = ctx, -1, -1, commit, make(chan struct{})
	within, end := context.WithCancel(ctx)
	a.end = end
	go func() {
		defer close(a.done)
		for pause(within, ackPause) == nil {
			a.store(within)
		}
	}()
}

func (a *acks) set(offset int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.offset = offset
}

// store stores the last offset. That it fails is no matter: the sink knows how
// far it is.
func (a *acks) store(ctx context.Context) {
	a.mu.Lock()
	offset := a.offset
	a.mu.Unlock()
	if offset != a.stored && a.commit(ctx, offset) == nil {
		a.stored = offset
	}
}

// stop stores once more; it may be called twice.
func (a *acks) stop() {
	if a.end == nil {
		return
	}
	a.end()
	<-a.done
	a.end = nil
	ctx, cancel := context.WithTimeout(a.ctx, closing)
	defer cancel()
	a.store(ctx)
}

// recordPool keeps the memory of fetched records.
type recordPool struct {
	records sync.Pool
	bytes   sync.Pool
}

func newRecordPool() *recordPool { return &recordPool{} }

// GetRecords implements [kgo.PoolRecords].
func (p *recordPool) GetRecords(n int) []kgo.Record {
	if got, _ := p.records.Get().(*[]kgo.Record); got != nil && cap(*got) >= n {
		return (*got)[:0]
	}
	return make([]kgo.Record, 0, n)
}

// PutRecords implements [kgo.PoolRecords].
func (p *recordPool) PutRecords(r []kgo.Record) { p.records.Put(&r) }

// GetDecompressBytes implements [kgo.PoolDecompressBytes].
func (p *recordPool) GetDecompressBytes(compressed []byte, _ kgo.CompressionCodecType) []byte {
	if got, _ := p.bytes.Get().(*[]byte); got != nil {
		return (*got)[:0]
	}
	return make([]byte, 0, 4*len(compressed))
}

// PutDecompressBytes implements [kgo.PoolDecompressBytes].
func (p *recordPool) PutDecompressBytes(b []byte) {
	if cap(b) <= fetchBytes {
		p.bytes.Put(&b)
	}
}
