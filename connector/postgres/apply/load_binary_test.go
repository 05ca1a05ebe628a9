package apply

import (
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestLoadBinary: rows come in the binary form where both ends have the same
// built-in types, into the table and into a stage, and as text elsewhere.
func TestLoadBinary(t *testing.T) {
	for name, c := range map[string]struct {
		sql   string // of the target's table
		types []uint32
		forms int
		mode  string
	}{
		"same types":  {`CREATE TABLE t (id int8 PRIMARY KEY, v numeric(9,2), at timestamp(0))`, []uint32{20, 1700, 1114}, 1, "direct"},
		"domain":      {`CREATE DOMAIN d AS numeric CHECK (value > 0); CREATE TABLE t (id int8 PRIMARY KEY, v d, at timestamp(0))`, []uint32{20, 1700, 1114}, 1, "direct"},
		"stage":       {`CREATE TABLE t (id int8 PRIMARY KEY, v numeric(9,2), at timestamp(0)); INSERT INTO t VALUES (1, 7), (9, 7)`, []uint32{20, 1700, 1114}, 1, "staging"},
		"other types": {`CREATE TABLE t (id int8 PRIMARY KEY, v numeric(9,2), at timestamp(0))`, []uint32{23, 1700, 1114}, 0, "direct"},
		"no form":     {`CREATE TABLE t (id int8 PRIMARY KEY, v money, at timestamp(0))`, []uint32{20, 790, 1114}, 0, "direct"},
	} {
		t.Run(name, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, c.sql)
				table := describe(t, url, "public", "t")
				lt := newLoadTest(t, url)
				l := lt.load(table)
				if got := lt.mode("t"); got != c.mode {
					t.Errorf("mode %q", got)
				}
				r := &serverBinary{serverRows: serverRows{conn: pgtest.Connect(t, url),
					sql: `SELECT i::int8, i * 1.25, timestamp '2000-01-01 00:00:00.7' FROM generate_series(1, 3) i`}, types: c.types}
				if n, err := l.Part(t.Context(), r); err != nil || n != 3 {
					t.Fatalf("%d rows, %v", n, err)
				}
				lt.finish(l)
				if r.forms != c.forms {
					t.Errorf("taken %d times in the binary form", r.forms)
				}
				wantRows(t, url, `SELECT id, v::numeric(9,2), at FROM t WHERE id = 3`, "3|3.75|2000-01-01 00:00:01")
			})
		})
	}
}
