package packed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// beginPrefix begins the names of what [Log.Begin] stores, before the cursor's.
const beginPrefix = "begin."

// begun is where a cursor may begin whose next message is gone. All rows are
// delivered behind it.
type begun struct {
	// From is the message to begin behind, Through the last one that counts for its
	// definitions of tables only: they stand between the two. From <= Through.
	From    uint64 `json:"from"`
	Through uint64 `json:"through"`
	// Used: a session has begun here.
	Used bool `json:"used,omitempty"`
	// Read are the tables of which rows were delivered since, sorted.
	Read []string `json:"read,omitempty"`
}

// Begin implements [stream.Beginner].
func (l *Log) Begin(ctx context.Context, cursor string, tables []entrain.ChunkTable) error {
	if !cursorName.MatchString(cursor) {
		return fmt.Errorf("the cursor's name %q has other characters than letters, digits and any of ._-", cursor)
	}
	seq, err := l.cfg.Backend.Open(ctx, l.cfg.Producer)
	if err != nil {
		return fmt.Errorf("open the stream of %s: %w", l.cfg.Producer, err)
	}
	err = l.begin(ctx, seq, cursor, tables)
	return errors.Join(err, seq.Close())
}

func (l *Log) begin(ctx context.Context, seq *Sequence, cursor string, tables []entrain.ChunkTable) (err error) {
	var b begun
	if b.From, err = lastFinished(ctx, seq); err != nil {
		return fmt.Errorf("find the end of the stream of %s: %w", l.cfg.Producer, err)
	}
	for _, t := range tables {
		if err := l.MakeTable(ctx, t); err != nil {
			return err
		}
	}
	if b.Through, err = lastFinished(ctx, seq); err != nil {
		return fmt.Errorf("find the end of the stream of %s: %w", l.cfg.Producer, err)
	}
	s := &source{log: l, cursor: cursor, partition: stream.Partition(l.cfg.Producer)}
	old, acked, err := s.begun(ctx, seq)
	if err != nil {
		return err
	}
	if old != nil && old.Used && acked >= old.From {
		gone, err := s.missing(ctx, seq, acked)
		if err != nil {
			return err
		}
		if gone == 0 { // it has begun already, and only the rows come again
			b = begun{From: old.From, Through: old.Through, Used: true}
		}
	}
	return storeBegun(ctx, seq, cursor, b)
}

// begun reads where the cursor may begin, nil if nowhere, and what it has
// acknowledged.
func (s *source) begun(ctx context.Context, seq *Sequence) (b *begun, acked uint64, err error) {
	values, err := seq.State.Values(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("look into the stream of %s: %w", s.partition, err)
	}
	m, _ := readMarked(values[cursorPrefix+s.cursor])
	text := values[beginPrefix+s.cursor]
	if text == nil {
		return nil, m.Number, nil
	}
	b = &begun{}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, 0, fmt.Errorf("where cursor %s begins in the stream of %s: %w", s.cursor, s.partition, err)
	}
	return b, m.Number, nil
}

func storeBegun(ctx context.Context, seq *Sequence, cursor string, b begun) error {
	text, err := json.Marshal(b)
	if err == nil {
		err = seq.State.Store(ctx, beginPrefix+cursor, text)
	}
	if err != nil {
		return fmt.Errorf("store where cursor %s begins: %w", cursor, err)
	}
	return nil
}

// beginning is a session whose cursor has begun at a [begun]. Its lock is for what
// was read.
type beginning struct {
	at begun

	mu    sync.Mutex
	first map[string]uint64 // tables and the message with their first row, of this session
}

// begins decides whether a session that is to go on behind a message begins
// somewhere else, since what follows is gone, or has done so before. It returns nil if
// neither is the case.
func (s *source) begins(ctx context.Context, seq *Sequence, after uint64) (*beginning, error) {
	at, acked, err := s.begun(ctx, seq)
	if err != nil || at == nil {
		return nil, err
	}
	b := &beginning{at: *at, first: map[string]uint64{}}
	next, err := s.missing(ctx, seq, after)
	switch {
	case err != nil:
		return nil, err
	case next == 0 && after >= b.at.From && b.at.Used:
		return b, nil // it goes on
	case next == 0, after >= b.at.From, acked > b.at.From:
		return nil, nil // there is no need, or its sink has lost what came from here
	}
	if next, err = s.missing(ctx, seq, b.at.From); err != nil || next != 0 {
		return nil, err
	}
	b.at.Used, b.at.Read = true, nil
	return b, storeBegun(ctx, seq, s.cursor, b.at)
}

// pass leaves out what comes before all rows do, and has the sink take the changes of
// a table whose rows are still to come as those of one that is being copied.
func (b *beginning) pass(number uint64, batch *entrain.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := batch.Events[:0]
	for _, e := range batch.Events {
		makes := e.Schema != nil && e.Schema.Make != nil
		if number <= b.at.Through && !makes {
			continue
		}
		if e.Table != nil && !makes {
			b.meet(number, &e)
		}
		kept = append(kept, e)
	}
	batch.Events = kept
}

// meet looks at an event of a table; mu is held.
func (b *beginning) meet(number uint64, e *entrain.Event) {
	name := e.Table.String()
	_, now := b.first[name]
	if now || slices.Contains(b.at.Read, name) {
		return
	}
	if e.Op == entrain.OpRead {
		b.first[name] = number
		return
	}
	if e.Op != entrain.OpSchema {
		e.Settling = true
	}
}

// store stores of which tables rows were delivered, as far as they are acknowledged.
// It is for one goroutine.
func (b *beginning) store(ctx context.Context, r *reader, acked uint64) error {
	b.mu.Lock()
	next := b.at
	next.Read = slices.Clone(next.Read)
	for name, number := range b.first {
		if number <= acked {
			next.Read = append(next.Read, name)
		}
	}
	same := len(next.Read) == len(b.at.Read)
	b.mu.Unlock()
	if same {
		return nil
	}
	slices.Sort(next.Read)
	if err := storeBegun(ctx, r.seq, r.src.cursor, next); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = next
	for _, name := range next.Read {
		delete(b.first, name)
	}
	return nil
}
