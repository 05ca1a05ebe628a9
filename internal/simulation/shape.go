package simulation

import (
	"fmt"
	"strings"
	"time"

	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// shape says which ends are joined how, and what goes wrong how often.
type shape struct {
	kinds  []kind // of the sinks: one is fed directly, several by a stream
	stream bool
	rates  rate

	buffer, batch  int // bytes
	attempt        time.Duration
	circuit        bool
	filters        bool
	keys           int
	messages, room int // bytes of a message of the stream, and of all; 0: no bound
	retention      time.Duration
}

// rate is how many of a thousand steps are what; the others are operations, of which so
// many fail.
type rate struct{ kill, stop, commit, pass, confirm, fault int }

// String names the ends.
func (s shape) String() string {
	var names []string
	for _, k := range s.kinds {
		names = append(names, kindNames[k])
	}
	text := strings.Join(names, ", ")
	if s.stream {
		return fmt.Sprintf("stream of %d bytes to sinks: %s", s.room, text)
	}
	return "sink: " + text
}

// build draws the shape and makes what is durable.
func (w *world) build() {
	rng := w.rng
	one := func(of ...int) int { return of[rng.IntN(len(of))] }
	w.shape = shape{
		stream: rng.IntN(5) < 2,
		rates: rate{
			kill: one(0, 2, 6, 15), stop: one(0, 1, 4), commit: one(60, 150, 250), pass: one(10, 50, 120), confirm: one(5, 60),
			fault: one(0, 5, 20, 60),
		},
		buffer: one(1, 700, 4000, 1<<20), batch: one(1, 500, 3000, 1<<20),
		attempt: time.Duration(one(0, 0, 2)) * time.Second, circuit: rng.IntN(4) == 0, filters: rng.IntN(3) == 0, keys: one(9, 9, 60),
		messages: one(4<<10, 4<<10, 1<<20), room: one(0, 0, 96<<10),
		retention: time.Duration(one(0, 0, 20)) * time.Second,
	}
	w.shape.kinds = []kind{kind(rng.IntN(len(kindNames)))}
	if w.shape.stream {
		for range rng.IntN(3) {
			w.shape.kinds = append(w.shape.kinds, kind(rng.IntN(len(kindNames))))
		}
		w.sequence = newSequence(w)
	}
	for n, k := range w.shape.kinds {
		w.targets = append(w.targets, &target{
			w: w, name: fmt.Sprintf("%s%d", kindNames[k], n), kind: k, last: -1,
			kept: map[int]bool{}, store: store{keys: map[string]string{}},
		})
		if k == kindPosition && rng.IntN(2) == 0 {
			w.targets[n].office = &office{
				rules: parking.Rules{Unit: parking.Unit(rng.IntN(2)), Attempts: 1 + rng.IntN(2)}, sifts: rng.IntN(3) > 0,
				letters: map[int]parking.Letter{}, first: map[string]int{}, txs: map[int]bool{},
			}
		}
	}
	w.history.filters, w.history.keys = w.shape.filters, w.shape.keys
	w.source = &source{}
}

// options are those of a pipeline of the shape.
func (s *shape) options() pipeline.Options {
	o := pipeline.Options{
		BufferBytes: s.buffer, BatchBytes: s.batch,
		// Jitter is what the seed does not decide.
		Retry: pipeline.Retry{Steady: true, Attempt: s.attempt},
	}
	if s.circuit {
		o.Circuit = pipeline.NewCircuit(pipeline.CircuitRules{Failures: 2, Open: 5 * time.Second})
	}
	return o
}
