package campaign

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
	"github.com/entrainsync/entrain/internal/throwaway"
)

// published is a campaign against a sink that keeps changes in one order.
type published struct {
	sink string // its section
	// fault is what happens to its server; it returns when that is back.
	fault func()
	lines func() string // what a consumer of its own has, in order
}

// killed has the program and the sink's server killed under load, in turn, and looks
// at what a consumer has then: every change once and in order (P1 to P3), and the
// pipeline comes back by itself (P9).
func (p published) killed(t *testing.T, kills int) {
	t.Helper()
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	srv := pgtest.Start(t, someMajor(t), nil)
	s := newSite(t, srv, srv)
	file := writePipeline(t, s.name, fromPostgres(s.source), p.sink)
	program := superviseAs(t, &supervisor{file: file, verb: "run"})
	file.until(t, "streaming", streaming)
	l := &load{url: s.source, seed: seed, writes: 3, pace: 15 * time.Millisecond, bulk: 2 * time.Second, rows: 4000}
	l.start(t)
	for i := range kills {
		wait(t.Context(), time.Duration(50+rng.IntN(1500))*time.Millisecond)
		if i%3 == 2 {
			p.fault()
			continue
		}
		program.kill(t)
	}
	l.stop()
	if last := program.terminate(t); last.code() != exitOK && last.code() != exitEnvironment {
		t.Errorf("after SIGTERM exit code %d: %s", last.code(), tail(last.stderr.String(), 2000))
	}
	launch(t, "run", "--until", "now", file.path).exitWithin(t, 2*patience, exitOK)
	if text := program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	found := wrongLines(p.lines(), h)
	for _, text := range found[:min(len(found), mostFindings)] {
		t.Error(text)
	}
	if len(h.numbered) == 0 || h.changes < 1000 {
		t.Errorf("only %d changes, %d of them numbered", h.changes, len(h.numbered))
	}
	t.Logf("%d changes in %d transactions under %d kills, %d starts", h.changes, h.transactions, kills, program.started())
}

// fewOrMany is how many kills a campaign has.
func fewOrMany() int {
	if wide() {
		return 60
	}
	return 9
}

// TestFanRedis: a sink in Redis has every change once and in order, though Redis and
// the program are killed under load (P1, P2, P3, P9). Redis has the setting that check
// advises: with its default it can have a transaction twice that a kill has torn.
func TestFanRedis(t *testing.T) {
	t.Parallel()
	srv := redistest.StartOwn(t, redisserver.Config{Settings: map[string]string{"aof-load-truncated": "no"}})
	fault := func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := srv.Kill(ctx); err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(ctx); err != nil {
			t.Logf("Redis does not start: %v", err)
			if err := errors.Join(srv.Mend(ctx), srv.Start(ctx)); err != nil {
				t.Fatal(err)
			}
		}
	}
	lines := func() string {
		client := goredis.NewClient(&goredis.Options{Addr: srv.Addr()})
		defer client.Close()
		list, err := client.XRange(t.Context(), "changes", "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		for _, m := range list {
			fmt.Fprintln(&text, m.Values["value"])
		}
		return text.String()
	}
	sink := fmt.Sprintf("{type: redis, url: 'redis://%s/0', stream: changes, message_stream: changes}", srv.Addr())
	published{sink, fault, lines}.killed(t, fewOrMany())
}

// TestFanNATS: the same for a sink in JetStream, whose server is shut down and comes
// back.
func TestFanNATS(t *testing.T) {
	t.Parallel()
	o := server.Options{Host: "127.0.0.1", Port: throwaway.RandomPort(), JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, SyncAlways: true}
	srv := startNATS(t, o)
	t.Cleanup(func() { endNATS(srv) })
	fault := func() {
		endNATS(srv)
		srv = startNATS(t, o)
	}
	url := fmt.Sprintf("nats://127.0.0.1:%d", o.Port)
	lines := func() string { return natsLines(t, url) }
	sink := fmt.Sprintf("{type: nats, url: '%s', subject: 'changes.{source}', message_subject: 'changes.{source}'}", url)
	published{sink, fault, lines}.killed(t, fewOrMany())
}

func startNATS(t *testing.T, o server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		endNATS(s)
		t.Fatal("the NATS server does not start")
	}
	return s
}

func endNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// natsLines are the changes that a consumer gets.
func natsLines(t *testing.T, url string) string {
	t.Helper()
	nc, err := natsgo.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateConsumer(t.Context(), "changes", jetstream.ConsumerConfig{FilterSubject: "changes.>", AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for left := int(c.CachedInfo().NumPending); left > 0; {
		batch, err := c.Fetch(min(left, 1000), jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for m := range batch.Messages() {
			n++
			fmt.Fprintf(&text, "%s\n", m.Data())
		}
		if left -= n; n == 0 {
			t.Fatalf("%d messages are missing: %v", left, batch.Error())
		}
	}
	return text.String()
}
