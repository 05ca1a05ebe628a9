package campaign

import (
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// The checkers catch each planted bug of the data path within seconds, and none
// where there is none (P1 to P4).
func TestMutantsAreCaught(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), nil)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			began := time.Now()
			var found []string
			for run := 0; run < mutantRuns && len(found) == 0 && (run == 0 || m.name != "none"); run++ {
				found = shortCampaign(t, newSite(t, srv, srv), m.alter)
			}
			switch {
			case m.name == "none" && len(found) > 0:
				t.Errorf("found wrongly: %q", found)
			case m.name != "none" && len(found) == 0:
				t.Error("not caught")
			}
			t.Logf("after %s: %.300q", time.Since(began).Round(100*time.Millisecond), found)
		})
	}
}
