package campaign

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestTeardownKilled: a teardown that is killed again and again, in the middle of any of
// its steps, is completed by the next one: nothing is left that nobody would find (CO-16).
func TestTeardownKilled(t *testing.T) {
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 16))
	rounds := 3
	if wide() {
		rounds = 30
	}
	f := smallFan(t, embedded(""))
	for n := range rounds {
		addOrders(t, f.source, 100*n+1, 100*n+100)
		launch(t, "run", "--until", "now", f.file.path).exit(t, exitOK)
		kills := 0
		for completed := false; !completed; {
			p := launch(t, "teardown", "--yes", f.file.path)
			select {
			case <-p.ended:
			case <-time.After(time.Duration(rng.Int64N(int64(150 * time.Millisecond)))):
				p.kill()
				kills++
			}
			<-p.ended
			completed = p.code() == exitOK
			if code := p.code(); code != exitOK && code != -1 {
				t.Fatalf("round %d, behind %d kills: the teardown ended with %d: %s", n, kills, code, &p.stderr)
			}
		}
		t.Logf("round %d: %d kills", n, kills)
		const left = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()) || ' ' || (SELECT count(*) FROM pg_publication) || ' ' || (SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain')"
		for _, url := range []string{f.source, f.one, f.two} {
			if got := pgtest.QueryOne(t, url, left); got != "0 0 0" {
				t.Errorf("round %d: left are %s slots, publications and schemas", n, got)
			}
		}
		if _, err := os.Stat(f.file.state()); !os.IsNotExist(err) {
			entries, _ := os.ReadDir(f.file.state())
			t.Errorf("round %d: the state is left: %v, %v", n, err, entries)
		}
		pgtest.Exec(t, f.one, "TRUNCATE orders")
		pgtest.Exec(t, f.two, "TRUNCATE orders")
		if err := os.Remove(f.lines); err != nil {
			t.Fatal(err)
		}
	}
}
