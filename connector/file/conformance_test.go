package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A regular file keeps all contracts of a sink that stores a mark (P1, P2, P3).
func TestConformance(t *testing.T) {
	var path string
	entraintest.TestSink(t, entraintest.SinkHarness{
		New: func(t testing.TB) entrain.Sink {
			path = filepath.Join(t.TempDir(), "out.jsonl")
			return newSink(t, path)
		},
		Rows:         func(t testing.TB) entraintest.Rows { return replay(t, path) },
		Keeps:        entraintest.KeepsMark,
		VisibleEarly: true,
		NoDoubles:    true,
		KeepsChanges: true,
	})
}

func newSink(t testing.TB, path string) *Sink {
	t.Helper()
	s, err := NewSink(SinkConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// line is the part of a native line that the replay needs.
type line struct {
	Op        string         `json:"op"`
	Before    map[string]any `json:"before"`
	After     map[string]any `json:"after"`
	Unchanged []string       `json:"unchanged"`
}

// replay reads the file as a consumer would, by a JSON parser that is not
// ours.
func replay(t testing.TB, path string) entraintest.Rows {
	t.Helper()
	rows := entraintest.Rows{}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return rows
	}
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for dec.More() {
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		e := l.event()
		if err := rows.Apply(&e); err != nil {
			t.Fatalf("%s: %s: %v", path, l.Op, err)
		}
	}
	return rows
}

func (l line) event() entrain.Event {
	table := entraintest.StandardTable()
	if l.Op == "truncate" {
		return entraintest.Truncate(table)
	}
	e := entrain.Event{Table: table, Before: l.row(l.Before), After: l.row(l.After)}
	e.Op = map[string]entrain.Op{"insert": entrain.OpInsert, "update": entrain.OpUpdate, "delete": entrain.OpDelete,
		"read": entrain.OpRead, "read_end": entrain.OpReadEnd}[l.Op]
	return e
}

// row returns nil for no image. What is neither there nor named as unchanged
// is part of an old image that was not logged.
func (l line) row(image map[string]any) entrain.Row {
	if image == nil {
		return nil
	}
	table := entraintest.StandardTable()
	cells := make([]entraintest.Cell, len(table.Columns))
	for i, c := range table.Columns {
		value, there := image[c.Name]
		switch {
		case !there || slices.Contains(l.Unchanged, c.Name):
			cells[i] = entraintest.Unchanged
		case value == nil:
			cells[i] = entraintest.Null
		default:
			cells[i] = entraintest.Text(fmt.Sprint(value))
		}
	}
	return entraintest.Row(table, cells...)
}
