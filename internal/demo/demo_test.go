package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// emptyTemp makes the demo put its servers into a folder of the test, which
// must be empty at its end.
func emptyTemp(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	// Root's servers run as somebody else, who must be able to get there.
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind in the temporary folder: %v %v", left, err)
		}
	})
}

// TestDemo runs it whole: what the target holds at the end is what the source
// holds (P1, P2), and nothing is left behind.
func TestDemo(t *testing.T) {
	emptyTemp(t)
	var out, talk bytes.Buffer
	err := Run(t.Context(), Options{For: 3 * time.Second, Stdout: &out, Stderr: &talk})
	if err != nil {
		t.Fatalf("Run: %v\n%s%s", err, out.String(), talk.String())
	}
	for _, want := range []string{
		"transaction ", "insert orders", "update customers",
		"table ", "order_items  ", "\nequal: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("stdout lacks %q", want)
		}
	}
	for _, want := range []string{"copied 402010 existing rows of 4 tables", "the first change was there", " changes  ", "the shop is closed", "files are removed"} {
		if !strings.Contains(talk.String(), want) {
			t.Errorf("stderr lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("stdout is painted, though Color is off")
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", out.String(), talk.String())
	}
}

// firstWrite calls back at the first write.
type firstWrite struct {
	bytes.Buffer
	do func()
}

func (w *firstWrite) Write(p []byte) (int, error) {
	if w.Len() == 0 {
		w.do()
	}
	return w.Buffer.Write(p)
}

// TestInterrupt ends the demo when the first change is on the screen: it still
// delivers, compares and cleans up.
func TestInterrupt(t *testing.T) {
	emptyTemp(t)
	ctx, interrupt := context.WithCancel(t.Context())
	out := &firstWrite{do: interrupt}
	var talk bytes.Buffer
	if err := Run(ctx, Options{Rate: 1000, Stdout: out, Stderr: &talk, Color: true}); err != nil {
		t.Fatalf("Run: %v\n%s%s", err, out.String(), talk.String())
	}
	if !strings.Contains(out.String(), "\nequal: ") || !strings.Contains(out.String(), "\x1b[32minsert") {
		t.Errorf("stdout lacks verdict or colour:\n%s", out.String())
	}
}

// TestInterruptAtOnce leaves nothing behind either.
func TestInterruptAtOnce(t *testing.T) {
	emptyTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, talk bytes.Buffer
	if err := Run(ctx, Options{Stdout: &out, Stderr: &talk}); err != nil || out.Len() > 0 {
		t.Fatalf("Run: %v\n%s", err, out.String())
	}
}

// TestVerdictFindsDifferences plants a lost row, a doubled effect and a wrong
// value: each must be found.
func TestVerdictFindsDifferences(t *testing.T) {
	srv := pgtest.Shared(t, 15)
	source, target := pgtest.CreateDatabase(t, srv), pgtest.CreateDatabase(t, srv)
	fill := `INSERT INTO customers SELECT i, 'name ' || i, 'Graz' FROM generate_series(1, 20) i;
		INSERT INTO inventory SELECT 'sku ' || i, 'thing', i, 1 FROM generate_series(1, 20) i;
		INSERT INTO orders SELECT i, i, 'new', i, '2026-01-01' FROM generate_series(1, 20) i`
	reversed := strings.ReplaceAll(fill, "generate_series(1, 20) i", "generate_series(20, 1, -1) i")
	pgtest.Exec(t, source, schema, fill)
	pgtest.Exec(t, target, schema, reversed)
	differ := func() string {
		a, errA := read(t.Context(), source)
		b, errB := read(t.Context(), target)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		return strings.Join(newScreen(Options{Stdout: &out}).compare(a, b), " ")
	}
	if got := differ(); got != "" {
		t.Fatalf("same rows in another order: differ in %s", got)
	}
	for _, planted := range []struct{ sql, undo, table string }{
		{"DELETE FROM orders WHERE id = 7", "INSERT INTO orders VALUES (7, 7, 'new', 7, '2026-01-01')", "orders"},
		{"UPDATE inventory SET stock = stock + 1 WHERE sku = 'sku 3'", "UPDATE inventory SET stock = 3 WHERE sku = 'sku 3'", "inventory"},
		{"UPDATE customers SET note = '' WHERE id = 1", "UPDATE customers SET note = NULL WHERE id = 1", "customers"},
	} {
		pgtest.Exec(t, target, planted.sql)
		if got := differ(); got != planted.table {
			t.Errorf("after %s: differ in %q, want %q", planted.sql, got, planted.table)
		}
		pgtest.Exec(t, target, planted.undo)
	}
	if got := differ(); got != "" {
		t.Errorf("after all was undone: differ in %s", got)
	}
}
