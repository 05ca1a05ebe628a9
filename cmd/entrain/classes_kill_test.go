package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestClassesSurviveKills: processes are killed in the middle of windows while tables
// move from class to class, and rows are written, updated and removed. A transaction's
// rows in one class are seen at the target together or not at all, and in the end
// all tables are equal.
func TestClassesSurviveKills(t *testing.T) {
	url, target, env := classed(t)
	file := writeFile(t, inClasses+classRules("200ms", "* * * * *"))
	base := strings.TrimSuffix(readText(t, file), classRules("200ms", "* * * * *"))
	rules := []string{
		classRules("200ms", "* * * * *"),
		"classes: [{tables: [public.cold, public.warm], class: batch, cron: \"* * * * *\"}]\n",
		"classes: [{tables: [public.w*], class: stream}, {tables: [\"*.*\"], class: micro_batch, every: 300ms, rows: 20}]\n",
		"stream: {type: embedded}\n",
		"classes: [{tables: [public.hot], class: batch, name: night, cron: \"* * * * *\"}, {tables: [public.cold], class: micro_batch, every: 100ms}]\n",
	}
	rng := rand.New(rand.NewPCG(27, 11))
	n := 0
	write := func() {
		var sql []string
		for range 1 + rng.IntN(8) {
			n++
			sql = append(sql, "BEGIN")
			for _, table := range []string{"hot", "warm", "cold"} {
				sql = append(sql, fmt.Sprintf("INSERT INTO %s SELECT %d + i, 'of %d' FROM generate_series(0, 9) i", table, n*10, n),
					fmt.Sprintf("UPDATE %s SET note = note || 'x' WHERE id / 10 = %d", table, 1+rng.IntN(n)),
					fmt.Sprintf("DELETE FROM %s WHERE id / 10 = %d", table, 1+rng.IntN(4*n)))
			}
			sql = append(sql, "COMMIT")
		}
		pgtest.Exec(t, url, strings.Join(sql, ";"))
	}
	for round := range 10 {
		if err := os.WriteFile(file, []byte(base+rules[rng.IntN(len(rules))]), 0o600); err != nil {
			t.Fatal(err)
		}
		write()
		p := launchIn(t, "", env, "run", file)
		ends := time.Now().Add(time.Duration(400+rng.IntN(1500)) * time.Millisecond)
		for time.Now().Before(ends) {
			write()
			if rng.IntN(2) == 0 {
				invoke(t, anywhere, "sink", "flush", file, "sink")
			}
			wholeInClasses(t, target)
		}
		select {
		case <-p.ended:
			t.Fatalf("round %d: it ended by itself", round)
		default:
		}
		p.signal(t, syscall.SIGKILL)
		<-p.ended
	}
	launchIn(t, "", env, "run", "--until", "now", file).exit(t, exitOK)
	equalTables(t, url, target, "hot", "warm", "cold")
	if n := pgtest.QueryOne(t, target, "SELECT count(*) FROM cold"); n == "0" {
		t.Error("nothing was delivered")
	}
}

// wholeInClasses checks that each transaction's ten rows of a table are there together,
// with one note.
func wholeInClasses(t *testing.T, target string) {
	t.Helper()
	for _, table := range []string{"hot", "warm", "cold"} {
		if count(t, target, table) == "none" {
			continue
		}
		sql := "SELECT coalesce(string_agg(g || ': ' || c || ' ' || d, ', '), '') FROM (SELECT id / 10 g, count(*) c, count(DISTINCT note) d FROM " +
			table + " GROUP BY 1 HAVING count(*) <> 10 OR count(DISTINCT note) > 1) x"
		if torn := pgtest.QueryOne(t, target, sql); torn != "" {
			t.Errorf("%s has parts of transactions: %s", table, torn)
		}
	}
}
