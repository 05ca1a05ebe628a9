package simulation

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// incarnation of the simulated source's history.
const incarnation = "sim"

// history is everything that was committed at the source: events in one order, and
// where each transaction ends. It is appended to by the scheduler only, while all else
// is blocked.
//
// Those that the pipeline's rules leave out are in it, too; the others are shown to the
// sinks and have a number among themselves, by which the sinks are judged.
type history struct {
	stream entrain.Stream
	table  *entrain.Table
	events []entrain.Event
	of     []int // the transaction of each event
	ends   []int // ends[n] is the number of events after n transactions
	txs    []entrain.Transaction
	keys   int          // how many rows there can be: few, so that changes of one meet
	lives  map[int]bool // keys that have a row

	filters bool  // some events are left out
	number  []int // of each event among those that are shown; -1 if it is not
	shown   []int // the event of each number
	before  []int // before[n] is how many are shown of n transactions
}

func newHistory() *history {
	return &history{
		stream: entrain.Stream{Source: "source", Incarnation: incarnation},
		table:  entraintest.StandardTable(), ends: []int{0}, before: []int{0}, lives: map[int]bool{},
	}
}

// commit adds a transaction with some changes that fit each other.
func (h *history) commit(rng *rand.Rand, changes int, at time.Time) {
	n := uint64(len(h.txs) + 1)
	h.txs = append(h.txs, entrain.Transaction{Stream: &h.stream, ID: 700 + n, Version: 10 * n, CommitTime: at})
	for ordinal := range changes {
		e := h.change(rng)
		e.Ordinal = uint64(ordinal)
		number := -1
		if n := len(h.events); !h.filters || n%11 != 3 {
			number = len(h.shown)
			h.shown = append(h.shown, n)
		}
		h.number = append(h.number, number)
		h.events = append(h.events, e)
		h.of = append(h.of, len(h.txs)-1)
	}
	h.ends, h.before = append(h.ends, len(h.events)), append(h.before, len(h.shown))
}

func (h *history) change(rng *rand.Rand) entrain.Event {
	key := rng.IntN(h.keys)
	id := entraintest.Text(strconv.Itoa(key))
	value := entraintest.Text(strconv.Itoa(len(h.events)))
	switch {
	case !h.lives[key]:
		h.lives[key] = true
		return entraintest.Insert(h.table, id, value, entraintest.Null, entraintest.Null)
	case rng.IntN(4) == 0:
		delete(h.lives, key)
		return entraintest.Delete(h.table, id.Text)
	}
	return entraintest.Update(h.table, id, value, entraintest.Unchanged, entraintest.Null)
}

// position is that after n transactions.
func (h *history) position(n int) entrain.Position {
	return entrain.Position{Incarnation: incarnation, Offset: strconv.Itoa(n)}
}

// transactions returns how many transactions are before a position.
func (h *history) transactions(p entrain.Position) (int, error) {
	if p.IsZero() {
		return 0, nil
	}
	n, err := strconv.Atoi(p.Offset)
	if err != nil || n < 0 || n > len(h.txs) || p.Incarnation != incarnation {
		return 0, fmt.Errorf("position %q of %q is none of the history's", p.Offset, p.Incarnation)
	}
	return n, nil
}

// copied is event i as a batch delivers it, in memory of its own.
func (h *history) copied(i int, tx *entrain.Transaction) entrain.Event {
	e := h.events[i]
	e.Before, e.After, e.Tx = bytes.Clone(e.Before), bytes.Clone(e.After), tx
	return e
}

// find returns the place of an event in the history.
func (h *history) find(version, ordinal uint64) (int, error) {
	tx := int(version/10) - 1
	if version%10 != 0 || tx < 0 || tx >= len(h.txs) || ordinal >= uint64(h.ends[tx+1]-h.ends[tx]) {
		return 0, fmt.Errorf("there is no event %d of a transaction %d", ordinal, version)
	}
	return h.ends[tx] + int(ordinal), nil
}

// index returns the number of an event that sinks are shown, by what it says of itself,
// and looks whether it is as it was committed.
func (h *history) index(e *entrain.Event) (int, error) {
	i, err := h.find(e.Tx.Version, e.Ordinal)
	if err != nil {
		return 0, err
	}
	was := &h.events[i]
	if e.Op != was.Op || !bytes.Equal(e.Before, was.Before) || !bytes.Equal(e.After, was.After) || e.Table == nil || e.Table.Version != was.Table.Version {
		return 0, fmt.Errorf("event %s is not what was committed", e.ID())
	}
	if h.number[i] < 0 {
		return 0, fmt.Errorf("event %s was to be left out", e.ID())
	}
	return h.number[i], nil
}

// named returns the number of an event that sinks are shown by its id.
func (h *history) named(id string) (int, error) {
	var version, ordinal uint64
	if _, err := fmt.Sscanf(id, "source/"+incarnation+"/%d/%d", &version, &ordinal); err != nil {
		return 0, err
	}
	i, err := h.find(version, ordinal)
	if err != nil {
		return 0, err
	}
	return h.number[i], nil
}

// whole reports whether a transaction ends behind the first n events that are shown.
func (h *history) whole(n int) bool {
	return n == len(h.shown) || n == 0 || h.of[h.shown[n-1]] != h.of[h.shown[n]]
}

// leaveOut is the pipeline's rules; see [pipeline.Options].
func (h *history) leaveOut(b *entrain.Batch) (*entrain.Batch, error) {
	kept := make([]entrain.Event, 0, len(b.Events))
	for i := range b.Events {
		n, err := h.find(b.Events[i].Tx.Version, b.Events[i].Ordinal)
		if err != nil {
			return nil, err
		}
		if h.number[n] >= 0 {
			kept = append(kept, b.Events[i])
		}
	}
	return &entrain.Batch{
		Events: kept, Through: b.Through, Filtered: b.Filtered + len(b.Events) - len(kept), Bytes: b.Bytes, Free: b.Free,
	}, nil
}
