package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/entrainsync/entrain/contract"
)

const exampleContract = "../../examples/contracts/orders.yaml"

// The example is read, passes its schema, and is the same when it is written and
// read again.
func TestExampleContract(t *testing.T) {
	c, err := LoadContract(exampleContract)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Contract
	if got.Table != "public.orders" || got.Compatibility != contract.Full || got.Dates.Active != "2026-10-01" || len(got.Columns) != 5 ||
		got.Columns[4].Type != "character(3)" || got.Columns[3].Min != "0" || !got.Columns[0].NotNull() {
		t.Errorf("read: %+v", got)
	}
	text, err := os.ReadFile(exampleContract)
	if err != nil {
		t.Fatal(err)
	}
	s := compile(t, ContractSchema())
	for _, text := range []string{string(text), got.Text()} {
		if err := validate(t, s, []byte(text)); err != nil {
			t.Error(err)
		}
	}
	again, err := ParseContract("again.yaml", []byte(got.Text()))
	if err != nil {
		t.Fatalf("%v\n%s", err, got.Text())
	}
	if diff := cmp.Diff(got, again.Contract, cmpopts.IgnoreFields(contract.Contract{}, "File")); diff != "" {
		t.Errorf("(-first +again):\n%s", diff)
	}
}

// Mistakes in a contract are told with their place.
func TestContractMistakes(t *testing.T) {
	const good = "table: public.orders\nstatus: active\ncolumns:\n  - name: id\n    type: bigint\n    key: true\n  - {name: total, type: numeric}\n"
	if _, err := ParseContract("orders.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"table: public.orders", "table: orders", "orders.yaml:1:8: expected schema.table, such as public.orders\n    1 | table: orders\n      |        ^^^^^^"},
		{"status: active", "status: done", "orders.yaml:2:9: expected one of proposed, active, deprecated, retired"},
		{"status: active", "compatibility: total", "orders.yaml:2:16: expected one of backward, forward, full, none"},
		{"status: active", "stauts: active", "orders.yaml:2:1: unknown key \"stauts\""},
		{"status: active", "classification: secret", "orders.yaml:2:17: expected one of public, internal, confidential, pii"},
		{"status: active", "dates: {active: 2026-13-01}", "orders.yaml:2:17: expected a day such as 2026-11-27"},
		{"status: active", "dates: {active: 2026-11-01, proposed: 2026-12-01}", "orders.yaml:2:17: before the day of an earlier status"},
		{"type: bigint", "type: \"\"", "orders.yaml:5:11: expected a type such as numeric(10,2)"},
		{"key: true", "key: 1", "orders.yaml:6:10: expected true or false, found \"1\""},
		{"key: true", "key: true\n    nullable: true", "orders.yaml:7:15: a column of the key is never NULL"},
		{"name: total", "name: id", "orders.yaml:7:12: there is a column \"id\" above"},
		{"type: numeric", "type: text, min: 1", "orders.yaml:7:36: only numbers have a least and a largest one"},
		{"type: numeric", "type: numeric, min: x", "orders.yaml:7:39: expected a number such as 0 or 99.5"},
		{"type: numeric", "type: numeric, min: 2, max: 1.5", "orders.yaml:7:47: less than min"},
		{"type: numeric", "type: text, pattern: '('", "orders.yaml:7:40: error parsing regexp: missing closing )"},
		{"type: numeric", "type: text, max_length: -1", "orders.yaml:7:43: expected a number of characters"},
		{"table: public.orders\n", "", "orders.yaml:1:1: the key \"table\" is missing here"},
		{good, "", "the file is empty: it needs at least table: and columns:"},
		{good, "- a\n", "expected keys and values such as \"table: public.orders\", found a list"},
	} {
		_, err := ParseContract("orders.yaml", []byte(strings.Replace(good, c.old, c.new, 1)))
		var placed *Error
		if !errors.As(err, &placed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

// A folder is read whole: what is no contract file is passed over, two contracts for
// one table are a mistake, and that there is no folder says what makes it.
func TestLoadContracts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b.yaml", "table: s.b\ncolumns: [{name: a, type: text}]\n")
	write("a.yml", "table: s.a\ncolumns: [{name: a, type: text}]\n")
	write("README.md", "no contract")
	write(".hidden.yaml", "no contract")
	all, err := LoadContracts(dir)
	if err != nil || len(all) != 2 || all[0].Contract.Table != "s.a" || all[1].Contract.Table != "s.b" {
		t.Fatalf("%v, %v", all, err)
	}
	write("c.yaml", "columns: [{name: a, type: text}]\ntable: s.a\n")
	if _, err := LoadContracts(dir); err == nil || !strings.Contains(err.Error(), "c.yaml:2:8: table s.a has a contract already, in "+filepath.Join(dir, "a.yml")) {
		t.Error(err)
	}
	_, err = LoadContracts(filepath.Join(dir, "none"))
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "entrain schema export FILE") ||
		!strings.Contains(err.Error(), "cannot read "+filepath.Join(dir, "none")+", the folder of contracts") {
		t.Error(err)
	}
}

// The section is checked with its place.
func TestContractsSection(t *testing.T) {
	const base = "source: {type: postgres, url: x}\nsink: {type: file}\n"
	for text, want := range map[string]string{
		"contracts: {dir: c}\n": "",
		"contracts: {dir: c, validation: dead_letter}\ndead_letter: {unit: event}\n":                                                      "",
		"contracts: {validation: warn}\n":                                                                                                 "shop.yaml:3:12: expected the folder with the contracts",
		"contracts: {dir: c, validation: loud}\n":                                                                                         "shop.yaml:3:33: expected off, warn, dead_letter or stop",
		"contracts: {dir: c, validation: dead_letter}\n":                                                                                  "shop.yaml:3:33: dead letters are not kept: a section dead_letter is missing",
		"contracts: {dir: c, validation: dead_letter}\ndead_letter: {enabled: false}\n":                                                   "shop.yaml:3:33: dead letters are not kept",
		"contracts: {dir: c, validation: dead_letter}\ndead_letter: {}\nstream: {type: kafka}\n":                                          "",
		"contracts: {dir: c, validation: dead_letter}\nstream: {type: kafka}\n":                                                           "shop.yaml:3:33: dead letters are not kept",
		"contracts: {dir: c, validation: dead_letter}\ndead_letter: {}\nstream: {type: kafka}\ntransform: [{tables: [a.b], rename: c}]\n": "shop.yaml:3:33: behind a stream",
	} {
		f, err := parse("shop.yaml", []byte(base+text), testEnv)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "" && (f.Contracts.Dir != "c" || !strings.Contains(f.Show(), "contracts:\n  dir: ")):
			t.Errorf("%s is shown as\n%s", text, f.Show())
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	var none *Contracts
	if none.Level() != contract.Off {
		t.Errorf("without the section: %s", none.Level())
	}
}

func FuzzContract(f *testing.F) {
	example, err := os.ReadFile(exampleContract)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add("table: a.b\ncolumns: [{name: \"\\x7f\\U0001F600\", type: 'x y', values: [\"${X}\", \"\\0\"], pattern: \"[a\"}]\n")
	f.Add("table: on.off\nstatus: retired\ndates: {retired: 2026-01-01}\ncolumns:\n  - {name: no, type: \"numeric(3,-2)[]\", min: -007.50, max: +8, max_length: 3, nullable: false}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseContract("fuzz.yaml", []byte(text))
		if err != nil {
			if _, ok := err.(*Error); !ok || err.Error() == "" {
				t.Fatalf("%T is not an *Error: %v", err, err)
			}
			return
		}
		again, err := ParseContract("again.yaml", []byte(c.Contract.Text()))
		if err != nil {
			t.Fatalf("what is written is not read: %v\n%s", err, c.Contract.Text())
		}
		if diff := cmp.Diff(c.Contract, again.Contract, cmpopts.IgnoreFields(contract.Contract{}, "File")); diff != "" {
			t.Fatalf("(-first +again):\n%s\n%s", diff, c.Contract.Text())
		}
	})
}
