package kafka

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

// The keys of a state topic. Each value is a JSON object whose "v" is the version
// of its form.
const (
	positionKey = "position"
	ownerKey    = "owner"
	topicKey    = "topic/"  // and the topic's name
	shapeKey    = "shape/"  // and the fingerprint
	streamKey   = "stream/" // and source/incarnation; beside a log only
	madeKey     = "made/"   // and the name of a topic that we made
	rowsKey     = "rows/"   // and schema.table; of a log with several partitions
)

const stateVersion = 1

// state is what a state topic says.
type state struct {
	position entrain.Position
	topic    string                 // of a log, that the position was written with; empty by older versions
	shapes   map[string]bool        // by fingerprint in hexadecimal
	topics   map[string]topicRecord // the topics that were written to
	keys     map[string][]string    // how the rows of a table are spread
	values   map[string][]byte      // of a capture: see [Log.SaveValues]
}

type positionRecord struct {
	V           int    `json:"v"`
	Incarnation string `json:"incarnation"`
	Offset      string `json:"offset"`
	// Topic is the one of a log's events; empty of a sink.
	Topic string `json:"topic,omitempty"`
}

type topicRecord struct {
	V  int    `json:"v"`
	ID string `json:"id"`
	// Partitions is 0 in records of versions that did not note it.
	Partitions int32 `json:"partitions,omitempty"`
}

type ownerRecord struct {
	V       int       `json:"v"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// shapeRecord is a table's shape, whole: with it a reader gets back the
// source's own text of each value.
type shapeRecord struct {
	V            int              `json:"v"`
	Schema       string           `json:"schema"`
	Table        string           `json:"table"`
	FullIdentity bool             `json:"full_identity"`
	Columns      []entrain.Column `json:"columns"`
}

// streamRecord is what the events of a log do not carry of their stream.
type streamRecord struct {
	V        int    `json:"v"`
	Database string `json:"database"`
}

func newState() *state {
	return &state{shapes: map[string]bool{}, topics: map[string]topicRecord{}, keys: map[string][]string{}, values: map[string][]byte{}}
}

// take adds what a record says.
func (s *state) take(r *kgo.Record) error {
	key := string(r.Key)
	var err error
	switch {
	case key == positionKey:
		var p positionRecord
		if err = decodeState(r.Value, &p, &p.V); err == nil {
			s.position = entrain.Position{Incarnation: p.Incarnation, Offset: p.Offset}
			s.topic = p.Topic
		}
	case strings.HasPrefix(key, shapeKey):
		s.shapes[key[len(shapeKey):]] = r.Value != nil
	case strings.HasPrefix(key, valueKey):
		s.values[key[len(valueKey):]] = r.Value
	case strings.HasPrefix(key, rowsKey):
		var k keyRecord
		delete(s.keys, key[len(rowsKey):])
		if r.Value == nil {
			return nil
		}
		if err = decodeState(r.Value, &k, &k.V); err == nil {
			s.keys[key[len(rowsKey):]] = k.Columns
		}
	case strings.HasPrefix(key, topicKey):
		var t topicRecord
		delete(s.topics, key[len(topicKey):])
		if r.Value == nil {
			return nil
		}
		if err = decodeState(r.Value, &t, &t.V); err == nil {
			s.topics[key[len(topicKey):]] = t
		}
	}
	if err != nil {
		return &entrain.Stop{
			Code: "state_foreign",
			What: fmt.Sprintf("the record %q at offset %d of the topic %s cannot be read", key, r.Offset, r.Topic),
			Why:  "something other than entrain wrote it, or a newer version of entrain did",
			Next: "run that version, or give the pipeline a transactional_id of its own in FILE; then: entrain run FILE",
			Err:  err,
		}
	}
	return nil
}

// decodeState reads a value; version points into into.
func decodeState(value []byte, into any, version *int) error {
	if value == nil {
		*version = stateVersion
		return nil // taken away by hand
	}
	if err := json.Unmarshal(value, into); err != nil {
		return err
	}
	if *version != stateVersion {
		return fmt.Errorf("its version is %d, known is %d", *version, stateVersion)
	}
	return nil
}

// readState reads the topic up to the record at the offset last, whose
// transaction was committed.
func (p *production) readState(ctx context.Context, name string, last int64) (*state, error) {
	opts, err := p.options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(100*time.Millisecond),
	)...)
	if err != nil {
		return nil, err
	}
	defer client.CloseAllowingRebalance()
	s := newState()
	for seen := int64(-1); seen < last; {
		fetches := client.PollFetches(ctx)
		if err := fetchError(ctx, fetches); err != nil {
			return nil, fmt.Errorf("read topic %s: %w", name, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			seen = r.Offset
			if err := s.take(r); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// fetchError returns the first error of a poll.
func fetchError(ctx context.Context, fetches kgo.Fetches) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var errs []error
	fetches.EachError(func(_ string, _ int32, err error) {
		if !kerr.IsRetriable(err) {
			errs = append(errs, err)
		}
	})
	return errors.Join(errs...)
}

// appendJSON appends a value of ours, which always has a JSON form.
func appendJSON(dst []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(dst, text...), err
}

// fingerprint is a shape's version as the native format writes it.
func fingerprint(version uint64) string { return fmt.Sprintf("%016x", version) }

func idText(id [16]byte) string { return hex.EncodeToString(id[:]) }
