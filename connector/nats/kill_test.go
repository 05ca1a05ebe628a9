package nats

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// killEnv names the folder in which a process of the test writes until it is
// killed.
const killEnv = "ENTRAIN_TEST_NATS_KILLED"

// loudly is a logger into the test's own log.
func loudly(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// killed is the process that is killed: it goes on writing numbered rows behind
// the position that it finds, in transactions of all sizes, and prints the
// number of each that is durable.
func killed() bool {
	dir := os.Getenv(killEnv)
	if dir == "" {
		return false
	}
	if err := writeOn(context.Background(), dir); err != nil {
		fmt.Println("failed:", err)
	}
	return true
}

func writeOn(ctx context.Context, dir string) error {
	l, err := NewEmbedded(EmbeddedConfig{Dir: dir, Config: Config{Producer: "shop", MessageBytes: 16 << 10, Every: 20 * time.Millisecond}})
	if err != nil {
		return err
	}
	l.Cursors([]string{"c"})
	w, err := l.Open(ctx)
	if err != nil {
		return err
	}
	at, err := w.(entrain.Positioner).Position(ctx)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(at.Offset)
	fmt.Println("begin", n)
	for {
		n++
		if err := writeTx(ctx, w, n); err != nil {
			return err
		}
		fmt.Println("durable", n)
	}
}

// rowsOf is how many rows the transaction of a number has.
func rowsOf(n int) int { return 1 + n*n%97 }

func writeTx(ctx context.Context, w entrain.Writer, n int) error {
	const each = 40
	rows := rowsOf(n)
	body := entraintest.Text(strings.Repeat("x", 1000))
	s := &entrain.Stream{Source: "shop", Incarnation: "kill"}
	b := &entrain.Batch{}
	for i := range rows {
		e := entraintest.Insert(entraintest.StandardTable(), entraintest.Text(strconv.Itoa(n)), entraintest.Text(strconv.Itoa(i)), body, entraintest.Null)
		e.Tx, e.Ordinal = &entrain.Transaction{Stream: s, Version: uint64(n)}, uint64(i)
		b.Events = append(b.Events, e)
		if len(b.Events) == each {
			if err := w.Write(ctx, b); err != nil {
				return err
			}
			b = &entrain.Batch{}
		}
	}
	b.Through = entrain.Position{Incarnation: "kill", Offset: strconv.Itoa(n)}
	return w.Write(ctx, b)
}

// TestKill: whatever was durable when its process was killed is there, once and
// in order, and the next one goes on behind it (P1, P2).
func TestKill(t *testing.T) {
	kills := 30
	if testing.Short() {
		kills = 5
	}
	dir := t.TempDir()
	durable := 0
	for i := range kills {
		durable = max(durable, killOne(t, dir, time.Duration(50+37*i%400)*time.Millisecond, durable))
	}
	if durable < kills {
		t.Errorf("only %d transactions were written", durable)
	}
	l, err := NewEmbedded(EmbeddedConfig{Dir: dir, Config: Config{Producer: "shop", Log: loudly(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	at, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	end, _ := strconv.Atoi(at.Offset)
	if end < durable {
		t.Fatalf("the position is %s, but %d was durable", at, durable)
	}
	readNumbers(t, l, end)
	t.Logf("%d transactions after %d kills", end, kills)
}

// killOne runs the process for a while and returns the last number that it said
// to be durable.
func killOne(t *testing.T, dir string, after time.Duration, before int) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	last, begun := before, false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		what, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		switch {
		case what == "begin" && err == nil:
			if begun = true; n < before {
				t.Fatalf("a process begins at %d, but %d was durable", n, before)
			}
			timer.Reset(after)
		case what == "durable" && err == nil:
			last = n
		default:
			t.Fatalf("the process says %q", lines.Text())
		}
	}
	cmd.Wait()
	if !begun {
		t.Fatal("the process did not begin")
	}
	return last
}

// numbers are the rows that have to come next.
type numbers struct {
	t       *testing.T
	tx, row int
}

func (n *numbers) take(b *entrain.Batch) {
	n.t.Helper()
	for i := range b.Events {
		if e := &b.Events[i]; e.Tx.Version != uint64(n.tx) || e.Ordinal != uint64(n.row) {
			n.t.Fatalf("row %d of transaction %d comes where row %d of %d should", e.Ordinal, e.Tx.Version, n.row, n.tx)
		}
		if n.row++; n.row == rowsOf(n.tx) {
			n.tx, n.row = n.tx+1, 0
		}
	}
	b.Free()
}

// readNumbers reads everything and compares it with what was written. A session
// that meets a torn transaction begins anew, as the engine's do.
func readNumbers(t *testing.T, l *Log, end int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	src := l.Read("c", "shop")
	var from entrain.Position
	for tx := 1; tx <= end; {
		r, err := src.Open(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		for n := (numbers{t: t, tx: tx}); tx <= end && err == nil; { // also the end of a transaction that came in parts
			b, readErr := r.Read(ctx)
			if err = readErr; err != nil {
				break
			}
			through := b.Through
			n.take(b)
			if !through.IsZero() {
				tx, from = n.tx, through
			}
		}
		if err = errors.Join(err, r.Close()); err != nil && !entrain.IsRetryable(err) {
			t.Fatal(err)
		}
	}
}
