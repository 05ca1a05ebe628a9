package apply

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestGateValues: late changes of tables with keys of several columns, long ones,
// identities, generated columns, domains, enums and lengths.
func TestGateValues(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> 'no');
			CREATE TABLE g (a int8 GENERATED ALWAYS AS IDENTITY, k text, v varchar(3), m mood, s short, d int8 GENERATED ALWAYS AS (a * 2) STORED, own text DEFAULT 'own', PRIMARY KEY (a, k))`)
		g := describe(t, url, "public", "g")
		kept := g.Columns[:0]
		for _, c := range g.Columns {
			if c.Name != "own" {
				c.Type = strings.TrimPrefix(c.Type, "public.")
				kept = append(kept, c)
			}
		}
		g.Columns = kept
		long := strings.Repeat("k,\\", 700)
		f := newGateFeed(t, url, Config{})
		f.send(at(90, 0, ins(g, "9", "x", "v", "ok", "s")))
		f.send(at(10, 0, ins(g, "1", long, "new", "ok", "s")), at(12, 0, upd(g, "1", long, "old", "bad", "t")), at(11, 0, upd(g, "1", long, "x", "bad", "t")),
			at(13, 0, ins(g, "2", "a,b", "∅", "∅", "∅")), at(14, 0, upd(g, "2", "a,b", "~", "ok", "u")), at(15, 0, upd(g, "2", "a\\,b", "y", "ok", "u")), at(16, 0, del(g, "9", "x")))
		wantRows(t, url, `SELECT a, left(k, 3), coalesce(v, '-'), m, s, d, own FROM g ORDER BY 1, k`,
			"1|k,\\|old|bad|t|2|own\n2|a,b|-|ok|u|4|own\n2|a\\,|y|ok|u|4|own\n9|x|v|ok|s|18|own")
		wantRows(t, url, `SELECT version, reason, left(key, 2), length(key) FROM entrain.reconciliation ORDER BY 1`, "11|stale|\\#|66\n16|stale|9,|3")
		wantCounts(t, f.w, map[string]int64{"inserted": 3, "updated": 3, "deleted": 0, "late": 7, "queued": 2})
		stop := wantStop(t, f.sendErr(at(20, 0, upd(g, "3", "k", "long", "ok", "s"))), "row_refused")
		if !strings.Contains(stop.Error(), "varying(3)") {
			t.Errorf("a value that is too long: %v", stop)
		}
	})
}

// TestFamily: partitions of a stream share what the gate knows, whatever they are called.
func TestFamily(t *testing.T) {
	for delivery, want := range map[string]string{
		"shop": "shop", "shop:copy": "shop:copy", "shop:copy:db-changes/5": "shop:copy", "shop:copy:other": "shop:copy",
	} {
		if got := family(delivery); got != want {
			t.Errorf("family of %s is %s, want %s", delivery, got, want)
		}
	}
}
