package pipeline_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
)

// TestEditedLetter: a letter is delivered with what a person has put into it, which is
// written down before; what makes no sense leaves the letter alone.
func TestEditedLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 2})
		table := entraintest.StandardTable()
		old := []entraintest.Cell{entraintest.Text("1"), entraintest.Text("bad"), entraintest.Text("b"), entraintest.Null}
		src.Commit(entraintest.Insert(table, old...))
		var said []pipeline.EditRecord
		full := errors.New("no room")
		f := openOffice(t, src, pipeline.DeadLetters{Audit: func(r []pipeline.EditRecord) error {
			said = append(said, r...)
			return full
		}}, "source/memory/1000/0")
		defer f.end()
		f.picky.mend()
		key, second, last := table.Columns[0].Name, table.Columns[1].Name, table.Columns[3].Name
		good, one := "good", "1.50"
		edit := func(id string, edits ...pipeline.Edit) error {
			return f.Do(t.Context(), pipeline.Order{Do: pipeline.OrderEdit, Letters: []string{id}, Edits: edits, By: "ann"})
		}
		for what, err := range map[string]error{
			"a key":            edit("source/memory/1000/0", pipeline.Edit{Column: key, Value: &good}),
			"no column":        edit("source/memory/1000/0", pipeline.Edit{Column: "none", Value: &good}),
			"nothing":          edit("source/memory/1000/0"),
			"a transaction":    edit("source/memory/1000/", pipeline.Edit{Column: second}),
			"no letter":        edit("source/memory/9/9", pipeline.Edit{Column: second}),
			"without a record": edit("source/memory/1000/0", pipeline.Edit{Column: second, Value: &good}),
		} {
			if err == nil || len(f.box.ids()) != 1 {
				t.Errorf("%s: %v, and %v are left", what, err, f.box.ids())
			}
		}
		full, said = nil, nil
		if err := edit("source/memory/1000/0", pipeline.Edit{Column: second, Value: &good}, pipeline.Edit{Column: table.Columns[2].Name}, pipeline.Edit{Column: last, Value: &one}); err != nil {
			t.Fatal(err)
		}
		want := entraintest.Rows{"1": {old[0], entraintest.Text("good"), entraintest.Null, entraintest.Text("1.50")}}
		if diff := f.sink.Rows(table.String()).Diff(want); diff != "" || len(f.box.ids()) > 0 {
			t.Errorf("%s; left %v", diff, f.box.ids())
		}
		bad, b := "bad", "b"
		records := []pipeline.EditRecord{{Column: second, From: &bad, To: &good}, {Column: table.Columns[2].Name, From: &b}, {Column: last, To: &one}}
		for _, outcome := range []pipeline.EditOutcome{pipeline.EditBegun, pipeline.EditDelivered} {
			for i := range records[:3] {
				r := records[i]
				r.Outcome = outcome
				records = append(records, r)
			}
		}
		records = records[3:]
		for i := range records {
			records[i].Event, records[i].Table, records[i].By, records[i].At = "source/memory/1000/0", table.String(), "ann", said[i].At
		}
		if diff := cmp.Diff(records, said); diff != "" || said[0].At.IsZero() {
			t.Errorf("the record (-want +got):\n%s", diff)
		}
	})
}
