package entraintest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/packed"
)

// streamMutant is a packed log with a planted bug: in its back end, or between it
// and who uses it.
type streamMutant struct {
	name  string
	fails string // cases that have to fail, separated by spaces
	back  func(s *packed.Sequence)
	wrap  func(l stream.Log) stream.Log
	all   func(b packed.Backend) packed.Backend
	rows  int
}

// planted is a back end whose sequences are changed.
type planted struct {
	packed.Backend
	change func(s *packed.Sequence)
}

func (p planted) Open(ctx context.Context, producer string) (*packed.Sequence, error) {
	s, err := p.Backend.Open(ctx, producer)
	if err == nil {
		p.change(s)
	}
	return s, err
}

type badTail struct {
	packed.Tail
	append func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error)
	remove func(ctx context.Context, after, before uint64) error
}

func (b badTail) Append(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
	if b.append != nil {
		return b.append(ctx, after, messages)
	}
	return b.Tail.Append(ctx, after, messages)
}

func (b badTail) Remove(ctx context.Context, after, before uint64) error {
	if b.remove != nil {
		return b.remove(ctx, after, before)
	}
	return b.Tail.Remove(ctx, after, before)
}

type badHistory struct {
	packed.History
	trim   func(ctx context.Context, through uint64) error
	follow func(ctx context.Context, after uint64) (packed.Follower, error)
}

func (b badHistory) Trim(ctx context.Context, through uint64) error {
	if b.trim != nil {
		return b.trim(ctx, through)
	}
	return b.History.Trim(ctx, through)
}

func (b badHistory) Follow(ctx context.Context, after uint64) (packed.Follower, error) {
	if b.follow != nil {
		return b.follow(ctx, after)
	}
	return b.History.Follow(ctx, after)
}

type forgetful struct{ packed.State }

func (forgetful) Store(context.Context, string, []byte) error { return nil }

// badLog is a log of which some methods are replaced.
type badLog struct {
	stream.Log
	open   func(ctx context.Context) (entrain.Writer, error)
	read   func(cursor string, p stream.Partition) entrain.Source
	define func(ctx context.Context, t entrain.ChunkTable) error
	// ahead: it goes back to the end.
	ahead bool
}

// Rewind implements [stream.Rewinder].
func (b *badLog) Rewind(ctx context.Context, p stream.Partition, t time.Time) (entrain.Position, bool, error) {
	at, whole, err := b.Log.(stream.Rewinder).Rewind(ctx, p, t)
	if b.ahead {
		at.Offset = "2"
	}
	return at, whole, err
}

func (b *badLog) Open(ctx context.Context) (entrain.Writer, error) {
	if b.open != nil {
		return b.open(ctx)
	}
	return b.Log.Open(ctx)
}

func (b *badLog) Read(cursor string, p stream.Partition) entrain.Source {
	if b.read != nil {
		return b.read(cursor, p)
	}
	return b.Log.Read(cursor, p)
}

func (b *badLog) MakeTable(ctx context.Context, t entrain.ChunkTable) error {
	if b.define != nil {
		return b.define(ctx, t)
	}
	return b.Log.(entrain.TableMaker).MakeTable(ctx, t)
}

// streamWriters makes a mutant of which every writer is changed.
func streamWriters(change func(m *mutantWriter)) func(stream.Log) stream.Log {
	return func(l stream.Log) stream.Log {
		return &badLog{Log: l, open: func(ctx context.Context) (entrain.Writer, error) {
			w, err := l.Open(ctx)
			if err != nil {
				return nil, err
			}
			m := &mutantWriter{Writer: w}
			change(m)
			return m, nil
		}}
	}
}

// streamReaders makes a mutant of which every reader is changed.
func streamReaders(change func(src entrain.Source, m *mutantReader)) func(stream.Log) stream.Log {
	return func(l stream.Log) stream.Log {
		return &badLog{Log: l, read: func(cursor string, p stream.Partition) entrain.Source {
			src := l.Read(cursor, p)
			return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
				r, err := src.Open(ctx, from)
				if err != nil {
					return nil, err
				}
				m := &mutantReader{Reader: r}
				change(src, m)
				return m, nil
			})
		}}
	}
}

