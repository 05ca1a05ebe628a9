package main

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// add puts more into the pipeline's file.
func (f *fed) add(yaml string) {
	f.t.Helper()
	text, err := os.ReadFile(f.file)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.file, append(text, yaml...), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// A key of several columns, text keys under another collation at the target, no
// key at all, a partitioned table: each kind of difference in each of them.
func TestVerifyKeys(t *testing.T) {
	schema := []string{
		`CREATE TABLE pairs (a int, b text, v text, extra int DEFAULT 0, PRIMARY KEY (b, a))`,
		`CREATE TABLE words (w text PRIMARY KEY, v text)`,
		`CREATE TABLE heap (v int, w text)`, `ALTER TABLE heap REPLICA IDENTITY FULL`,
		`CREATE TABLE parted (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)`,
		`CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')`,
		`CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')`,
	}
	onBoth(t, schema, func(f *fed) {
		pgtest.Exec(f.t, f.target, `ALTER TABLE words ALTER w TYPE text COLLATE "C"`, `CREATE INDEX ON heap (v)`,
			`ALTER TABLE pairs ADD here text DEFAULT 'only here'`, `CREATE INDEX ON pairs (a)`, `ALTER TABLE parted DETACH PARTITION parted_2`,
			`DROP TABLE parted_2`, `CREATE TABLE rest PARTITION OF parted DEFAULT`)
		f.run()
		pgtest.Exec(f.t, f.source,
			`INSERT INTO pairs SELECT i, E'b"\\,' || i % 3, '', i FROM generate_series(1, 500) i`,
			`INSERT INTO words VALUES ('a', ''), ('B', ''), ('c', NULL), ('Ä', 'x'), ('é, "q" \ (', 'y'), ('', 'empty'), ('e', 'z')`,
			`INSERT INTO heap SELECT i % 4, nullif('w' || i % 2, 'w1') FROM generate_series(1, 40) i`,
			`INSERT INTO parted SELECT i, date '2024-12-01' + i, 'p' FROM generate_series(1, 200) i`,
			`CREATE TABLE late (id int PRIMARY KEY)`)
		f.arrive("SELECT count(*) FROM parted")
		got := f.verify()
		got.want(f.t, exitOK)
		if strings.Count(got.stdout, ", equal") != 4 || f.t.Failed() {
			f.t.Fatalf("output\n%s", got.stdout)
		}
		pgtest.Exec(f.t, f.target,
			`DELETE FROM pairs WHERE a = 7`, `UPDATE pairs SET v = NULL WHERE a = 8`, `UPDATE pairs SET extra = -1 WHERE a = 9`,
			`INSERT INTO pairs VALUES (1000, '', '')`,
			`UPDATE words SET v = '' WHERE w = 'c'`, `DELETE FROM words WHERE w = 'Ä'`, `UPDATE words SET w = 'A' WHERE w = 'a'`,
			`UPDATE words SET v = 'Y' WHERE w LIKE 'é%'`, `UPDATE words SET v = NULL WHERE w = ''`,
			`DELETE FROM heap WHERE ctid = (SELECT min(ctid) FROM heap WHERE v = 1)`, `INSERT INTO heap VALUES (2, 'w0'), (9, '')`,
			`UPDATE parted SET v = 'q' WHERE id = 10`, `DELETE FROM parted WHERE id = 150`)
		f.wantDifferences("public.pairs", `missing (7,"b""\\,1")`, `different (8,"b""\\,2")`, `different (9,"b""\\,0")`, `extra (1000,"")`)
		f.wantDifferences("public.words", `different (c)`, `missing (Ä)`, `missing (a)`, `extra (A)`, `different ("é, ""q"" \\ (")`, `different ("")`)
		f.wantDifferences("public.heap", `missing (1,)`, `extra (2,w0)`, `extra (9,"")`)
		f.wantDifferences("public.parted", `different (10,2024-12-11)`, `missing (150,2025-04-30)`)
	})
}

// Names and columns go through the rules of the file; what those filter cannot be
// the same.
func TestVerifyBehindRules(t *testing.T) {
	onBoth(t, nil, func(f *fed) {
		f.add(`
transform:
  - {tables: [public.renamed], rename: "other.{table}_2", columns: {exclude: [secret], rename: {v: value}}}
  - {tables: [public.by_row], where: "new.id > 10"}
  - {tables: [public.by_change], when: "op != 'delete'"}
`)
		pgtest.Exec(f.t, f.source, `CREATE TABLE renamed (secret text, v text, id int PRIMARY KEY)`,
			`CREATE TABLE by_row (id int PRIMARY KEY)`, `CREATE TABLE by_change (id int PRIMARY KEY)`)
		pgtest.Exec(f.t, f.target, `CREATE SCHEMA other`, `CREATE TABLE other.renamed_2 (id int PRIMARY KEY, value text)`,
			`CREATE TABLE by_row (id int PRIMARY KEY)`, `CREATE TABLE by_change (id int PRIMARY KEY)`)
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO renamed SELECT 's', 'v' || i, i FROM generate_series(1, 20) i`,
			`INSERT INTO by_row SELECT generate_series(1, 20)`)
		pgtest.Eventually(f.t, patience, "the rows arrive", func() bool {
			return pgtest.QueryOne(f.t, f.target, "SELECT (SELECT count(*) FROM by_row) + (SELECT count(*) FROM other.renamed_2)") == "30"
		})
		got := f.verify()
		got.want(f.t, exitOK)
		for _, line := range []string{"public.renamed → other.renamed_2  20 rows, equal", "public.by_row                     filtered, not compared",
			"public.by_change                  filtered, not compared"} {
			if !strings.Contains(got.stdout, line) {
				f.t.Errorf("%q is not in\n%s", line, got.stdout)
			}
		}
		pgtest.Exec(f.t, f.target, `UPDATE other.renamed_2 SET value = 'x' WHERE id = 3`)
		f.wantDifferences("public.renamed", "different (3)")
		got = f.verify("--table", "public.renamed", "--table", "public.by_*")
		for _, line := range []string{"20 rows, 0 missing, 0 extra, 1 different", "\npublic.renamed, by (id)\n  different  (3)\n"} {
			if !strings.Contains(got.stdout, line) {
				f.t.Errorf("%q is not in\n%s", line, got.stdout)
			}
		}
	})
}

// Columns of other types at the target are compared as the target's type; what
// cannot be compared is named.
func TestVerifyOtherTypes(t *testing.T) {
	onBoth(t, nil, func(f *fed) {
		pgtest.Exec(f.t, f.source,
			`CREATE TABLE wide (id int2 PRIMARY KEY, n numeric(10,1), b bool, c char(5), f float8, j json, ts timestamptz, u uuid, x text)`,
			`CREATE TABLE less (id int PRIMARY KEY, gone text)`, `CREATE TABLE absent (id int PRIMARY KEY)`, `CREATE TABLE enums (id int PRIMARY KEY, e text)`)
		pgtest.Exec(f.t, f.target, `CREATE TYPE mood AS ENUM ('ok')`,
			`CREATE TABLE wide (id numeric PRIMARY KEY, n numeric(12,3), b text, c text, f numeric, j jsonb, ts timestamp, u text, x varchar(20))`,
			`CREATE TABLE less (id int PRIMARY KEY)`, `CREATE TABLE enums (id int PRIMARY KEY, e mood)`)
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO wide VALUES (1, 1.5, true, 'ab', 0.1::float8 + 0.2, '{"b": 1,  "a": 2}', '2024-05-05 10:00+02', gen_random_uuid(), 'x'),
			(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`)
		f.arrive("SELECT count(*) FROM wide")
		f.verify("--table", "public.wide").want(f.t, exitOK)
		pgtest.Exec(f.t, f.target, "UPDATE wide SET b = 'true' WHERE id = 1", "UPDATE wide SET c = '' WHERE id = 2")
		f.wantDifferences("public.wide", "different (1)", "different (2)")
		got := f.verify("--table", "public.less", "--table", "public.absent", "--table", "public.enums")
		got.want(f.t, exitEnvironment, "3 tables could not be compared")
		for _, text := range []string{`not compared: the target has no column "gone"`, "not compared: the target has no table public.absent", `public.enums   not compared: source: `} {
			if !strings.Contains(got.stdout, text) {
				f.t.Errorf("%q is not in\n%s", text, got.stdout)
			}
		}
	})
}

