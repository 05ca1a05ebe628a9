package campaign

import (
	"context"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// brokerCampaign: the broker is killed under load and comes back with what it had.
// What it confirmed is delivered (P1), once (P2), and both halves come back by
// themselves, before it is killed again (P9).
func brokerCampaign(t testing.TB, r *Trial) {
	broker := kafkatest.StartOwn(t, kafkaserver.Config{})
	srv := pgtest.Start(t, r.Major, nil)
	s := newSite(t, srv, srv)
	pgtest.Exec(t, s.source, "ALTER TABLE moved REPLICA IDENTITY FULL")
	f := newFleet(t, r, s, broker.Addr()).split(3)
	f.capture("snapshot: {mode: never}")
	f.captures[0].file.until(t, "the capture streams", streaming)
	f.work(2)
	l := &load{url: s.source, seed: f.rng.Uint64(), writes: 2, pace: 20 * time.Millisecond, bulk: 3 * time.Second, rows: 4000, keeps: true, follow: s.target}
	l.start(t)
	r.harm(t, func(int) bool {
		wait(t.Context(), time.Second+time.Duration(f.rng.Int64N(int64(3*time.Second))))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if err := broker.Kill(ctx); err != nil {
			t.Fatal(err)
		}
		if err := broker.Start(ctx); err != nil {
			t.Fatal(err)
		}
		r.happened("SIGKILL of the broker")
		f.moves()
		return true
	})
	wait(t.Context(), 2*time.Second)
	l.stop()
	f.judge()
}