// streamMutantHarness fills a harness for a mutant.
func streamMutantHarness(m streamMutant) StreamHarness {
	var store *packed.Memory
	size, rows, patience := 8<<10, 1000, 1500*time.Millisecond
	if m.rows > 0 {
		size, rows, patience = 256<<10, m.rows, time.Minute
	}
	return StreamHarness{
		New: func(testing.TB) { store = &packed.Memory{} },
		Log: func(t testing.TB, c StreamConfig) stream.Log {
			if store.MaxBytes != c.MaxBytes { // set by the first one, before it is used
				store.MaxBytes = c.MaxBytes
			}
			var back packed.Backend = store
			if m.back != nil {
				back = planted{store, m.back}
			}
			if m.all != nil {
				back = m.all(back)
			}
			l, err := packed.New(packed.Config{Backend: back, Producer: c.Producer, MaxBytes: c.MaxBytes,
				MessageBytes: size, Every: 10 * time.Millisecond})
			if err != nil {
				t.Fatalf("make a log: %v", err)
			}
			if c.Cursors != nil {
				l.Cursors(c.Cursors)
				if m.name == "one-cursor-counts" {
					l.Cursors(c.Cursors[:1])
				}
			}
			if m.wrap != nil {
				return m.wrap(l)
			}
			return l
		},
		Parts:      true,
		Remake:     func(testing.TB) { store.Reset() },
		LoseAnswer: func(testing.TB) { store.LoseAnswer(entrain.Retryable(errors.New("the answer was lost"))) },
		Quota:      1 << 20,
		Rows:       rows,
		Quiet:      60 * time.Millisecond,
		Patience:   patience,
	}
}

// oneSequence gives all producers the same sequence.
type oneSequence struct{ packed.Backend }

func (o oneSequence) Open(ctx context.Context, _ string) (*packed.Sequence, error) {
	return o.Backend.Open(ctx, "shop")
}

// writersFirst has no sequence before something was written.
type writersFirst struct{ packed.Backend }

func (o writersFirst) Open(ctx context.Context, producer string) (*packed.Sequence, error) {
	s, err := o.Backend.Open(ctx, producer)
	if err != nil {
		return nil, err
	}
	if m, err := s.Tail.Last(ctx); err == nil && m.Number == 0 {
		history := s.History
		s.History = badHistory{History: history, follow: func(context.Context, uint64) (packed.Follower, error) {
			return nil, errors.New("nothing is there")
		}}
	}
	return s, nil
}

// lossy passes over a message now and then.
type lossy struct {
	packed.Follower
	n int
}

func (f *lossy) Next(ctx context.Context) (packed.Message, error) {
	f.n++
	if f.n == 4 {
		if _, err := f.Follower.Next(ctx); err != nil {
			return packed.Message{}, err
		}
	}
	return f.Follower.Next(ctx)
}

