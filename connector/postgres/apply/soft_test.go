package apply

import (
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestSoftDelete: without a gate, too, a delete marks its row, one by one and in sets,
// and an insert of the key takes the mark away.
func TestSoftDelete(t *testing.T) {
	for column, marked := range map[string]string{"gone_at": "gone_at IS NOT NULL", "gone": "gone"} {
		t.Run(column, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, `CREATE TABLE g (id int4 PRIMARY KEY, a text, gone_at timestamptz, gone bool)`)
				g := describe(t, url, "public", "g")
				g.Columns = g.Columns[:2]
				g.Version = g.Fingerprint()
				f := softFeed(t, url, column)
				for _, write := range []func(...[]entrain.Event){f.write, f.bulk} {
					pgtest.Exec(t, url, `TRUNCATE g`)
					all := tx()
					for _, id := range strings.Fields("1 2 3 4 5 6 7 8 9 10 11 12") {
						all = append(all, ins(g, id, "a"))
					}
					write(all)
					all = tx()
					for _, id := range strings.Fields("1 2 3 4 5 6 7 8 9 10 11") {
						all = append(all, del(g, id))
					}
					write(all)
					wantRows(t, url, `SELECT count(*), count(*) FILTER (WHERE `+marked+`) FROM g`, "12|11")
					write(tx(ins(g, "1", "again")), tx(del(g, "12"), ins(g, "12", "anew")), tx(rekey(g, "12", "2", "moved")),
						tx(ins(g, "20", "a")), tx(rekey(g, "20", "12", "there")), tx(rekey(g, "12", "20", "back")), tx(rekey(g, "20", "12", "a")), tx(del(g, "12")))
					wantRows(t, url, `SELECT id, a FROM g WHERE (`+marked+`) IS NOT TRUE ORDER BY id`, "1|again\n2|moved")
					write(tx(truncate(g)))
					wantRows(t, url, `SELECT count(*), count(*) FILTER (WHERE `+marked+`) FROM g`, "12|12")
				}
				if n := f.w.Counts()["missing"]; n != 0 {
					t.Errorf("%d rows are missing", n)
				}
			})
		})
	}
}

func softFeed(t *testing.T, url, column string) *feed {
	t.Helper()
	s, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(url)), Pipeline: "test", SoftDelete: SoftDelete{Column: column}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	f := &feed{t: t, url: url, w: w.(*writer)}
	if _, err := f.w.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSoftDeleteColumn: what cannot be marked is a stop, not a delete.
func TestSoftDeleteColumn(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE g (id int4 PRIMARY KEY); CREATE TABLE s (id int4 PRIMARY KEY, gone_at timestamptz);
			CREATE TABLE x (id int4 PRIMARY KEY, gone_at text); CREATE TABLE k (id int4, gone_at timestamptz)`)
		g := describe(t, url, "public", "g")
		stop := wantStop(t, softFeed(t, url, "gone_at").bulkErr(t.Context(), tx(ins(g, "1"))), "soft_delete_column")
		for _, name := range []string{"x", "k"} {
			other := describe(t, url, "public", name)
			other.Columns = other.Columns[:1]
			wantStop(t, softFeed(t, url, "gone_at").bulkErr(t.Context(), tx(ins(other, "1"))), "soft_delete_column")
		}
		s := describe(t, url, "public", "s")
		wantStop(t, softFeed(t, url, "gone_at").bulkErr(t.Context(), tx(ins(s, "1", "∅"))), "soft_delete_column")
		pgtest.Exec(t, url, strings.Split(stop.Next, "\n")[0])
		f := softFeed(t, url, "gone_at")
		f.write(tx(ins(g, "1")), tx(del(g, "1")))
		wantRows(t, url, `SELECT id FROM g WHERE gone_at IS NOT NULL`, "1")
	})
}

// TestGateSettings: what excludes each other, and what implies the gate.
func TestGateSettings(t *testing.T) {
	base := Config{URL: "postgres://u@localhost/d", Pipeline: "p"}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.VersionGate, c.Parallel = true, 2 }, "version_gate and parallel: 2"},
		{func(c *Config) { c.ConflictStrategy = "last_writer" }, "conflict_strategy"},
		{func(c *Config) { c.ConflictStrategy = sourceLSNPriority }, ""},
		{func(c *Config) { c.VersionGate, c.Parallel = true, 1 }, ""},
	} {
		cfg := base
		c.change(&cfg)
		s, err := NewSink(cfg)
		if err == nil && (c.want != "" || !s.cfg.VersionGate) || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", cfg, err, c.want)
		}
	}
}

// TestStrategyAndGate: the strategy turns the gate on, unless the file says no to it.
func TestStrategyAndGate(t *testing.T) {
	const strategy = "url: postgres://x@127.0.0.1/x\nconflict_strategy: source_lsn_priority\n"
	for text, want := range map[string]bool{strategy: true, strategy + "version_gate: true\n": true, strategy + "version_gate: false\n": false} {
		sink, err := Build(connector.Env{Pipeline: "test"}, func(v any) error { return yaml.Unmarshal([]byte(text), v) })
		if err != nil {
			t.Fatal(err)
		}
		if got := sink.(*Sink).Gated(); got != want {
			t.Errorf("%sgated: %v, want %v", text, got, want)
		}
	}
}
