package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// The example with rules does what it says: rows cross the filter's edge both
// ways, and a column that is left out is not at the target (P1, P8).
func TestExampleWithRules(t *testing.T) {
	srv := pgtest.Shared(t, 15)
	url, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	pgtest.Exec(t, url,
		"CREATE TABLE orders (id bigint PRIMARY KEY, cust text, total numeric, card_number text)", "ALTER TABLE orders REPLICA IDENTITY FULL",
		"CREATE TABLE items (id bigint PRIMARY KEY)",
		"INSERT INTO orders SELECT 1000 + i, 'old', i, '4111' FROM generate_series(1, 150) i")
	pgtest.Exec(t, target, "CREATE SCHEMA sales", "CREATE SCHEMA copy", "CREATE TABLE copy.items (id bigint PRIMARY KEY)",
		"CREATE TABLE sales.large_orders (id bigint PRIMARY KEY, customer_id text, total numeric)")
	example, err := filepath.Abs("../../examples/transform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	env, dir := []string{"SOURCE_URL=" + pgtest.SourceURL(url), "TARGET_URL=" + pgtest.TargetURL(target)}, t.TempDir()
	launchIn(t, dir, env, "run", "--until", "now", example).exit(t, exitOK)
	if n := pgtest.QueryOne(t, target, "SELECT count(*) FROM sales.large_orders WHERE customer_id = 'old'"); n != "50" {
		t.Errorf("%s of the rows that were there are copied, want 50", n)
	}
	pgtest.Exec(t, url, "INSERT INTO orders SELECT i, 'c' || i, i, '4111' FROM generate_series(1, 200) i", "UPDATE orders SET total = 201 - total",
		"DELETE FROM orders WHERE id % 3 = 0", "INSERT INTO items SELECT generate_series(1, 10)", "DELETE FROM items WHERE id > 5")
	launchIn(t, dir, env, "run", "--until", "now", example).exit(t, exitOK)
	want := pgtest.Query(t, url, "SELECT id, cust, total FROM orders WHERE total > 100 ORDER BY id")
	if diff := cmp.Diff(want, pgtest.Query(t, target, "SELECT id, customer_id, total FROM sales.large_orders ORDER BY id")); diff != "" || len(want) < 100 {
		t.Errorf("%d rows, (-source +target):\n%s", len(want), diff)
	}
	if n := pgtest.QueryOne(t, target, "SELECT count(*) FROM copy.items"); n != "10" {
		t.Errorf("%s items; deletes are not carried on", n)
	}
}

const ruleFile = toFile + `transform:
  - tables: ["public.*"]
    columns: {exclude: [note]}
    where: new.id > 1
`

// A rule that is wrong in itself is a mistake in the file; one that does not
// fit a table, a stop of the environment; a change that cannot be judged, a
// refused event. None of them loses anything (P1).
func TestRulesThatCannotBeFollowed(t *testing.T) {
	url := shop(t)
	wrong := writeFile(t, strings.Replace(ruleFile, "new.id > 1", "nwe.id > 1", 1))
	p := launch(t, url, "run", "--until", "now", wrong)
	p.exit(t, exitUsage)
	if got := p.stderr.String(); !strings.Contains(got, "undeclared reference to 'nwe'") || !strings.Contains(got, "|            ^\n") {
		t.Errorf("the place is not shown:\n%s", got)
	}
	for _, c := range []struct {
		rule, code string
		exit       int
	}{
		{"new.nid > 1", "transform_unfit", exitEnvironment},
		{"1 / (new.id - 1) > 0", "transform_expression", exitRuntime},
	} {
		file := writeFile(t, strings.Replace(ruleFile, "new.id > 1", c.rule, 1))
		launch(t, url, "run", "--until", "now", writeFile(t, toFile)).exit(t, exitOK)
		pgtest.Exec(t, url, "INSERT INTO orders VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'y'")
		p := launch(t, url, "run", "--until", "now", file)
		p.exit(t, c.exit)
		if !strings.Contains(p.stderr.String(), c.code) {
			t.Errorf("%s: %s", c.rule, &p.stderr)
		}
		good := writeFile(t, ruleFile)
		launch(t, url, "run", "--until", "now", good).exit(t, exitOK)
		launch(t, url, "teardown", "--yes", good).exit(t, exitOK)
	}
}

// What config show prints is the same configuration.
func TestRulesAreShown(t *testing.T) {
	file := writeFile(t, ruleFile+"  - {tables: [a.b], rename: \"{schema}.c\", old_unknown: replace, when: 'op != \"delete\"', columns: {rename: {x: y}}}\n")
	shown := invoke(t, source, "config", "show", file)
	shown.want(t, exitOK)
	again := invoke(t, source, "config", "show", writeFile(t, shown.stdout))
	again.want(t, exitOK)
	rules := func(text string) string {
		_, text, _ = strings.Cut(text, "\ntransform:\n")
		text, _, _ = strings.Cut(text, "\nsink:")
		return text
	}
	if diff := cmp.Diff(rules(shown.stdout), rules(again.stdout)); diff != "" || !strings.Contains(rules(shown.stdout), `when: "op != \"delete\""`) {
		t.Errorf("(-shown +again):\n%s\n%s", diff, shown.stdout)
	}
}