var streamMutants = []streamMutant{
	{name: "no-fence", fails: "take-over-fences fenced-in-a-transaction", back: func(s *packed.Sequence) {
		tail := s.Tail
		s.Tail = badTail{Tail: tail, append: func(ctx context.Context, _ uint64, messages [][]byte) (int, uint64, error) {
			last, err := tail.Last(ctx)
			if err != nil {
				return 0, 0, err
			}
			return tail.Append(ctx, last.Number, messages)
		}}
	}},
	{name: "removes-too-much", fails: "torn-transaction", back: func(s *packed.Sequence) {
		tail := s.Tail
		s.Tail = badTail{Tail: tail, remove: func(ctx context.Context, after, before uint64) error {
			return tail.Remove(ctx, max(after, 1)-1, before)
		}}
	}},
	{name: "trims-nothing", fails: "full-then-room overrun kept-for-a-cursor", back: func(s *packed.Sequence) {
		s.History = badHistory{History: s.History, trim: func(context.Context, uint64) error { return nil }}
	}},
	{name: "one-cursor-counts", fails: "kept-for-a-cursor"},
	{name: "remembers-nothing-beside", fails: "idle-positions full-then-room overrun", back: func(s *packed.Sequence) {
		s.State = forgetful{s.State}
	}},
	{name: "drops-what-has-no-room", fails: "full-then-room", back: func(s *packed.Sequence) {
		tail := s.Tail
		s.Tail = badTail{Tail: tail, append: func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
			n, last, err := tail.Append(ctx, after, messages)
			if errors.Is(err, packed.ErrFull) {
				return len(messages), max(last, after), nil
			}
			return n, last, err
		}}
		s.State = roomy{s.State}
	}},
	{name: "same-name-after-removal", fails: "recreated", back: func(s *packed.Sequence) {
		s.ID = "always"
		tail := s.Tail
		s.Tail = badTail{Tail: tail, append: func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
			for i, m := range messages { // as version 1, which does not tell what they follow either
				messages[i] = append(append([]byte{1}, m[1:36]...), m[44:]...)
			}
			return tail.Append(ctx, after, messages)
		}}
	}},
	{name: "passes-over-a-message", fails: "every-kind-of-event replay-from-any-position large-transaction", back: func(s *packed.Sequence) {
		history := s.History
		s.History = badHistory{History: history, follow: func(ctx context.Context, after uint64) (packed.Follower, error) {
			f, err := history.Follow(ctx, after)
			return &lossy{Follower: f}, err
		}}
	}},
	{name: "cuts-large-messages", fails: "large-row", back: func(s *packed.Sequence) {
		s.MessageBytes = 64 << 20
		tail := s.Tail
		s.Tail = badTail{Tail: tail, append: func(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
			for i, m := range messages {
				messages[i] = m[:min(len(m), 1<<20)]
			}
			return tail.Append(ctx, after, messages)
		}}
	}},
	{name: "one-for-all-producers", fails: "two-producers", all: func(b packed.Backend) packed.Backend { return oneSequence{b} }},
	{name: "writers-first", fails: "reader-comes-first", all: func(b packed.Backend) packed.Backend { return writersFirst{b} }},
	{name: "position-of-the-batch-before", fails: "lost-answer idle-positions", wrap: positionOfBefore()},
	{name: "no-definitions", fails: "definitions", wrap: func(l stream.Log) stream.Log {
		return &badLog{Log: l, define: func(context.Context, entrain.ChunkTable) error { return nil }}
	}},
	{name: "nothing-settles", fails: "every-kind-of-event", wrap: streamWriters(func(m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			return m.Writer.Write(ctx, rewritten(b, func(e entrain.Event) []entrain.Event {
				e.Settling = false
				return []entrain.Event{e}
			}))
		}
	})},
	{name: "waits-for-ever", fails: "full-and-taken-over", wrap: streamWriters(func(m *mutantWriter) {
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			return m.Writer.Write(context.WithoutCancel(ctx), b)
		}
	})},
	{name: "hides-torn-transactions", fails: "torn-transaction-in-hand", wrap: streamReaders(hideTorn)},
	{name: "whole-transactions-only", fails: "parts-while-it-is-written torn-transaction-in-hand large-transaction", wrap: streamReaders(wholeOnly)},
	{name: "keeps-what-it-read", fails: "large-transaction", wrap: streamReaders(keepAll), rows: 60_000},
	{name: "positions-within-transactions", fails: "many-transactions-in-one-batch", wrap: streamReaders(halves)},
	{name: "cursors-are-one", fails: "cursors-at-their-own-pace", wrap: oneCursor()},
	{name: "rewinds-too-little", fails: "rewind", wrap: func(l stream.Log) stream.Log { return &badLog{Log: l, ahead: true} }},
	{name: "begins-at-the-end", fails: "replay-from-any-position", wrap: func(l stream.Log) stream.Log {
		return &badLog{Log: l, read: func(cursor string, p stream.Partition) entrain.Source {
			src := l.Read(cursor, p)
			return openFunc(func(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
				if !from.IsZero() {
					number, rest, _ := strings.Cut(from.Offset, " ")
					from.Offset = strings.TrimSpace(number + "0 " + rest)
				}
				return src.Open(ctx, from)
			})
		}}
	}},
}

// roomy is never full as far as it says.
type roomy struct{ packed.State }

func (r roomy) Stat(ctx context.Context) (packed.Stat, error) {
	s, err := r.State.Stat(ctx)
	s.Bytes = -1 << 40
	return s, err
}

