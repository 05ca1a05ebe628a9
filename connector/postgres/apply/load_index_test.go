package apply

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// keyedBehind is a table that gets its key when it has its rows.
func keyedBehind(name string) entrain.SnapshotTable {
	t := made(name)
	t.Definition.Before[2] = fmt.Sprintf(`CREATE TABLE IF NOT EXISTS shop.%s (id int8 NOT NULL, other int8, mood shop.mood)`, name)
	t.Definition.Indexes = []string{
		fmt.Sprintf(`CREATE UNIQUE INDEX IF NOT EXISTS %[1]s_pkey ON shop.%[1]s (id)`, name),
		fmt.Sprintf(`CREATE INDEX IF NOT EXISTS %[1]s_mood ON shop.%[1]s (mood)`, name),
		fmt.Sprintf(`CREATE UNIQUE INDEX IF NOT EXISTS %[1]s_other ON shop.%[1]s (other)`, name),
	}
	t.Definition.After = []string{fmt.Sprintf(`DO 'BEGIN IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = ''shop.%[1]s''::regclass AND contype = ''p'')
		THEN ALTER TABLE shop.%[1]s ADD CONSTRAINT %[1]s_pkey PRIMARY KEY USING INDEX %[1]s_pkey; END IF; END'`, name)}
	return t
}

// keysSQL are the indexes of a table, the primary key first.
const keysSQL = `SELECT indisprimary, indexrelid::regclass FROM pg_index WHERE indrelid = 'shop.%s'::regclass ORDER BY 1 DESC, indexrelid::regclass::text`

// TestLoadIndexes: the indexes of a table that is made are made behind its rows,
// by as many sessions as there are; if one of them cannot be, that is named, and
// the next load ends well with what is there.
func TestLoadIndexes(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		lt := newLoadTest(t, url)
		lt.sink.cfg.CreateTables = true
		a := keyedBehind("a")
		const keys = "t|shop.a_pkey\nf|shop.a_mood\nf|shop.a_other"
		l, err := lt.sink.Load(t.Context(), a)
		mustLoad(t, err)
		defer l.Close()
		wantRows(t, url, fmt.Sprintf(keysSQL, "a"), "")
		var wg sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = l.Part(t.Context(), &rowBatches{table: a.Table, rows: [][]string{{fmt.Sprint(i), fmt.Sprint(i / 2), "good"}}})
			})
		}
		wg.Wait()
		for _, err := range errs {
			mustLoad(t, err)
		}
		stop := wantStop(t, l.Finish(t.Context(), "made"), "definition_refused")
		if !strings.HasPrefix(stop.Next, a.Definition.Indexes[2]) {
			t.Errorf("next is %s", stop.Next)
		}
		removals, err := lt.sink.Teardown(t.Context())
		mustLoad(t, err)
		if !strings.Contains(removals[0].What, "(DROP them before a new copy): shop.a") {
			t.Errorf("teardown says %s", removals[0].What)
		}
		mustLoad(t, l.Close())
		mustLoad(t, lt.loadMade(a, []string{"1", "1", "good"}, []string{"2", "2", "bad"}))
		wantRows(t, url, fmt.Sprintf(keysSQL, "a"), keys)
		mustLoad(t, lt.complete(a))
		wantRows(t, url, `SELECT * FROM shop.a ORDER BY id`, "1|1|good\n2|2|bad")
	})
}

// TestLoadSessionsAreShared: what one load does not use any more serves the next,
// the last one that is closed ends them, and with more than one open none is
// opened twice.
func TestLoadSessionsAreShared(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		lt := newLoadTest(t, url)
		lt.sink.cfg.CreateTables = true
		first, err := lt.sink.Load(t.Context(), made("a"))
		mustLoad(t, err)
		pids := func() string {
			return rowsOf(t, url, strings.Replace(loadSessionsSQL, "count(*)", "coalesce(string_agg(pid::text, ','), '')", 1))
		}
		one := pids()
		for _, name := range []string{"b", "c"} {
			mustLoad(t, lt.loadMade(made(name), []string{"1", "1", "good"}))
		}
		if got := pids(); got != one || strings.Contains(one, ",") {
			t.Errorf("sessions %s, then %s", one, got)
		}
		mustLoad(t, first.Close())
		mustLoad(t, first.Close())
		pgtest.Eventually(t, time.Minute, "the sessions are gone", func() bool { return pids() == "" })
	})
}

// TestMakeTableThatWasBegun: a table that an unfinished copy has made gets the
// rest of its definition when it is copied in another way.
func TestMakeTableThatWasBegun(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		lt := newLoadTest(t, url)
		lt.sink.cfg.CreateTables = true
		a, b := keyedBehind("a"), keyedBehind("b")
		l, err := lt.sink.Load(t.Context(), a)
		mustLoad(t, err)
		mustLoad(t, l.Close())
		pgtest.Exec(t, url, "CREATE TABLE shop.b (id int8 NOT NULL, other int8, mood shop.mood)") // somebody else's
		for _, st := range []entrain.SnapshotTable{a, b} {
			mustLoad(t, lt.sink.MakeTable(t.Context(), entrain.ChunkTable{Table: st.Table, Definition: st.Definition}))
		}
		wantRows(t, url, fmt.Sprintf(keysSQL, "a"), "t|shop.a_pkey\nf|shop.a_mood\nf|shop.a_other")
		wantRows(t, url, fmt.Sprintf(keysSQL, "b"), "")
	})
}
