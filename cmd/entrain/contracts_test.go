package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/entrainsync/entrain/contract"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// contracts adds the section to the file and has export write the folder.
func (f *fed) contracts(section string) (dir string) {
	f.t.Helper()
	dir = filepath.Join(filepath.Dir(f.file), "contracts")
	f.add(strings.ReplaceAll(section, "CONTRACTS", dir))
	invoke(f.t, f.env, "schema", "export", f.file).want(f.t, exitOK)
	return dir
}

// edit replaces texts in a file, each of which has to be there.
func edit(t *testing.T, path string, oldNew ...string) {
	t.Helper()
	text := readText(t, path)
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			t.Fatalf("no %q in %s:\n%s", oldNew[i], path, text)
		}
		text = strings.ReplaceAll(text, oldNew[i], oldNew[i+1])
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// broken waits for the stop of a contract, which has the texts, and returns the
// command that it prints.
func (f *fed) broken(texts ...string) []string {
	f.t.Helper()
	f.running.exit(f.t, exitRuntime)
	text := f.running.stderr.String()
	for _, want := range append(texts, "stopped (contract_broken)", "entrain run "+f.file, "the sink stands before it, at position ") {
		if !strings.Contains(text, want) {
			f.t.Errorf("the stop lacks %q:\n%s", want, text)
		}
	}
	_, next, _ := strings.Cut(text, "           next: ")
	next, _, _ = strings.Cut(strings.Split(next, "\n")[0], "#")
	return strings.Fields(strings.ReplaceAll(strings.TrimPrefix(next, "entrain "), "'", ""))
}

// TestContractsStop: a row that breaks its contract, and a change of shape in the
// middle of the stream, end the pipeline before the target has anything of them; the
// advice that is printed leads on, and nothing is lost.
func TestContractsStop(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		dir := f.contracts("contracts: {dir: CONTRACTS, validation: stop}\n")
		file := filepath.Join(dir, "item.yaml")
		if text := readText(f.t, file); !strings.Contains(text, "status: proposed\n") || !strings.Contains(text, "type: character varying(10)\n") ||
			strings.Count(text, "nullable: false\n") != 1 {
			f.t.Errorf("export wrote\n%s", text)
		}
		invoke(f.t, f.env, "schema", "diff", f.file).want(f.t, exitOK)
		edit(f.t, file, "table: public.item", "# for people\ntable: public.item\nowner: sales", "status: proposed", "status: active",
			"type: text", "type: text\n    values: [x, y]\n    classification: confidential")
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (1, 'a', 'x')`)
		f.arrive(`SELECT count(*) FROM item`)
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (2, 'b', 'secret')`, `INSERT INTO item VALUES (3, 'c', 'y')`)
		f.broken("insert of table public.item", file, `column extra: contract has one of ["x" "y"], row has a value that is not shown (confidential)`, "item.yaml, column extra")
		if text := f.running.stderr.String(); strings.Contains(text, "secret") {
			f.t.Errorf("a confidential value is shown:\n%s", text)
		}
		edit(f.t, file, "[x, y]", "[x, y, secret]")
		f.run()
		f.arrive(`SELECT string_agg(id || extra, ' ' ORDER BY id) FROM item`)

		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (4, 'd', 'x')`, `ALTER TABLE item DROP COLUMN extra`, `INSERT INTO item VALUES (5, 'e')`)
		advice := f.broken("column extra: missing: contract has text not null, table has nothing")
		if n := pgtest.QueryOne(f.t, f.target, `SELECT count(*) FROM pg_attribute WHERE attrelid = 'item'::regclass AND attname = 'extra' AND attnotnull`); n != "1" {
			f.t.Error("the target was altered before the stop")
		}
		got := invoke(f.t, f.env, "schema", "diff", f.file)
		got.want(f.t, exitDiffer, "1 difference, 1 of them breaking")
		if !strings.Contains(got.stdout, "public.item  source  extra") {
			f.t.Errorf("diff:\n%s", got.stdout)
		}
		left := invoke(f.t, f.env, "schema", "export", f.file)
		left.want(f.t, exitDiffer, "--force")
		invoke(f.t, f.env, advice...).want(f.t, exitOK)
		text := readText(f.t, file)
		if strings.Contains(text, "extra") || !strings.HasPrefix(text, "# for people\ntable: public.item\nowner: sales\nstatus: active\n") {
			f.t.Errorf("after %v the contract is\n%s", advice, text)
		}
		f.run()
		f.arrive(`SELECT string_agg(id || note, ' ' ORDER BY id) FROM item`)
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
	})
}

// TestContractsPark: what breaks its contract is a dead letter, with its transaction
// and what comes behind; the others flow, and a contract that has it and a replay
// bring it there.
func TestContractsPark(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		dir := f.contracts("contracts: {dir: CONTRACTS, validation: dead_letter}\ndead_letter: {unit: transaction}\n")
		file := filepath.Join(dir, "item.yaml")
		edit(f.t, file, "status: proposed", "status: active", "type: text", "type: text\n    pattern: ^[a-z]+$")
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (1, 'a', 'x')`,
			`BEGIN; INSERT INTO item VALUES (2, 'b', 'x'); INSERT INTO item SELECT i, 'many', repeat('x', 3000) FROM generate_series(1001, 2000) i; INSERT INTO item VALUES (3, 'c', 'X9'); COMMIT`,
			`UPDATE item SET note = 'later' WHERE id = 2`, `INSERT INTO item VALUES (4, 'd', 'x')`)
		pgtest.Eventually(f.t, patience, "1 and 4", func() bool {
			return pgtest.QueryOne(f.t, f.target, `SELECT string_agg(id::text, ' ' ORDER BY id) FROM item`) == "1 4"
		})
		list := invoke(f.t, f.env, "dlq", "list", f.file, "-o", "json")
		list.want(f.t, exitOK)
		var letters []struct{ Class, Reason, Behind string }
		if err := json.Unmarshal([]byte(list.stdout), &letters); err != nil {
			f.t.Fatal(err)
		}
		refused := 0
		for _, l := range letters {
			if l.Reason != "" {
				refused++
				if l.Class != "contract_broken" || !strings.Contains(l.Reason, `pattern ^[a-z]+$, row has "X9" (`+file+`)`) {
					f.t.Errorf("a letter says %+v", l)
				}
			}
		}
		if refused != 1 || len(letters) != 1003 {
			f.t.Errorf("%d letters, %d with a reason", len(letters), refused)
		}
		invoke(f.t, f.env, "dlq", "replay", f.file, "--all").want(f.t, exitOK)
		f.arrive(`SELECT count(*) || string_agg(id || note, ' ' ORDER BY id) FROM item WHERE id < 100`)
		f.arrive(`SELECT count(*) FROM item`)
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
	})
}