// positionOfBefore remembers, over all writers, the position before the last one.
func positionOfBefore() func(stream.Log) stream.Log {
	var mu sync.Mutex
	before := map[entrain.Position]entrain.Position{}
	return streamWriters(func(m *mutantWriter) {
		var at entrain.Position
		m.write = func(ctx context.Context, b *entrain.Batch) error {
			mu.Lock()
			before[b.Through] = at
			if !b.Through.IsZero() {
				at = b.Through
			}
			mu.Unlock()
			return m.Writer.Write(ctx, b)
		}
		m.position = func(ctx context.Context) (entrain.Position, error) {
			p, err := m.Writer.(entrain.Positioner).Position(ctx)
			mu.Lock()
			defer mu.Unlock()
			return before[p], err
		}
	})
}

// hideTorn goes on behind a torn transaction without a word.
func hideTorn(src entrain.Source, m *mutantReader) {
	var last entrain.Position
	m.read = func(ctx context.Context) (*entrain.Batch, error) {
		b, err := m.Reader.Read(ctx)
		for entrain.IsRetryable(err) {
			m.Reader.Close()
			r, openErr := src.Open(ctx, last)
			if openErr != nil {
				return nil, openErr
			}
			m.Reader = r
			b, err = m.Reader.Read(ctx)
		}
		if err == nil && !b.Through.IsZero() {
			last = b.Through
		}
		return b, err
	}
}

// wholeOnly hands out transactions when they have ended.
func wholeOnly(_ entrain.Source, m *mutantReader) {
	all := &entrain.Batch{}
	m.read = func(ctx context.Context) (*entrain.Batch, error) {
		for {
			b, err := m.Reader.Read(ctx)
			if err != nil {
				return nil, err
			}
			all.Events = append(all.Events, b.Events...)
			if !b.Through.IsZero() {
				out := &entrain.Batch{Events: all.Events, Through: b.Through}
				all = &entrain.Batch{}
				return out, nil
			}
		}
	}
}

// keepAll never lets go of a batch.
func keepAll(_ entrain.Source, m *mutantReader) {
	var all []*entrain.Batch
	m.read = func(ctx context.Context) (*entrain.Batch, error) {
		b, err := m.Reader.Read(ctx)
		if err == nil {
			b.Free = nil
			all = append(all, b)
		}
		return b, err
	}
}

// halves hands out the first half of a batch with its position.
func halves(_ entrain.Source, m *mutantReader) {
	var rest *entrain.Batch
	m.read = func(ctx context.Context) (*entrain.Batch, error) {
		if b := rest; b != nil {
			rest = nil
			return b, nil
		}
		b, err := m.Reader.Read(ctx)
		if err != nil || len(b.Events) < 3 || b.Through.IsZero() {
			return b, err
		}
		n := len(b.Events)/2 | 1
		rest = &entrain.Batch{Events: b.Events[n:], Through: b.Through}
		return &entrain.Batch{Events: b.Events[:n], Through: b.Through}, nil
	}
}

// oneCursor skips for one reader what another one has acknowledged.
func oneCursor() func(stream.Log) stream.Log {
	var mu sync.Mutex
	read := map[entrain.Position]bool{}
	return streamReaders(func(_ entrain.Source, m *mutantReader) {
		m.ack = func(ctx context.Context, p entrain.Position) error {
			mu.Lock()
			read[p] = true
			mu.Unlock()
			return m.Reader.Ack(ctx, p)
		}
		m.read = func(ctx context.Context) (*entrain.Batch, error) {
			for {
				b, err := m.Reader.Read(ctx)
				mu.Lock()
				skip := err == nil && read[b.Through]
				mu.Unlock()
				if !skip {
					return b, err
				}
			}
		}
	})
}

// TestStreamMutants: each planted bug fails the cases named beside it, and each
// case of the suite fails for some bug.
func TestStreamMutants(t *testing.T) {
	caught := map[string]bool{}
	for _, m := range streamMutants {
		t.Run(m.name, func(t *testing.T) {
			failed := verdicts{}
			for _, c := range streamCases {
				if !slices.Contains(strings.Fields(m.fails), c.name) {
					continue
				}
				if f := observe(t, func(t testing.TB) { c.run(t, streamMutantHarness(m)) }); f != nil {
					failed[c.name], caught[c.name] = f, true
				}
			}
			judge(t, failed, m.fails)
		})
	}
	for _, c := range streamCases {
		if !caught[c.name] {
			t.Errorf("no planted bug fails case %s", c.name)
		}
	}
}
