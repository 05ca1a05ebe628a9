package redis

import (
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
	"github.com/entrainsync/entrain/stream"
)

// TestStream: the log keeps the contracts of a stream (P1 to P6) on a real server.
func TestStream(t *testing.T) {
	var place Server
	var lose atomic.Bool
	entraintest.TestStream(t, entraintest.StreamHarness{
		New: func(t testing.TB) { place = at(t) },
		Log: func(t testing.TB, c entraintest.StreamConfig) stream.Log {
			s, err := place.parse()
			if err != nil {
				t.Fatal(err)
			}
			cfg := Config{Server: place, Producer: c.Producer, MaxBytes: c.MaxBytes, MessageBytes: 64 << 10, Every: 50 * time.Millisecond}
			l, err := cfg.over(losing{&backend{s}, &lose})
			if err != nil {
				t.Fatal(err)
			}
			if c.Cursors != nil {
				l.Cursors(c.Cursors)
			}
			return l
		},
		Parts:      true,
		Remake:     func(t testing.TB) { removeAll(t, place) },
		LoseAnswer: func(testing.TB) { lose.Store(true) },
		Quota:      4 << 20,
		Rows:       3000,
	})
}

func removeAll(t testing.TB, s Server) {
	t.Helper()
	c := admin(t, s)
	keys, err := c.Keys(t.Context(), s.Prefix+":*").Result()
	if err == nil && len(keys) > 0 {
		err = c.Del(t.Context(), keys...).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeTxs writes the transactions of some numbers.
func writeTxs(t testing.TB, w entrain.Writer, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		if err := writeTx(t.Context(), w, n); err != nil {
			t.Fatal(err)
		}
	}
}

// readTo reads up to the transaction of a number and returns the position behind it.
func readTo(t testing.TB, r entrain.Reader, last int) entrain.Position {
	t.Helper()
	for {
		b, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if len(b.Events) > 0 {
			n = int(b.Events[len(b.Events)-1].Tx.Version)
		}
		b.Free()
		if n == last && !b.Through.IsZero() {
			return b.Through
		}
	}
}

// TestLostTail: a reader that has had messages which the server lost does not go on
// behind what came in their place, however many that is; one that has not had them does.
func TestLostTail(t *testing.T) {
	srv := redistest.StartOwn(t, redisserver.Config{Settings: map[string]string{"appendonly": "no"}})
	place := Server{URL: "redis://" + srv.Addr(), Durability: "relaxed"}
	l, c := newLog(t, place), admin(t, place)
	w, _ := opened(t, l)
	writeTxs(t, w, 1, 5)
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	early := readTo(t, r, 3)
	if err := c.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	writeTxs(t, w, 6, 9)
	late := readTo(t, r, 8)
	r.Close()
	startAgain(t, srv)
	if err := writeTx(t.Context(), w, 10); err == nil {
		t.Error("a session goes on with a server that was started again")
	}
	_, err = l.Read("c", "shop").Open(t.Context(), late)
	wantStop(t, err, "stream_recreated")
	w, back := opened(t, l)
	if back.Offset != "5" {
		t.Errorf("the writer goes on behind %s, the server had kept 5", back)
	}
	writeTxs(t, w, 6, 30)
	_, err = l.Read("c", "shop").Open(t.Context(), late)
	if stop := wantStop(t, err, "stream_recreated"); !stop.Lost {
		t.Error("the stop does not say that what is missing is lost")
	}
	r, err = l.Read("c", "shop").Open(t.Context(), early)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	readTo(t, r, 30)
}

// TestLostAll: a server that lost everything is another stream.
func TestLostAll(t *testing.T) {
	srv := redistest.StartOwn(t, redisserver.Config{Settings: map[string]string{"appendonly": "no"}})
	place := Server{URL: "redis://" + srv.Addr(), Durability: "relaxed"}
	l := newLog(t, place)
	w, _ := opened(t, l)
	writeTxs(t, w, 1, 3)
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	from := readTo(t, r, 2)
	defer r.Close()
	startAgain(t, srv)
	w, back := opened(t, l)
	if !back.IsZero() {
		t.Errorf("the writer goes on behind %s in an empty stream", back)
	}
	writeTxs(t, w, 1, 9)
	_, err = l.Read("c", "shop").Open(t.Context(), from)
	wantStop(t, err, "stream_recreated")
}

// TestRemovedMeanwhile: a reader and a writer whose stream is removed, or made anew
// behind their backs, end their sessions.
func TestRemovedMeanwhile(t *testing.T) {
	place := at(t)
	l := newLog(t, place)
	w, _ := opened(t, l)
	writeTxs(t, w, 1, 2)
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	from := readTo(t, r, 2)
	removeAll(t, place)
	if _, err := r.Read(t.Context()); !entrain.IsRetryable(err) {
		t.Errorf("the reader says %v", err)
	}
	if err := writeTx(t.Context(), w, 3); !entrain.IsRetryable(err) {
		t.Errorf("the writer says %v", err)
	}
	w, _ = opened(t, l)
	writeTxs(t, w, 1, 9)
	_, err = l.Read("c", "shop").Open(t.Context(), from)
	wantStop(t, err, "stream_recreated")
	if err := admin(t, place).Del(t.Context(), place.Prefix+":values:shop").Err(); err != nil {
		t.Fatal(err)
	}
	_, err = l.Open(t.Context())
	wantStop(t, err, "stream_damaged")
}

// TestForeign: a key of another program is left alone.
func TestForeign(t *testing.T) {
	place := at(t)
	c := admin(t, place)
	if err := c.Set(t.Context(), place.Prefix+":log:shop", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := newLog(t, place).Open(t.Context())
	wantStop(t, err, "redis_foreign")
	if err := c.Del(t.Context(), place.Prefix+":log:shop").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), "XADD", place.Prefix+":log:shop", "*", "a", "b").Err(); err != nil {
		t.Fatal(err)
	}
	_, err = newLog(t, place).Open(t.Context())
	wantStop(t, err, "redis_foreign")
}