// TestContractsParkRowsBesideTheStream: a row that is read again while the stream flows
// is parked as a change is.
func TestContractsParkRowsBesideTheStream(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		dir := f.contracts("contracts: {dir: CONTRACTS, validation: dead_letter}\ndead_letter: {unit: event}\n")
		file := filepath.Join(dir, "item.yaml")
		edit(f.t, file, "status: proposed", "status: active")
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO item SELECT i, 'a', CASE i WHEN 77 THEN 'Bad' ELSE 'x' END FROM generate_series(1, 100) i`)
		f.arrive(`SELECT count(*) FROM item`)
		edit(f.t, file, "type: text", "type: text\n    pattern: ^[a-z]+$")
		f.running.signal(f.t, syscall.SIGHUP)
		pgtest.Eventually(f.t, patience, "a new start", func() bool { return strings.Contains(f.running.stderr.String(), "pipeline starts anew") })
		f.running.until(f.t, f.file, "streaming", streams)
		pgtest.Exec(f.t, f.target, `TRUNCATE item`)
		invoke(f.t, f.env, "snapshot", "start", f.file, "--table", "public.item").want(f.t, exitOK)
		pgtest.Eventually(f.t, patience, "99 rows", func() bool { return pgtest.QueryOne(f.t, f.target, `SELECT count(*) FROM item`) == "99" })
		list := invoke(f.t, f.env, "dlq", "list", f.file)
		list.want(f.t, exitOK)
		if strings.Count(list.stdout, "\n") != 2 || !strings.Contains(list.stdout, "read ") || !strings.Contains(list.stdout, `row has "Bad"`) {
			f.t.Errorf("letters:\n%s", list.stdout)
		}
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
	})
}

// TestContractsWarn: everything goes on and is counted, a line of the log for each
// difference; a contract that is changed while the pipeline runs counts after SIGHUP.
func TestContractsWarn(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		dir := f.contracts("contracts: {dir: CONTRACTS}\n")
		file := filepath.Join(dir, "item.yaml")
		edit(f.t, file, "status: proposed", "status: deprecated", "type: text", "type: text\n    max_length: 1")
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO item SELECT i, 'a', 'xx' FROM generate_series(1, 50) i`, `ALTER TABLE item ADD COLUMN more text`,
			`INSERT INTO item VALUES (51, 'a', 'xx')`, `INSERT INTO item VALUES (52, 'a', 'x')`)
		f.arrive(`SELECT count(*) FROM item`)
		f.running.until(f.t, f.file, "51 breaches", func(r admin.Report) bool { return r.Status.ContractBreaches["public.item"] == 51 })
		log := f.running.stderr.String()
		for text, n := range map[string]int{"the contract of a table is deprecated": 1, "at most 1 characters, row has": 1, "column more: added": 1} {
			if strings.Count(log, text) != n {
				f.t.Errorf("%q is not %d times in\n%s", text, n, log)
			}
		}
		status := invoke(f.t, f.env, "status", f.file)
		if !strings.Contains(status.stdout, "public.item: 51 events") {
			f.t.Errorf("status:\n%s", status.stdout)
		}
		edit(f.t, file, "max_length: 1", "max_length: 2")
		f.running.signal(f.t, syscall.SIGHUP)
		pgtest.Eventually(f.t, patience, "a new start", func() bool { return strings.Contains(f.running.stderr.String(), "pipeline starts anew") })
		f.running.until(f.t, f.file, "streaming", streams)
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (53, 'a', 'xx')`, `INSERT INTO item VALUES (54, 'a', 'xxx')`)
		f.arrive(`SELECT count(*) FROM item`)
		f.running.until(f.t, f.file, "a breach", func(r admin.Report) bool { return r.Status.ContractBreaches["public.item"] == 1 })
	})
}

// TestContractsCopy: rows that are copied first are held to contracts, too; a retired
// table has none.
func TestContractsCopy(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		dir := f.contracts("contracts: {dir: CONTRACTS, validation: stop}\n")
		file := filepath.Join(dir, "item.yaml")
		edit(f.t, file, "status: proposed", "status: active", "type: text", "type: text\n    values: [x]")
		pgtest.Exec(f.t, f.source, `INSERT INTO item SELECT i, 'a', CASE i WHEN 777 THEN 'bad' ELSE 'x' END FROM generate_series(1, 1000) i`)
		f.copying()
		run := func(code int, texts ...string) {
			f.t.Helper()
			p := launchIn(f.t, "", []string{"SOURCE_URL=" + f.env["SOURCE_URL"], "SINK_URL=" + f.env["SINK_URL"]}, "run", "--until", "now", f.file)
			p.exit(f.t, code)
			for _, text := range texts {
				if !strings.Contains(p.stderr.String(), text) {
					f.t.Errorf("no %q in\n%s", text, &p.stderr)
				}
			}
		}
		run(exitRuntime, "stopped (contract_broken)", "read of table public.item", `one of ["x"], row has "bad"`)
		edit(f.t, file, "status: active", "status: retired")
		run(exitRuntime, "stopped (contract_broken)", "retired: contract has no event", "leave the table out of source.tables")
		edit(f.t, f.file, "validation: stop", "validation: dead_letter}\ndead_letter: {unit: event")
		edit(f.t, file, "status: retired", "status: active")
		run(exitRuntime, "stopped (contract_broken)", "rows that are copied first cannot be parked")
		edit(f.t, file, "values: [x]", "values: [x, bad]")
		run(exitOK)
		f.arrive(`SELECT count(*) FROM item`)
	})
}

// TestContractsBeforeAStream: with a stream the capture holds events to contracts,
// and nothing of a breach gets into the stream.
func TestContractsBeforeAStream(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		dir := f.contracts("contracts: {dir: CONTRACTS, validation: stop}\nstream: {type: embedded}\n")
		file := filepath.Join(dir, "item.yaml")
		edit(f.t, file, "status: proposed", "status: active", "type: text", "type: text\n    values: [x]")
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (1, 'a', 'x')`)
		f.arrive(`SELECT count(*) FROM item`)
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (2, 'a', 'y')`)
		f.broken(`row has "y"`)
		edit(f.t, file, "values: [x]", "values: [x, y]")
		f.run()
		f.arrive(`SELECT count(*) FROM item`)
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
	})
}

// TestSchemaDiff: both ends are compared, under the names that the rules give.
func TestSchemaDiff(t *testing.T) {
	onBoth(t, append(itemTable, `CREATE TABLE other (id int PRIMARY KEY)`), func(f *fed) {
		dir := f.contracts("contracts: {dir: CONTRACTS}\ntransform: [{tables: [public.item], rename: public.thing, columns: {rename: {note: remark}, exclude: [extra]}}]\n")
		if err := os.Remove(filepath.Join(dir, "other.yaml")); err != nil {
			f.t.Fatal(err)
		}
		pgtest.Exec(f.t, f.target, `ALTER TABLE item RENAME TO thing`, `ALTER TABLE thing RENAME note TO remark`)
		none := invoke(f.t, f.env, "schema", "diff", f.file)
		none.want(f.t, exitOK, "table public.other has no contract")
		pgtest.Exec(f.t, f.target, `ALTER TABLE thing ALTER remark TYPE text`)
		wider := invoke(f.t, f.env, "schema", "diff", f.file)
		wider.want(f.t, exitOK)
		if row := regexp.MustCompile(`(?m)^public\.item +sink +remark +wider +character varying\(10\) +text +no$`); !row.MatchString(wider.stdout) {
			f.t.Errorf("what is wider at the target:\n%s", wider.stdout)
		}
		pgtest.Exec(f.t, f.target, `ALTER TABLE thing ALTER remark TYPE varchar(5), ADD own int`)
		pgtest.Exec(f.t, f.source, `ALTER TABLE item ADD more int NOT NULL, ALTER extra DROP NOT NULL`)
		edit(f.t, filepath.Join(dir, "item.yaml"), "status: proposed", "status: active")
		if err := os.WriteFile(filepath.Join(dir, "gone.yaml"), []byte("table: public.gone\ncolumns: [{name: id, type: text}]\n"), 0o600); err != nil {
			f.t.Fatal(err)
		}
		got := invoke(f.t, f.env, "schema", "diff", f.file, "-o", "json")
		got.want(f.t, exitDiffer, "4 differences, 4 of them breaking")
		var view []contractDiff
		if err := json.Unmarshal([]byte(got.stdout), &view); err != nil {
			f.t.Fatalf("%v\n%s", err, got.stdout)
		}
		found := map[string]contract.Difference{}
		for _, of := range view {
			for _, d := range of.Differences {
				found[of.Table+" "+of.End+" "+d.Column+" "+string(d.Kind)] = d
			}
		}
		for _, want := range []string{"public.item sink remark type", "public.item source more added", "public.item source extra nullable", "public.gone source  no_table"} {
			if _, ok := found[want]; !ok {
				f.t.Errorf("not found: %s in %v", want, found)
			}
		}
		if d := found["public.item sink remark type"]; d.Want != "character varying(10)" || d.Have != "character varying(5)" {
			f.t.Errorf("the target's type: %+v", d)
		}
	})
}

// TestExampleContract: the example's contract fits the table that its page has.
func TestExampleContract(t *testing.T) {
	example, err := filepath.Abs("../../examples/contracts")
	if err != nil {
		t.Fatal(err)
	}
	table := []string{`CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, status text NOT NULL, total numeric(12,2), currency char(3))`}
	onBoth(t, table, func(f *fed) {
		invoke(f.t, f.env, "schema", "diff", f.file, "--dir", example).want(f.t, exitOK)
		pgtest.Exec(f.t, f.source, `ALTER TABLE orders ALTER total TYPE numeric(14,4)`)
		invoke(f.t, f.env, "schema", "diff", f.file, "--dir", example).want(f.t, exitDiffer, "1 difference, 1 of them breaking")
	})
}

// TestSchemaCheck: contracts are compared with former ones, offline.
func TestSchemaCheck(t *testing.T) {
	was, now := t.TempDir(), t.TempDir()
	file := writeFile(t, toFile+"contracts: {dir: "+now+"}\n")
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good = "table: public.orders\ncompatibility: backward\ncolumns:\n  - {name: id, type: bigint, key: true}\n  - {name: note, type: text}\n"
	write(was, "orders.yaml", good)
	write(now, "orders.yaml", strings.Replace(good, "  - {name: note, type: text}\n", "", 1))
	check := func(code int, text string, args ...string) outcome {
		t.Helper()
		got := invoke(t, source, append([]string{"schema", "check", file}, args...)...)
		got.want(t, code, text)
		return got
	}
	check(exitOK, "1 contract in "+now+": well formed")
	check(exitOK, "nothing that was promised is broken", "--against", was)
	write(was, "orders.yaml", strings.Replace(good, "backward", "forward", 1))
	write(was, "items.yaml", "table: public.items\ncolumns: [{name: id, type: text}]\n")
	got := check(exitDiffer, "3 differences, 1 of them breaking", "--against", was)
	if !strings.Contains(got.stdout, "removed") {
		t.Errorf("check:\n%s", got.stdout)
	}
	write(now, "items.yaml", "table: public.items\ndates: {deprecated: 2020-01-01}\ncolumns: [{name: id, type: text}]\n")
	check(exitDiffer, "1 of them breaking")
	write(now, "items.yaml", "table: public.items\ncolumns: [{name: id, typ: text}]\n")
	check(exitUsage, `unknown key "typ"`)
	check(exitUsage, "expected table or json", "-o", "xml")
	invoke(t, source, "run", file).want(t, exitUsage, `unknown key "typ"`)
	schema := invoke(t, source, "config", "schema", "--contract")
	schema.want(t, exitOK)
	if !strings.Contains(schema.stdout, `"entrain contract"`) {
		t.Errorf("schema:\n%s", schema.stdout)
	}
}

// TestContractsParkBehindAStream: behind a stream every sink holds what it reads to the
// contracts and parks by itself; a replay at one is none at the other.
func TestContractsParkBehindAStream(t *testing.T) {
	onBoth(t, itemTable, func(f *fed) {
		other := pgtest.CreateDatabase(f.t, pgtest.Shared(f.t, pgtest.Majors(f.t)[0]))
		pgtest.Exec(f.t, other, itemTable...)
		text := readText(f.t, f.file)
		at, behind, _ := strings.Cut(text, "sink: {")
		if err := os.WriteFile(f.file, []byte(at+"stream: {type: embedded}\nsinks:\n  - {name: one, "+strings.Replace(behind, "}\"}", "}\"}\n  - {name: two, type: postgres, url: \""+pgtest.TargetURL(other)+"\"}", 1)), 0o600); err != nil {
			f.t.Fatal(err)
		}
		dir := f.contracts("contracts: {dir: CONTRACTS, validation: dead_letter}\ndead_letter: {unit: transaction}\n")
		file := filepath.Join(dir, "item.yaml")
		edit(f.t, file, "status: proposed", "status: active", "type: text", "type: text\n    pattern: ^[a-z]+$")
		f.run()
		pgtest.Exec(f.t, f.source, `INSERT INTO item VALUES (1, 'a', 'x')`, `BEGIN; INSERT INTO item VALUES (2, 'b', 'x'); INSERT INTO item VALUES (3, 'c', 'X9'); COMMIT`,
			`UPDATE item SET note = 'later' WHERE id = 2`, `INSERT INTO item VALUES (4, 'd', 'x')`)
		for _, target := range []string{f.target, other} {
			pgtest.Eventually(f.t, patience, "1 and 4 in "+target, func() bool {
				return pgtest.QueryOne(f.t, target, `SELECT string_agg(id::text, ' ' ORDER BY id) FROM item`) == "1 4"
			})
		}
		list := invoke(f.t, f.env, "dlq", "list", f.file, "-o", "json")
		list.want(f.t, exitOK)
		if strings.Count(list.stdout, `"contract_broken"`) != 2 || strings.Count(list.stdout, `"attempts": `) != 6 {
			f.t.Errorf("letters:\n%s", list.stdout)
		}
		f.running.until(f.t, f.file, "a breach at each sink", func(r admin.Report) bool { return r.ContractBreaches()["public.item"] == 2 })
		invoke(f.t, f.env, "dlq", "replay", f.file, "--all", "--sink", "one").want(f.t, exitOK)
		f.arrive(`SELECT count(*) || string_agg(id || note, ' ' ORDER BY id) FROM item`)
		if n := pgtest.QueryOne(f.t, other, `SELECT count(*) FROM item`); n != "2" {
			f.t.Errorf("the other sink has %s rows", n)
		}
		f.running.signal(f.t, syscall.SIGTERM)
		f.running.exit(f.t, exitOK)
	})
}
