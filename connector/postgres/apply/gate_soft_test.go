package apply

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSoftDeletedValues: a row that is marked as deleted has the values that it had last,
// wherever batches are cut, through a gate and without one: changes that leave columns
// out, new keys, truncates, keys that are inserted again. Behind a gate some of what was
// applied comes again in between, in its order or in any, and changes nothing.
func TestSoftDeletedValues(t *testing.T) {
	for _, soft := range []string{"gone_at", "gone"} {
		t.Run(soft+" with a gate", func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) { softDeletes(t, url, SoftDelete{Column: soft}, newGateFeed) })
		})
		t.Run(soft+" without", func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) { softDeletes(t, url, SoftDelete{Column: soft}, nil) })
		})
	}
}

func softDeletes(t *testing.T, url string, soft SoftDelete, gated func(testing.TB, string, Config) *gateFeed) {
	for seed := range uint64(8) {
		pgtest.Exec(t, url, `DROP TABLE IF EXISTS g; DROP SCHEMA IF EXISTS entrain CASCADE;`+softSQL)
		s := &softHistory{rnd: rand.New(rand.NewPCG(seed, 6)), g: withoutMarks(describe(t, url, "public", "g")), rows: map[string]string{}}
		var f *feed
		if s.replays = gated != nil; s.replays {
			f = gated(t, url, Config{SoftDelete: soft}).feed
		} else {
			f = softFeed(t, url, soft.Column)
		}
		s.deliver(t, f)
		f.w.Close()
	}
}

// softHistory draws changes of a table's rows, and knows what they leave.
type softHistory struct {
	rnd     *rand.Rand
	g       *entrain.Table
	rows    map[string]string // by key: a/b, or †a/b of a deleted row
	work    []entrain.Event   // what was delivered
	version uint64
	values  int
	replays bool
}

func (s *softHistory) deliver(t *testing.T, f *feed) {
	t.Helper()
	write := func(events []entrain.Event) {
		f.seq++
		if err := f.w.writeBulk(t.Context(), &entrain.Batch{Events: events, Through: position(f.seq)}); err != nil {
			t.Fatal(err)
		}
		f.w.planner.Reset()
		f.w.stepper.Reset()
	}
	for range 25 {
		events := s.draw(1 + s.rnd.IntN([]int{3, 12, 80}[s.rnd.IntN(3)]))
		write(events)
		s.work = append(s.work, events...)
		s.compare(t, f, "forward")
		if s.replays && s.rnd.IntN(2) == 0 {
			from := s.rnd.IntN(len(s.work))
			again := slices.Clone(s.work[from:min(len(s.work), from+1+s.rnd.IntN(60))])
			if s.rnd.IntN(2) == 0 {
				s.rnd.Shuffle(len(again), func(i, k int) { again[i], again[k] = again[k], again[i] })
			}
			write(again)
			s.compare(t, f, "again")
		}
	}
}

func (s *softHistory) compare(t *testing.T, f *feed, what string) {
	t.Helper()
	got := map[string]string{}
	for _, r := range pgtest.Query(t, f.url, markedRowsSQL) {
		got[r[0]] = r[1]
	}
	if !maps.Equal(got, s.rows) {
		t.Fatalf("%s, behind version %d: the target has\n%v, want\n%v", what, s.version, got, s.rows)
	}
}

// draw makes n changes of a few keys, some a transaction.
func (s *softHistory) draw(n int) []entrain.Event {
	var events []entrain.Event
	for ordinal := uint64(0); len(events) < n; ordinal++ {
		if len(events) == 0 || s.rnd.IntN(3) == 0 {
			s.version, ordinal = s.version+1, 0
		}
		events = append(events, at(s.version, ordinal, s.change()))
	}
	return events
}

func (s *softHistory) value() string {
	s.values++
	return strconv.Itoa(s.values)
}

