package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/pipeline"
)

// TestEditsOf: what was typed is what the letter gets, or is refused.
func TestEditsOf(t *testing.T) {
	edits, err := editsOf([]string{"note=a=b", `we "ird=`}, []string{"n"})
	if err != nil || len(edits) != 3 || edits[0].Column != "note" || *edits[0].Value != "a=b" || *edits[1].Value != "" || edits[2].Value != nil {
		t.Errorf("%+v, %v", edits, err)
	}
	for _, bad := range []string{"note", "=x", "note=\xff", "n\xffte=x"} {
		if _, err := editsOf([]string{bad}, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestAuditIsWholeLines: a record is in the file whole, or not at all.
func TestAuditIsWholeLines(t *testing.T) {
	folder := t.TempDir()
	record := pipeline.EditRecord{Event: "s/i/1/0", Table: "public.a\nb", Column: "c"}
	if err := audit(folder).write([]pipeline.EditRecord{record, record}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, auditName)
	if err := audit(filepath.Join(folder, "none")).write([]pipeline.EditRecord{record}); err == nil {
		t.Error("written into a folder that is not there")
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != 2 || !strings.HasSuffix(string(text), "}\n") {
		t.Errorf("%s, %v", text, err)
	}
}
