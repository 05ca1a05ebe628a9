package entraintest

import (
	"math/rand/v2"
	"strconv"

	"github.com/entrainsync/entrain"
)

// workload makes up changes of the standard table that fit each other, on so
// few keys that most of them meet.
type workload struct {
	rnd  *rand.Rand
	rows Rows
}

const workloadKeys = 12

// transaction returns the changes of the next transaction.
func (w *workload) transaction() []entrain.Event {
	events := make([]entrain.Event, 1+w.rnd.IntN(8))
	for i := range events {
		events[i] = w.change()
		if err := w.rows.Apply(&events[i]); err != nil {
			panic("entraintest: a made up change does not fit: " + err.Error())
		}
	}
	return events
}

func (w *workload) change() entrain.Event {
	id := w.rnd.Int64N(workloadKeys)
	if !w.has(id) {
		return std(id, w.cell(), w.cell(), w.number())
	}
	switch roll := w.rnd.IntN(100); {
	case roll < 2:
		return empty()
	case roll < 25:
		return remove(id)
	case roll < 45:
		if to := w.rnd.Int64N(workloadKeys); !w.has(to) {
			return move(id, to, w.maybe(w.cell()), w.maybe(w.cell()), w.maybe(w.number()))
		}
	}
	return set(id, w.maybe(w.cell()), w.maybe(w.cell()), w.maybe(w.number()))
}

func (w *workload) has(id int64) bool { return w.rows[strconv.FormatInt(id, 10)] != nil }

func (w *workload) maybe(c Cell) Cell {
	if w.rnd.IntN(2) == 0 {
		return Unchanged
	}
	return c
}

func (w *workload) cell() Cell {
	if w.rnd.IntN(4) == 0 {
		return Null
	}
	return filler(w.rnd.Uint64(), w.rnd.IntN(30))
}

func (w *workload) number() Cell {
	if w.rnd.IntN(4) == 0 {
		return Null
	}
	return Text(strconv.Itoa(w.rnd.IntN(1000)) + ".50")
}
