package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// itemRows shows the rows and columns of table item at the target.
const itemRows = `SELECT (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attname) FROM pg_attribute
	WHERE attrelid = 'item'::regclass AND attnum > 0 AND NOT attisdropped) || ': ' || (SELECT string_agg(to_jsonb(i)::text, ' ' ORDER BY id) FROM item i)`

var itemTable = []string{`CREATE TABLE item (id bigint PRIMARY KEY, note varchar(10), extra text NOT NULL)`}

func (f *fed) item(want string) {
	f.t.Helper()
	pgtest.Eventually(f.t, patience, want, func() bool { return pgtest.QueryOne(f.t, f.target, itemRows) == want })
}

// halted waits for a stop and returns the SQL that it prints.
func (f *fed) halted(code string) string {
	f.t.Helper()
	f.running.exit(f.t, exitEnvironment)
	text := f.running.stderr.String()
	_, next, _ := strings.Cut(text, "           next: ")
	if !strings.Contains(text, "stopped ("+code+")") || !strings.Contains(next, "entrain run "+f.file) {
		f.t.Fatalf("not the stop %s with a command: %s", code, text)
	}
	return next
}

// TestSchemaChanges: PostgreSQL to PostgreSQL, each kind of change while the
// pipeline runs, is down or is killed; what it cannot know stops it, and the SQL
// that it prints lets it go on.
func TestSchemaChanges(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (1, 'a', 'x')`)
		f.item(`extra text, id bigint, note character varying(10): {"id": 1, "note": "a", "extra": "x"}`)
		pgtest.Exec(f.t, f.source, `ALTER TABLE item ADD COLUMN paid boolean NOT NULL DEFAULT true`, `INSERT INTO item VALUES (2, 'b', 'x', false)`)
		f.item(`extra text, id bigint, note character varying(10), paid boolean: {"id": 1, "note": "a", "paid": true, "extra": "x"} {"id": 2, "note": "b", "paid": false, "extra": "x"}`)
		running := invoke(f.t, f.env, "schema", "history", f.file, "public.item")
		running.want(f.t, exitOK)
		if !strings.Contains(running.stdout, "add paid (boolean)") {
			f.t.Errorf("history: %s", running.stdout)
		}

		if err := f.running.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			f.t.Fatal(err)
		}
		<-f.running.ended
		pgtest.Exec(f.t, f.source, `ALTER TABLE item ALTER COLUMN note TYPE text, DROP COLUMN extra`, `UPDATE item SET note = 'a longer note' WHERE id = 1`,
			`INSERT INTO item VALUES (3, 'c', true)`)
		f.run()
		f.item(`extra text, id bigint, note text, paid boolean: {"id": 1, "note": "a longer note", "paid": true, "extra": "x"} {"id": 2, "note": "b", "paid": false, "extra": "x"} {"id": 3, "note": "c", "paid": true, "extra": null}`)

		pgtest.Exec(f.t, f.source, `BEGIN; INSERT INTO item VALUES (4, 'd', true); ALTER TABLE item RENAME COLUMN note TO remark; INSERT INTO item VALUES (5, 'e', true); COMMIT`)
		sql := f.halted("schema_rename")
		_, sql, _ = strings.Cut("\n"+sql, "ALTER")
		pgtest.Exec(f.t, f.target, "ALTER"+sql[:strings.Index(sql, ";")])
		f.run()
		f.item(`extra text, id bigint, paid boolean, remark text: {"id": 1, "paid": true, "extra": "x", "remark": "a longer note"} {"id": 2, "paid": false, "extra": "x", "remark": "b"} {"id": 3, "paid": true, "extra": null, "remark": "c"} {"id": 4, "paid": true, "extra": null, "remark": "d"} {"id": 5, "paid": true, "extra": null, "remark": "e"}`)
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
		f.histories()
	})
}

// TestSchemaHistoryNamesTypes: lengths and precisions are shown, and each shape
// once, whether rows were copied or came by the log.
func TestSchemaHistoryNamesTypes(t *testing.T) {
	pgtest.AsOwner(t)
	onBoth(t, []string{`CREATE TABLE priced (id int PRIMARY KEY, note varchar(20), price numeric(10,2), at timestamptz(3), tags varchar(8)[])`}, func(f *fed) {
		pgtest.Exec(f.t, f.source, `INSERT INTO priced VALUES (1, 'a', 1.5, now(), '{b}')`)
		f.copying()
		f.run()
		f.arrive(`SELECT count(*) FROM priced`)
		pgtest.Exec(f.t, f.source, `INSERT INTO priced VALUES (2)`, `ALTER TABLE priced ALTER note TYPE varchar(40)`, `INSERT INTO priced VALUES (3)`)
		f.arrive(`SELECT count(*) FROM priced`)
		got := invoke(f.t, f.env, "schema", "history", f.file, "priced")
		got.want(f.t, exitOK)
		for _, want := range []string{"  id integer; note character varying(20); price numeric(10,2); at timestamp(3) with time zone; tags character varying(8)[]\n",
			"  retype note (character varying(20) → character varying(40))\n"} {
			if strings.Count(got.stdout, want) != 1 {
				f.t.Errorf("not once %s in\n%s", want, got.stdout)
			}
		}
		if strings.Count(got.stdout, "\n") != 2 {
			f.t.Errorf("not two shapes:\n%s", got.stdout)
		}
	})
}

// histories looks at the history of TestSchemaChanges while nothing runs.
func (f *fed) histories() {
	f.t.Helper()
	offline := invoke(f.t, f.env, "schema", "history", f.file, "item", "-o", "json")
	offline.want(f.t, exitOK)
	var view historyView
	if err := json.Unmarshal([]byte(offline.stdout), &view); err != nil {
		f.t.Fatal(err)
	}
	var kinds []string
	for _, s := range view.Shapes {
		for _, c := range s.Changes {
			kinds = append(kinds, c.Kind)
		}
		kinds = append(kinds, "|")
	}
	if got := strings.Join(kinds, " "); got != "| add | retype drop | rename |" {
		f.t.Errorf("history %s: %s", got, offline.stdout)
	}
	invoke(f.t, f.env, "schema", "history", f.file, "public.itme").want(f.t, exitUsage, `did you mean "public.item"?`)
	invoke(f.t, f.env, "schema", "history", f.file, "item", "-o", "yaml").want(f.t, exitUsage, "expected table or json")
}

// TestRenamedTable: a table that is renamed at the source stops the pipeline, which
// says so; with the SQL that it prints it goes on under the new name, and where the old
// table was dropped the new one is made and copied.
func TestRenamedTable(t *testing.T) {
	pgtest.AsOwner(t)
	onBoth(t, itemTable, func(f *fed) {
		text := strings.Replace(readText(f.t, f.file), "sink: {", "sink: {create_tables: true, ", 1)
		if err := os.WriteFile(f.file, []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
		f.copying()
		pgtest.Exec(f.t, f.target, `DROP TABLE item`)
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (1, 'a', 'x')`)
		f.run()
		f.arrive(`SELECT count(*) FROM item`)
		pgtest.Exec(f.t, f.source, `ALTER TABLE item RENAME TO thing`, `INSERT INTO thing VALUES (2, 'b', 'y')`)
		next := f.halted("table_renamed")
		if !strings.Contains(f.running.stderr.String(), "sink.schema_changes.rename: stop") {
			f.t.Errorf("no policy is named: %s", f.running.stderr.String())
		}
		pgtest.Exec(f.t, f.target, next)
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO thing VALUES (3, 'c', 'z')`)
		f.arrive(`SELECT string_agg(id || note || extra, ' ' ORDER BY id) FROM thing`)

		pgtest.Exec(f.t, f.source, `ALTER TABLE thing RENAME TO third`, `INSERT INTO third VALUES (4, 'd', 'z')`)
		f.halted("table_renamed")
		pgtest.Exec(f.t, f.target, `DROP TABLE thing`) // its indexes have the names that the new one's are to have
		f.run()
		pgtest.Eventually(f.t, patience, "the table is made", func() bool { return pgtest.QueryOne(f.t, f.target, `SELECT to_regclass('third')`) == "third" })
		f.arrive(`SELECT string_agg(id || note || extra, ' ' ORDER BY id) FROM third`)
	})
}

// TestRenamesWithDDLMessages: with the script of check --ddl a rename is known to
// be one, and is made if the file says so, also after a restart; a drop and an
// add are known to be that.
func TestRenamesWithDDLMessages(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		text, err := os.ReadFile(f.file)
		if err != nil {
			f.t.Fatal(err)
		}
		with := strings.Replace(string(text), "sink: {", "sink: {schema_changes: {rename: apply}, ", 1)
		if err := os.WriteFile(f.file, []byte(with), 0o600); err != nil || with == string(text) {
			f.t.Fatal("no sink section", err)
		}
		script := invoke(f.t, f.env, "check", f.file, "--ddl")
		script.want(f.t, exitOK)
		f.run()
		pgtest.Exec(f.t, f.source, script.stdout, `INSERT INTO item VALUES (1, 'a', 'x')`,
			`ALTER TABLE item RENAME COLUMN note TO remark`, `INSERT INTO item VALUES (2, 'b', 'y')`)
		f.item(`extra text, id bigint, remark character varying(10): {"id": 1, "extra": "x", "remark": "a"} {"id": 2, "extra": "y", "remark": "b"}`)
		pgtest.Exec(f.t, f.source, `ALTER TABLE item RENAME COLUMN remark TO title`, `CREATE TABLE other (id int PRIMARY KEY)`)
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
		pgtest.Exec(f.t, f.source, `ALTER TABLE item DROP COLUMN extra, ADD COLUMN more text DEFAULT 'm'`, `INSERT INTO item VALUES (3, 'c', 'z')`)
		f.run()
		f.item(`extra text, id bigint, more text, title character varying(10): {"id": 1, "more": "m", "extra": "x", "title": "a"} {"id": 2, "more": "m", "extra": "y", "title": "b"} {"id": 3, "more": "z", "extra": null, "title": "c"}`)
		invoke(f.t, f.env, "check", f.file, "--ddl", "--fix-sql").want(f.t, exitUsage, "goes with no other flag")
	})
}

// TestKillsWhileShapesChange: killed again and again while columns come: every
// change of shape is in the file once, between the rows that it is about.
func TestKillsWhileShapesChange(t *testing.T) {
	const kills, changes = 12, 3
	url, file := shop(t), writeFile(t, toFile)
	order(t, url, 1, 1)
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	order(t, url, 2, 2)
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	last := 2
	for n := range kills {
		p := launch(t, url, "run", file)
		var load sync.WaitGroup
		load.Go(func() {
			for k := range changes {
				pgtest.Exec(t, url, fmt.Sprintf("ALTER TABLE orders ADD COLUMN c%d int", n*changes+k))
				order(t, url, last+1, last+100)
				last += 100
			}
		})
		<-time.After(time.Duration(rand.IntN(200)) * time.Millisecond)
		p.signal(t, syscall.SIGKILL)
		p.exit(t, -1)
		load.Wait()
	}
	launch(t, url, "run", "--until", "now", file).exit(t, exitOK)
	shapesInOrder(t, readText(t, filepath.Join(filepath.Dir(file), "out.jsonl")), kills*changes)
}

// shapesInOrder checks that a file tells of a change wherever the shape of its
// rows is another one, and nowhere else.
func shapesInOrder(t *testing.T, text string, changes int) {
	t.Helper()
	var shape, told string
	ids := map[string]bool{}
	for line := range strings.Lines(text) {
		var e struct {
			ID, Op string
			Shape  string `json:"schema_version"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil || ids[e.ID] {
			t.Fatalf("%v, or twice: %.300s", err, line)
		}
		ids[e.ID] = true
		if e.Op == "schema" {
			told, changes = e.Shape, changes-1
			continue
		}
		if e.Op == "insert" && shape != "" && shape != e.Shape && told != e.Shape {
			t.Fatalf("the shape changed without a word: %.300s", line)
		}
		if e.Op == "insert" {
			shape = e.Shape
		}
	}
	if changes != 0 {
		t.Errorf("%d changes are missing", changes)
	}
}
