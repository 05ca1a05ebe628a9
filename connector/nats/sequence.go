package nats

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/packed"
)

// sequence is one session with the messages of a producer, over a connection of
// its own.
type sequence struct {
	backend        *backend
	nc             *natsgo.Conn
	js             jetstream.JetStream
	stream, values jetstream.Stream
	subject        string // of the messages
	beside         string // what subjects of values begin with
	id             string
	atomic         bool         // batches are
	begun          atomic.Bool  // something was appended
	busy           atomic.Int32 // how many appends are under way
	room           func(least int64) error
}

// roomFor is an error if there is not so much room.
func (s *sequence) roomFor(least int64) error {
	if s.room == nil {
		return nil
	}
	return s.room(least)
}

// The headers of batches.
const (
	batchID     = "Nats-Batch-Id"
	batchNumber = "Nats-Batch-Sequence"
	batchCommit = "Nats-Batch-Commit"
)

// Last implements [packed.Tail].
func (s *sequence) Last(ctx context.Context) (packed.Message, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, s.subject)
	return message(ctx, m, err)
}

// At implements [packed.History].
func (s *sequence) At(ctx context.Context, number uint64) (packed.Message, error) {
	m, err := s.stream.GetMsg(ctx, max(number, 1), jetstream.WithGetMsgSubject(s.subject))
	return message(ctx, m, err)
}

func message(ctx context.Context, m *jetstream.RawStreamMsg, err error) (packed.Message, error) {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return packed.Message{}, nil
	}
	if err != nil {
		return packed.Message{}, mark(ctx, err)
	}
	return packed.Message{Number: m.Sequence, Data: m.Data}, nil
}

// appendTimeout is how long a disk or a cluster may take to store messages.
const appendTimeout = time.Minute

// Append implements [packed.Tail].
func (s *sequence) Append(ctx context.Context, after uint64, messages [][]byte) (n int, last uint64, err error) {
	s.busy.Add(1)
	defer s.busy.Add(-1)
	n, last, err = s.append(ctx, after, messages)
	return n, last, s.backend.denied(ctx, s.nc, err)
}

func (s *sequence) append(ctx context.Context, after uint64, messages [][]byte) (n int, last uint64, err error) {
	if err := s.roomFor(leastSpace); err != nil {
		return 0, 0, err
	}
	if s.atomic && (len(messages) > 1 || !s.begun.Load()) { // what a session begins with is what fences others
		n, last, err = s.appendBatch(ctx, after, messages)
		if err == nil {
			s.begun.Store(true)
		}
		return n, last, err
	}
	for i, data := range messages {
		within, cancel := context.WithTimeout(ctx, appendTimeout)
		ack, err := s.js.PublishMsg(within, s.message(data), jetstream.WithExpectLastSequencePerSubject(after))
		cancel()
		if err != nil {
			return i, last, mark(ctx, err)
		}
		after, last = ack.Sequence, ack.Sequence
	}
	return len(messages), last, nil
}

func (s *sequence) message(data []byte) *natsgo.Msg {
	return &natsgo.Msg{Subject: s.subject, Header: natsgo.Header{}, Data: data}
}

// appendBatch publishes all messages or none.
func (s *sequence) appendBatch(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
	within, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	list := make([]*natsgo.Msg, len(messages))
	for i, data := range messages {
		list[i] = s.message(data)
	}
	list[0].Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(after, 10))
	last, err := s.publishBatch(within, list)
	if err != nil {
		return 0, 0, mark(ctx, err)
	}
	return len(messages), last, nil
}

