package packed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/entrainsync/entrain"
)

// Memory is a [Backend] that keeps everything in memory, for tests. The zero
// Memory is ready; its fields are set before it is used.
type Memory struct {
	// MaxBytes is the room for the messages of a producer; 0 means no limit.
	MaxBytes int64
	// MessageBytes is the largest message; 0 means 1 MB.
	MessageBytes int

	mu        sync.Mutex
	producers map[string]*memory
	lose      error
}

// memory is one sequence. Its mutex is that of the Memory.
type memory struct {
	of       *Memory
	id       string
	messages []Message
	last     uint64 // number that was given out last
	bytes    int64
	values   map[string][]byte
	changed  chan struct{} // is closed when messages were added; then replaced
}

// Open implements [Backend].
func (b *Memory) Open(ctx context.Context, producer string) (*Sequence, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.producers[producer]
	if m == nil {
		m = &memory{of: b, id: rand.Text(), values: map[string][]byte{}, changed: make(chan struct{})}
		if b.producers == nil {
			b.producers = map[string]*memory{}
		}
		b.producers[producer] = m
	}
	limit := b.MessageBytes
	if limit == 0 {
		limit = 1 << 20
	}
	return &Sequence{ID: m.id, MessageBytes: limit, Tail: m, History: m, State: m, Close: func() error { return nil }}, nil
}

// Producers implements [Backend].
func (b *Memory) Producers(ctx context.Context) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.producers)), ctx.Err()
}

// Reset removes everything, as if the stream had been deleted.
func (b *Memory) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.producers = nil
}

// Forget loses all messages of a producer behind a number, as a server does that is
// restored from a backup: their numbers are given out again. The values stay.
func (b *Memory) Forget(producer string, behind uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.producers[producer]
	m.messages = slices.DeleteFunc(m.messages, func(x Message) bool { return x.Number > behind })
	m.last = min(m.last, behind)
	m.bytes = 0
	for _, x := range m.messages {
		m.bytes += int64(len(x.Data))
	}
}

// LoseAnswer makes the next append report err although it has taken place.
func (b *Memory) LoseAnswer(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose = err
}

// Last implements [Tail].
func (m *memory) Last(ctx context.Context) (Message, error) {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	if len(m.messages) == 0 {
		return Message{}, ctx.Err()
	}
	return m.messages[len(m.messages)-1].copied(), ctx.Err()
}

// Append implements [Tail].
func (m *memory) Append(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	var last uint64
	if n := len(m.messages); n > 0 {
		last = m.messages[n-1].Number
	}
	if last != after {
		return 0, 0, fmt.Errorf("%w: the last message is %d, not %d", ErrFenced, last, after)
	}
	defer m.wake()
	for i, data := range messages {
		if limit := m.of.MaxBytes; limit > 0 && m.bytes+int64(len(data)) > limit {
			return i, m.last, ErrFull
		}
		m.last++
		m.messages = append(m.messages, Message{m.last, bytes.Clone(data)})
		m.bytes += int64(len(data))
	}
	if err := m.of.lose; err != nil {
		m.of.lose = nil
		return 0, 0, err
	}
	return len(messages), m.last, nil
}

func (m *memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Remove implements [Tail].
func (m *memory) Remove(ctx context.Context, after, before uint64) error {
	return m.remove(ctx, func(n uint64) bool { return after < n && n < before })
}

// Trim implements [History].
func (m *memory) Trim(ctx context.Context, through uint64) error {
	return m.remove(ctx, func(n uint64) bool { return n <= through })
}

func (m *memory) remove(ctx context.Context, goes func(number uint64) bool) error {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	m.messages = slices.DeleteFunc(m.messages, func(x Message) bool {
		if !goes(x.Number) {
			return false
		}
		m.bytes -= int64(len(x.Data))
		return true
	})
	return ctx.Err()
}

// At implements [History].
func (m *memory) At(ctx context.Context, number uint64) (Message, error) {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	return m.at(number), ctx.Err()
}

func (m *memory) at(number uint64) Message {
	i, _ := slices.BinarySearchFunc(m.messages, number, func(x Message, n uint64) int {
		if x.Number < n {
			return -1
		}
		return 1
	})
	if i == len(m.messages) {
		return Message{}
	}
	return m.messages[i].copied()
}

func (x Message) copied() Message { return Message{x.Number, bytes.Clone(x.Data)} }

// Follow implements [History].
func (m *memory) Follow(ctx context.Context, after uint64) (Follower, error) {
	return &memoryFollower{m: m, after: after, done: make(chan struct{})}, ctx.Err()
}

// Stat implements [State].
func (m *memory) Stat(ctx context.Context) (Stat, error) {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	s := Stat{Messages: uint64(len(m.messages)), Bytes: m.bytes}
	if n := len(m.messages); n > 0 {
		s.First, s.Last = m.messages[0].Number, m.messages[n-1].Number
	}
	return s, ctx.Err()
}

// Values implements [State].
func (m *memory) Values(ctx context.Context) (map[string][]byte, error) {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	return maps.Clone(m.values), ctx.Err()
}

// Store implements [State].
func (m *memory) Store(ctx context.Context, name string, value []byte) error {
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if value == nil {
		delete(m.values, name)
		return nil
	}
	m.values[name] = bytes.Clone(value)
	return nil
}

type memoryFollower struct {
	m     *memory
	after uint64
	once  sync.Once
	done  chan struct{}
}

// Next implements [Follower].
func (f *memoryFollower) Next(ctx context.Context) (Message, error) {
	for {
		f.m.of.mu.Lock()
		x, changed := f.m.at(f.after+1), f.m.changed
		gone := f.m.of.producers == nil || !slices.Contains(slices.Collect(maps.Values(f.m.of.producers)), f.m)
		f.m.of.mu.Unlock()
		if gone {
			return Message{}, entrain.Retryable(errors.New("the stream was removed"))
		}
		if x.Number > 0 {
			f.after = x.Number
			return x, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		case <-f.done:
			return Message{}, errors.New("closed")
		}
	}
}

// Close implements [Follower].
func (f *memoryFollower) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}