var takeOut = regexp.MustCompile(`redis-cli [^;]* (XRANGE|XDEL) [^;]*`)

// TestForeignEntry: an entry that another program puts into the stream stops writer and
// reader with its id; what the stop prints shows it and takes it out, and all goes on
// without a gap, though the ids that the server gives out are larger than ours.
func TestForeignEntry(t *testing.T) {
	place := at(t)
	c, l := admin(t, place), newLog(t, place)
	w, _ := opened(t, l)
	writeTxs(t, w, 1, 2)
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	from := readTo(t, r, 2)
	id, err := c.XAdd(t.Context(), &goredis.XAddArgs{Stream: place.Prefix + ":log:shop", Values: []any{"hello", "world"}}).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeTx(t.Context(), w, 3); !entrain.IsRetryable(err) {
		t.Fatalf("the writer goes on behind it: %v", err)
	}
	again, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	_, err = again.(entrain.Positioner).Position(t.Context())
	stop := wantStop(t, err, "stream_foreign")
	_, err = r.Read(t.Context())
	if other := wantStop(t, err, "stream_foreign"); other.Next != stop.Next || !strings.Contains(other.What, id) {
		t.Errorf("the reader says %v, the writer %v", other, stop)
	}
	commands := takeOut.FindAllString(stop.Next, -1)
	if len(commands) != 2 {
		t.Fatalf("the advice is %s", stop.Next)
	}
	runAdvice(t, place, strings.Join(commands, "; "))
	w, _ = opened(t, l)
	writeTxs(t, w, 3, 4)
	if r, err = l.Read("c", "shop").Open(t.Context(), from); err != nil {
		t.Fatal(err)
	}
	readTo(t, r, 4)
	r.Close()
	all, err := l.Read("d", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	readTo(t, all, 4)
}

// TestFootprint: what is counted of messages is about what they take.
func TestFootprint(t *testing.T) {
	for _, size := range []int{200, 3000, 5000, 64 << 10, 300 << 10, 520 << 10} {
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			place := at(t)
			s, err := place.parse()
			if err != nil {
				t.Fatal(err)
			}
			q, err := (&backend{s}).Open(t.Context(), "shop")
			if err != nil {
				t.Fatal(err)
			}
			defer q.Close()
			var last uint64
			for range max(20, 1<<20/size) {
				if _, last, err = q.Tail.Append(t.Context(), last, [][]byte{make([]byte, size)}); err != nil {
					t.Fatal(err)
				}
			}
			stat, err := q.State.Stat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			used, err := admin(t, place).MemoryUsage(t.Context(), place.Prefix+":log:shop", 0).Result()
			if err != nil {
				t.Fatal(err)
			}
			ratio := float64(stat.Bytes) / float64(used)
			if ratio < 0.9 || ratio > 1.3 {
				t.Errorf("%d bytes are counted, %d are used", stat.Bytes, used)
			}
			t.Logf("counted by used: %.2f", ratio)
		})
	}
}

// TestFullMemory: a server whose memory is full makes a writer wait, and its readers
// make room: nothing is lost and nobody has to help.
func TestFullMemory(t *testing.T) {
	srv := redistest.StartOwn(t, redisserver.Config{Settings: map[string]string{"maxmemory": "12mb"}})
	place := Server{URL: "redis://" + srv.Addr()}
	l := newLog(t, place)
	l.Cursors([]string{"c"})
	w, _ := opened(t, l)
	const transactions = 400
	written := make(chan error, 1)
	go func() {
		for n := 1; n <= transactions; n++ {
			if err := writeTx(t.Context(), w, n); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	waitFull(t, admin(t, place), written)
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := 0; n < transactions; {
		b, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Events) > 0 {
			n = int(b.Events[len(b.Events)-1].Tx.Version)
		}
		b.Free()
		if b.Through.IsZero() {
			continue
		}
		if err := r.Ack(t.Context(), b.Through); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// waitFull returns when the server has refused a write for want of memory.
func waitFull(t testing.TB, c *goredis.Client, written <-chan error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-written:
			t.Fatalf("the writer ended although nobody reads: %v", err)
		case <-tick.C:
		}
		text, err := c.Info(t.Context(), "errorstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, "errorstat_OOM:") {
			return
		}
	}
	t.Fatal("the memory does not become full")
}