// What a sink has not got yet is no difference, and what cannot be told from it is
// not called one.
func TestVerifyOfASinkThatIsBehind(t *testing.T) {
	onBoth(t, []string{keyedSQL}, func(f *fed) {
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO keyed SELECT i, 'n', 1 FROM generate_series(1, 100) i`)
		f.arrive("SELECT count(*) FROM keyed")
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
		f.verify().want(f.t, exitOK) // equal needs no process

		pgtest.Exec(f.t, f.source, `UPDATE keyed SET n = 2 WHERE id <= 3`)
		pgtest.Exec(f.t, f.target, `DELETE FROM keyed WHERE id = 50`)
		got := f.verify("--timeout", "300ms", "-o", "json")
		got.want(f.t, exitEnvironment, "(sink_behind)", "no process runs the pipeline", "next: entrain run "+f.file)
		var view verifyView
		if err := json.Unmarshal([]byte(got.stdout), &view); err != nil || view.Tables[0].Outcome != "not compared" || !strings.HasPrefix(view.Tables[0].Why, "4 keys differ") {
			f.t.Errorf("%v\n%s", err, got.stdout)
		}

		// The lock holds the sink back; what it has not applied is waited for.
		locked := pgtest.Connect(f.t, f.target)
		if _, err := locked.Exec(f.t.Context(), "BEGIN; LOCK TABLE keyed IN SHARE MODE").ReadAll(); err != nil {
			f.t.Fatal(err)
		}
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO keyed VALUES (1000, 'late', 1)`)
		got = f.verify("--timeout", "300ms")
		got.want(f.t, exitEnvironment, "(sink_behind)", "the sink's position is")
		if strings.Contains(got.stderr, "no process") {
			f.t.Errorf("a process runs: %s", got.stderr)
		}
		done := make(chan outcome)
		go func() { done <- f.verify("--table", "public.keyed") }()
		pgtest.Eventually(f.t, patience, "verify waits", func() bool {
			return pgtest.QueryOne(f.t, f.target, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%verify' AND state = 'idle' AND query LIKE '%entrain.position%'") != "0"
		})
		if _, err := locked.Exec(f.t.Context(), "COMMIT").ReadAll(); err != nil {
			f.t.Fatal(err)
		}
		got = <-done
		got.want(f.t, exitDiffer)
		if !strings.Contains(got.stdout, "1 missing, 0 extra, 0 different") || !strings.Contains(got.stdout, "missing    (50)") {
			f.t.Errorf("output\n%s", got.stdout)
		}
	})
}

