package campaign

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

// TestFanRedis: changes flow through a stream in Redis into two databases, a file and
// streams of the same Redis, while the binary and the Redis are killed: each has
// everything once and in order (P1 to P4, P9).
func TestFanRedis(t *testing.T) {
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	srv := redistest.StartOwn(t, redisserver.Config{})
	url := "redis://" + srv.Addr()
	f := smallFan(t, fmt.Sprintf("stream: {type: redis, url: %q}", url))
	f.addSink(t, fmt.Sprintf("{name: streams, type: redis, url: %q, stream: \"{schema}.{table}\"}", url))
	p := startFan(t, f)
	orders := 1
	for round := range 12 {
		orders = f.flood(t, orders, 1+rng.IntN(2))
		addOrders(t, f.source, orders+1, orders+3)
		orders += 3
		if round%2 == 0 {
			p.kill()
			p = launch(t, "run", f.file.path)
			continue
		}
		if err := srv.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	haveOrders(t, f.one, orders)
	haveOrders(t, f.two, orders)
	f.wantLines(t, orders)
	f.wantEntries(t, url, orders)
	f.same(t, f.one)
	f.same(t, f.two)
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
	t.Logf("%d orders", orders)
}

// wantEntries finds what is missing or double in the stream of orders: 1 to n, in order.
func (f *fan) wantEntries(t *testing.T, url string, n int) {
	t.Helper()
	o, err := goredis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	defer c.Close()
	var list []goredis.XMessage
	pgtest.Eventually(t, patience, fmt.Sprintf("%d entries are there", n), func() bool {
		list, err = c.XRange(t.Context(), "public.orders", "-", "+").Result()
		return err == nil && len(list) >= n
	})
	next := 1
	for _, m := range list {
		if m.Values["op"] != "insert" {
			continue
		}
		var key struct{ ID int }
		if err := json.Unmarshal([]byte(fmt.Sprint(m.Values["key"])), &key); err != nil || key.ID != next {
			t.Fatalf("in the place of order %d: %v", next, m.Values)
		}
		next++
	}
	if next != n+1 {
		t.Errorf("%d entries of inserted orders; want %d", next-1, n)
	}
}

// addSink puts a further sink into the pipeline's file.
func (f *fan) addSink(t *testing.T, section string) {
	t.Helper()
	text := readText(t, f.file.path)
	if err := os.WriteFile(f.file.path, []byte(strings.Replace(text, "sinks: [", "sinks: ["+section+", ", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
