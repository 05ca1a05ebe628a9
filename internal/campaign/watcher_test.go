package campaign

import (
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// A transfer that is torn for a moment only is seen.
func TestWatcherSeesATornTransfer(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	s := newSite(t, srv, srv)
	w := watch(t, s.target, 2)
	enough := func(n int64) func() bool {
		return func() bool { reads, _ := w.looked(); return reads >= n }
	}
	pgtest.Eventually(t, patience, "some reads", enough(5))
	if found := w.findings(); len(found) > 0 {
		t.Fatalf("found wrongly: %v", found)
	}
	pgtest.Exec(t, s.target, "UPDATE account_1 SET balance = balance - 7 WHERE id = 3")
	reads, _ := w.looked()
	pgtest.Eventually(t, patience, "more reads", enough(reads+4))
	pgtest.Exec(t, s.target, "UPDATE account_4 SET balance = balance + 7 WHERE id = 3")
	if len(w.findings()) == 0 {
		t.Fatal("a transfer that was torn for some reads was not seen")
	}
}