// SELECT is all that it takes, also to learn how far an idle source's pipeline is,
// which another role is not shown.
func TestVerifyNeedsOnlySelect(t *testing.T) {
	onBoth(t, []string{keyedSQL}, func(f *fed) {
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO keyed SELECT i, 'n', 1 FROM generate_series(1, 100) i`)
		f.arrive("SELECT count(*) FROM keyed")
		role := pgtest.Name(f.t)
		pgtest.Exec(f.t, f.source, "CREATE ROLE "+role+" LOGIN", "GRANT SELECT ON keyed TO "+role)
		pgtest.Exec(f.t, f.target, "GRANT USAGE ON SCHEMA entrain TO "+role, "GRANT SELECT ON keyed, entrain.position TO "+role,
			"UPDATE keyed SET note = 'x' WHERE id = 1")
		f.env["SOURCE_URL"] = strings.Replace(f.source, "postgres@", role+"@", 1)
		f.env["SINK_URL"] = strings.Replace(f.target, "postgres@", role+"@", 1)
		f.wantDifferences("public.keyed", "different (1)")
		pgtest.Exec(f.t, f.target, "ALTER TABLE keyed ENABLE ROW LEVEL SECURITY")
		f.verify().want(f.t, exitEnvironment, "could not be compared")
		pgtest.Exec(f.t, f.source, "REVOKE SELECT ON keyed FROM "+role)
		if got := f.verify(); !strings.Contains(got.stdout, `not compared: at the source role "`+role+`" may not read it`) {
			f.t.Errorf("output\n%s", got.stdout)
		}
	})
}

func TestVerifyUsage(t *testing.T) {
	env := map[string]string{"SOURCE_URL": "postgres://127.0.0.1:1/x", "SINK_URL": "postgres://127.0.0.1:1/y"}
	path := writeFile(t, verified2)
	invoke(t, env, "verify", writeFile(t, toFile)).want(t, exitUsage, "a sink of type file cannot be compared")
	invoke(t, env, "verify", path, "-o", "xml").want(t, exitUsage, "table or json")
	invoke(t, env, "verify", path, "--timeout", "0s").want(t, exitUsage, "--timeout")
	invoke(t, env, "verify", path, "--table", "orders").want(t, exitUsage, `"public.orders"`)
	invoke(t, env, "verify").want(t, exitUsage, "verify FILE")
	invoke(t, env, "verify", path).want(t, exitEnvironment, "source: disconnected: connect to 127.0.0.1:1")
	f := pgtest.CreateDatabase(t, pgtest.Shared(t, pgtest.Majors(t)[0]))
	pgtest.Exec(t, f, keyedSQL, "CREATE PUBLICATION entrain_shop FOR TABLE keyed")
	env = map[string]string{"SOURCE_URL": f, "SINK_URL": f}
	invoke(t, env, "verify", path, "--table", "public.nothing").want(t, exitUsage, "no such table")
}
