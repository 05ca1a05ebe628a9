package backfill

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios print into testdata")

// TestScenarios plays testdata/*.txt: a line is a command, the lines behind it
// that begin with a tab are what it prints. The table is k, a, b with the key k;
// ~ is a value that the log lacks, - is NULL.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 9 {
		t.Fatal(len(files), "scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScript(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) && !*rewrite {
				t.Errorf("the scenario prints other lines:\n%s", got)
			}
		})
	}
}

func playScript(t *testing.T, text string) string {
	var out strings.Builder
	s := &script{shape: scriptShape("1", "int4")}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "\t") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		for _, print := range s.run(line) {
			out.WriteString("\t" + print + "\n")
		}
		if s.c == nil {
			continue
		}
		if err := s.c.valid(); err != nil {
			t.Errorf("after %q: %v", line, err)
		}
	}
	return out.String()
}

// script plays the commands of one scenario.
type script struct {
	c     *Copy
	shape *entrain.Table
	args  map[string]string
	fails int
}

func scriptShape(version, key string) *entrain.Table {
	n, _ := strconv.ParseUint(version, 10, 64)
	t := &entrain.Table{Schema: "public", Name: "t", Version: n, Columns: []entrain.Column{
		{Name: "k", Type: key, Key: key != "none"}, {Name: "a"}, {Name: "b"},
	}}
	return t
}

func (s *script) run(line string) []string {
	words := strings.Fields(line)
	s.args = map[string]string{}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		s.args[name] = value
	}
	out := s.command(words[0])
	if s.c == nil {
		return out
	}
	if n, why := s.c.Discarded(); n > s.fails {
		out = append(out, fmt.Sprintf("discarded %d: %s", n, why))
	}
	s.fails, _ = s.c.Discarded()
	if s.c.Dirty() {
		out = append(out, "save "+asJSON(s.c.Progress()))
	}
	return out
}

func asJSON(p Progress) string {
	p.Key = 0
	text, _ := json.Marshal(p)
	return string(text)
}

func (s *script) command(name string) []string {
	switch name {
	case "shape":
		s.shape = scriptShape(s.args["version"], s.args["key"])
	case "new":
		return s.make()
	case "next":
		return s.next()
	case "insert", "update", "delete", "truncate", "other":
		return s.event(name)
	case "read":
		return s.failure(s.c.Read(s.chunk()))
	case "end":
		return s.end()
	case "applied":
		return []string{asJSON(s.c.Applied())}
	case "abandon":
		s.c.Abandon()
	case "saw":
		s.c.Saw(s.view())
	case "touched":
		return []string{strconv.Itoa(len(s.c.touched))}
	default:
		return []string{"unknown command " + name}
	}
	return nil
}

func (s *script) failure(err error) []string {
	if err != nil {
		return []string{"error: " + err.Error()}
	}
	return nil
}

func (s *script) number(name string) int {
	n, _ := strconv.Atoi(s.args[name])
	return n
}

func (s *script) make() []string {
	var from Progress
	if text := s.args["from"]; text != "" {
		if err := json.Unmarshal([]byte(text), &from); err != nil {
			return []string{err.Error()}
		}
		from.Key = fingerprint(scriptShape("1", "int4"), []int{0})
	}
	c, err := New(s.shape, from, s.number("rows"), s.number("bytes"))
	if err == nil {
		s.c = c
	}
	return s.failure(err)
}

func (s *script) next() []string {
	q, ok := s.c.Next()
	switch {
	case !ok:
		return []string{"not now"}
	case q.Of != nil:
		return []string{fmt.Sprintf("the row %q", q.Of)}
	}
	return []string{fmt.Sprintf("%d rows after %q", q.Rows, q.After)}
}

func scriptRow(values ...string) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(nil, 3)
	for _, v := range values {
		switch v {
		case "~":
			b.Unchanged()
		case "-":
			b.Null()
		default:
			b.Value([]byte(v))
		}
	}
	row, _ := b.End()
	return row
}

// event delivers one: x is the transaction, was the old key, row the new row.
func (s *script) event(name string) []string {
	ops := map[string]entrain.Op{
		"insert": entrain.OpInsert, "other": entrain.OpInsert, "update": entrain.OpUpdate,
		"delete": entrain.OpDelete, "truncate": entrain.OpTruncate,
	}
	e := &entrain.Event{Op: ops[name], Table: s.shape, Tx: &entrain.Transaction{ID: uint64(s.number("x"))}}
	if text := s.args["row"]; text != "" {
		e.After = scriptRow(strings.Split(text, ",")...)
	}
	if was := s.args["was"]; was != "" {
		e.Before = scriptRow(was, "~", "~")
	}
	other := &entrain.Table{Schema: "public", Name: "u", Columns: s.shape.Columns}
	switch name {
	case "truncate":
		e.Table, e.Truncate = nil, &entrain.Truncate{Tables: []*entrain.Table{other, s.shape}}
	case "other":
		e.Table = other
	}
	return s.failure(s.c.Deliver(e))
}

// view is min=, max= and open=.
func (s *script) view() entrain.View {
	v := entrain.View{Min: uint64(s.number("min")), Max: uint64(s.number("max"))}
	for _, open := range strings.Split(s.args["open"], ",") {
		if n, err := strconv.ParseUint(open, 10, 64); err == nil {
			v.Open = append(v.Open, n)
		}
	}
	return v
}

// chunk has a view, reach= and rows=k,a,b/k,a,b, last the key.
func (s *script) chunk() *entrain.Chunk {
	reach := s.number("reach")
	ch := &entrain.Chunk{Table: s.shape, View: s.view(), Reached: func(at entrain.Position) bool {
		n, err := strconv.Atoi(at.Offset)
		return err == nil && n >= reach
	}}
	_, ch.More = s.args["more"]
	for _, text := range strings.Split(s.args["rows"], "/") {
		if values := strings.Split(text, ","); text != "" {
			ch.Rows = append(ch.Rows, scriptRow(values...))
			ch.Last = values[:1]
		}
	}
	return ch
}

func (s *script) end() []string {
	rows, ok := s.c.End(entrain.Position{Offset: s.args["at"]})
	if !ok {
		return nil
	}
	out := []string{fmt.Sprintf("apply %d rows", len(rows))}
	for _, row := range rows {
		var values []string
		for i := range 3 {
			v, state := row.Column(i, 3)
			values = append(values, [...]string{string(v), "-", "~"}[state])
		}
		out = append(out, strings.Join(values, ","))
	}
	return out
}