// publishBatch publishes all messages or none, and returns the number of the last
// one, which asks for the answer.
func (s *sequence) publishBatch(ctx context.Context, messages []*natsgo.Msg) (uint64, error) {
	id := rand.Text()
	var answer *natsgo.Msg
	for i, m := range messages {
		m.Header.Set(batchID, id)
		m.Header.Set(batchNumber, strconv.Itoa(i+1))
		var err error
		if i < len(messages)-1 {
			err = s.nc.PublishMsg(m)
		} else {
			m.Header.Set(batchCommit, "1")
			answer, err = s.nc.RequestMsgWithContext(ctx, m)
		}
		if err != nil {
			return 0, err
		}
	}
	var ack struct {
		Seq   uint64              `json:"seq"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("answer to a batch: %w", err)
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// publishBehind publishes a message behind the one with the number after on its subject,
// and returns its number. That fences others, and so it is a batch where batches are
// atomic: a server that has no cluster stores the messages of a batch one by one once it
// has checked them (2.15), and lets a message that is none of a batch come between; then
// the rest of the batch is refused, but not what was stored before.
func (s *sequence) publishBehind(ctx context.Context, m *natsgo.Msg, after uint64) (uint64, error) {
	if !s.atomic {
		ack, err := s.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(after))
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(after, 10))
	return s.publishBatch(ctx, []*natsgo.Msg{m})
}

// Remove implements [packed.Tail].
func (s *sequence) Remove(ctx context.Context, after, before uint64) error {
	for n := before - 1; n > after; n-- {
		err := s.stream.DeleteMsg(ctx, n)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
			return mark(ctx, err)
		}
	}
	return nil
}

// Trim implements [packed.History].
func (s *sequence) Trim(ctx context.Context, through uint64) error {
	if err := s.roomFor(leastBeside); err != nil {
		return err
	}
	return mark(ctx, s.stream.Purge(ctx, jetstream.WithPurgeSequence(through+1)))
}

// Stat implements [packed.State].
func (s *sequence) Stat(ctx context.Context) (packed.Stat, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return packed.Stat{}, mark(ctx, err)
	}
	at := packed.Stat{First: info.State.FirstSeq, Last: info.State.LastSeq, Messages: info.State.Msgs, Bytes: int64(info.State.Bytes)}
	if at.Messages == 0 {
		at.First = 0
	}
	return at, nil
}

// Values implements [packed.State].
func (s *sequence) Values(ctx context.Context) (map[string][]byte, error) {
	info, err := s.values.Info(ctx, jetstream.WithSubjectFilter(s.beside+">"))
	if err != nil {
		return nil, mark(ctx, err)
	}
	values := make(map[string][]byte, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		m, err := s.values.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, mark(ctx, err)
		}
		values[untoken(strings.TrimPrefix(subject, s.beside))] = m.Data
	}
	return values, nil
}

// Store implements [packed.State].
func (s *sequence) Store(ctx context.Context, name string, value []byte) error {
	if err := s.roomFor(leastBeside); err != nil {
		return err
	}
	subject := s.beside + token(name)
	if value == nil {
		return mark(ctx, s.values.Purge(ctx, jetstream.WithPurgeSubject(subject)))
	}
	_, err := s.js.Publish(ctx, subject, value)
	return mark(ctx, err)
}

// aheadBytes and aheadMessages bound what a follower holds in advance. The client
// has room for the messages from the beginning: without a bound for a million.
const (
	aheadBytes    = 4 << 20
	aheadMessages = 1024
)

// Follow implements [packed.History].
func (s *sequence) Follow(ctx context.Context, after uint64) (packed.Follower, error) {
	c, err := s.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
	})
	if err != nil {
		return nil, mark(ctx, err)
	}
	m, err := c.Messages(jetstream.PullMaxMessagesWithBytesLimit(aheadMessages, aheadBytes))
	if err != nil {
		return nil, mark(ctx, err)
	}
	return &follower{messages: m}, nil
}

type follower struct{ messages jetstream.MessagesContext }

// Next implements [packed.Follower].
func (f *follower) Next(ctx context.Context) (packed.Message, error) {
	m, err := f.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		if ctx.Err() != nil {
			return packed.Message{}, ctx.Err()
		}
		return packed.Message{}, entrain.Retryable(fmt.Errorf("%w: %w", entrain.ErrDisconnected, err))
	}
	at, err := m.Metadata()
	if err != nil {
		return packed.Message{}, entrain.Retryable(err)
	}
	return packed.Message{Number: at.Sequence.Stream, Data: m.Data()}, nil
}

// Close implements [packed.Follower].
func (f *follower) Close() error {
	f.messages.Stop()
	return nil
}