func (s *softHistory) change() entrain.Event {
	key, a, b := strconv.Itoa(s.rnd.IntN(14)), s.value(), s.value()
	row := s.rows[key]
	kind := s.rnd.IntN(80)
	switch {
	case kind == 0:
		for key, row := range s.rows {
			s.rows[key] = "†" + strings.TrimPrefix(row, "†")
		}
		return truncate(s.g)
	case live(row) == "":
		s.rows[key] = a + "/" + b
		return ins(s.g, key, a, b)
	case kind < 25:
		s.rows[key] = "†" + row
		return del(s.g, key)
	case kind < 35:
		if to := strconv.Itoa(s.rnd.IntN(14)); live(s.rows[to]) == "" {
			delete(s.rows, key)
			s.rows[to] = a + "/" + b
			return rekey(s.g, key, to, a, b)
		}
	case kind < 55:
		_, old, _ := strings.Cut(row, "/")
		s.rows[key] = a + "/" + old
		return upd(s.g, key, a, "~")
	}
	s.rows[key] = a + "/" + b
	return upd(s.g, key, a, b)
}

// TestGateSoftDeletesLate: what is older than a delete neither brings its row back nor
// changes it; what is newer takes the mark away, if it has the whole row.
func TestGateSoftDeletesLate(t *testing.T) {
	for _, soft := range []string{"gone_at", "gone"} {
		t.Run(soft, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, softSQL)
				g := withoutMarks(describe(t, url, "public", "g"))
				f := newGateFeed(t, url, Config{SoftDelete: SoftDelete{Column: soft}})
				want := func(rows ...string) {
					t.Helper()
					var got []string
					for _, r := range pgtest.Query(t, url, markedRowsSQL) {
						got = append(got, r[0]+" "+r[1])
					}
					if !slices.Equal(got, rows) {
						t.Errorf("rows %v, want %v", got, rows)
					}
				}
				f.send(at(10, 0, ins(g, "1", "a", "b")), at(20, 0, upd(g, "1", "a2", "~")), at(30, 0, del(g, "1")))
				want("1 †a2/b")
				f.send(at(15, 0, upd(g, "1", "x", "y")), at(16, 0, upd(g, "1", "x", "~")), at(17, 0, ins(g, "1", "x", "y")))
				want("1 †a2/b")
				f.send(at(40, 0, upd(g, "1", "z", "~"))) // its insert is to come
				want("1 †a2/b")
				f.send(at(42, 0, upd(g, "1", "c", "d")))
				want("1 c/d")
				f.send(at(41, 0, ins(g, "1", "x", "y"))) // that insert
				want("1 c/d")
				f.send(at(50, 0, del(g, "1")), at(60, 0, rekey(g, "1", "2", "k", "k"))) // so is this one's
				want("2 k/k")
				f.send(at(55, 0, ins(g, "1", "x", "y")), at(58, 0, del(g, "1")))
				want("2 k/k")
				f.send(at(70, 0, ins(g, "3", "m", "n")))
				f.send(at(65, 0, ins(g, "4", "o", "p")), at(66, 0, rekey(g, "4", "5", "q", "r")), at(67, 0, del(g, "5")))
				want("2 k/k", "3 m/n", "5 †q/r")
				f.send(at(80, 0, truncate(g)))
				want("2 †k/k", "3 †m/n", "5 †q/r")
				f.send(at(90, 0, upd(g, "3", "z", "~"))) // its insert is to come, too
				want("2 †k/k", "3 †m/n", "5 †q/r")
				queue := []string{"15.0 update 1 stale 30.0", "16.0 update 1 stale 30.0", "17.0 insert 1 stale 30.0", "40.0 update 1 missing 30.0",
					"41.0 insert 1 stale 42.0", "55.0 insert 1 stale 60.0", "58.0 delete 1 stale 60.0", "90.0 update 3 missing 80.0"}
				wantQueue(t, url, strings.Join(queue, "\n"))
				if n := len(queue); f.w.Counts()["queued"] != int64(n) {
					t.Error(fmt.Sprint(f.w.Counts()))
				}
			})
		})
	}
}
