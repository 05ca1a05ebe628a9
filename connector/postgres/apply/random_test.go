package apply

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSinkRandomHistories proves P1 and P3 end to end: random transactions on
// tables with references, a unique column and late constraints, in random
// batches, leave the target as the same statements one by one left a twin.
func TestSinkRandomHistories(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE p (id int4 PRIMARY KEY, u int4 UNIQUE); 
			CREATE TABLE c (id int4 PRIMARY KEY, p int4 REFERENCES p, v text)`)
		p, c := describe(t, url, "public", "p"), describe(t, url, "public", "c")
		for seed := range uint64(6) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			pgtest.Exec(t, url, `TRUNCATE p, c`)
			h := newHistoryOf(rnd, p, c)
			work := h.draw(150)
			f := newFeed(t, url)
			for len(work) > 0 {
				n := min(len(work), 1+rnd.IntN(40))
				if rnd.IntN(2) == 0 {
					f.write(work[:n]...)
				} else {
					f.bulk(work[:n]...)
				}
				work = work[n:]
			}
			f.w.Close()
			wantRows(t, url, `SELECT id, u FROM p ORDER BY id`, h.parents())
			wantRows(t, url, `SELECT id, coalesce(p::text, '-'), v FROM c ORDER BY id`, h.children())
			if f.w.Counts()["missing"] != 0 {
				t.Errorf("seed %d: rows were missing", seed)
			}
		}
	})
}

// tableHistory makes transactions on two tables that a database takes, and
// knows what they leave behind.
type tableHistory struct {
	rnd    *rand.Rand
	ids    int // keys that rows have
	p, c   *entrain.Table
	parent map[int]int
	child  map[int][2]string // parent or "-", value
}

func newHistoryOf(rnd *rand.Rand, p, c *entrain.Table) *tableHistory {
	return &tableHistory{rnd: rnd, ids: 15, p: p, c: c, parent: map[int]int{}, child: map[int][2]string{}}
}

func (h *tableHistory) draw(transactions int) [][]entrain.Event {
	var work [][]entrain.Event
	for range transactions {
		var events []entrain.Event
		for range 1 + h.rnd.IntN(5) {
			if e, ok := h.event(); ok {
				events = append(events, e)
			}
		}
		work = append(work, events)
	}
	return work
}

func (h *tableHistory) event() (entrain.Event, bool) {
	id, other := h.rnd.IntN(h.ids), h.rnd.IntN(h.ids)
	if h.rnd.IntN(2) == 0 {
		return h.parentEvent(id, other)
	}
	return h.childEvent(id, other)
}

func (h *tableHistory) used(parent int) bool {
	for _, row := range h.child {
		if row[0] == fmt.Sprint(parent) {
			return true
		}
	}
	return false
}

func (h *tableHistory) parentEvent(id, u int) (entrain.Event, bool) {
	old, exists := h.parent[id]
	for _, taken := range h.parent {
		if taken == u && !(exists && old == u) {
			return entrain.Event{}, false
		}
	}
	key, value := fmt.Sprint(id), fmt.Sprint(u)
	switch kind := h.rnd.IntN(4); {
	case !exists:
		h.parent[id] = u
		return ins(h.p, key, value), true
	case kind == 0 && !h.used(id):
		delete(h.parent, id)
		return del(h.p, key), true
	case kind == 1 && !h.used(id):
		if _, taken := h.parent[u+20]; taken {
			return entrain.Event{}, false
		}
		delete(h.parent, id)
		h.parent[u+20] = old
		return rekey(h.p, key, fmt.Sprint(u+20), "~"), true
	}
	h.parent[id] = u
	return upd(h.p, key, value), true
}

func (h *tableHistory) childEvent(id, parent int) (entrain.Event, bool) {
	row, exists := h.child[id]
	key, ref, value := fmt.Sprint(id), fmt.Sprint(parent), fmt.Sprint("v", h.rnd.IntN(100))
	if _, there := h.parent[parent]; !there {
		ref = "-"
	}
	cell := strings.Replace(ref, "-", "∅", 1)
	switch kind := h.rnd.IntN(4); {
	case !exists:
		h.child[id] = [2]string{ref, value}
		return ins(h.c, key, cell, value), true
	case kind == 0:
		delete(h.child, id)
		return del(h.c, key), true
	case kind == 1:
		h.child[id] = [2]string{ref, row[1]}
		return upd(h.c, key, cell, "~"), true
	}
	h.child[id] = [2]string{ref, value}
	return upd(h.c, key, cell, value), true
}

func (h *tableHistory) parents() string {
	var ids []int
	for id := range h.parent {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var lines []string
	for _, id := range ids {
		lines = append(lines, fmt.Sprintf("%d|%d", id, h.parent[id]))
	}
	return strings.Join(lines, "\n")
}

func (h *tableHistory) children() string {
	var ids []int
	for id := range h.child {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	var lines []string
	for _, id := range ids {
		lines = append(lines, fmt.Sprintf("%d|%s|%s", id, h.child[id][0], h.child[id][1]))
	}
	return strings.Join(lines, "\n")
}
