package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/redisserver"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
)

// killEnv is the URL of the server at which a process of the test writes until it is
// killed.
const killEnv = "ENTRAIN_TEST_REDIS_KILLED"

// killed is the process that is killed: it goes on writing numbered rows behind
// the position that it finds, in transactions of all sizes, and prints the
// number of each that is durable.
func killed() bool {
	url := os.Getenv(killEnv)
	if url == "" {
		return false
	}
	if err := writeOn(context.Background(), url); err != nil {
		fmt.Println("failed:", err)
	}
	return true
}

func writeOn(ctx context.Context, url string) error {
	l, err := NewLog(killConfig(url))
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

func killConfig(url string) Config {
	return Config{Server: Server{URL: url}, Producer: "shop", MessageBytes: 16 << 10, Every: 20 * time.Millisecond}
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
	kills := 20
	if testing.Short() {
		kills = 5
	}
	url := "redis://" + redistest.StartOwn(t, redisserver.Config{}).Addr()
	durable := 0
	for i := range kills {
		durable = max(durable, killOne(t, url, time.Duration(50+37*i%400)*time.Millisecond, durable))
	}
	if durable < kills {
		t.Errorf("only %d transactions were written", durable)
	}
	end := verifyNumbers(t, url, durable)
	t.Logf("%d transactions after %d kills", end, kills)
}

// TestKillServer: whatever was acknowledged when the server was killed is there, once
// and in order (P1, P2).
func TestKillServer(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	srv := redistest.StartOwn(t, redisserver.Config{})
	url := "redis://" + srv.Addr()
	l, err := NewLog(killConfig(url))
	if err != nil {
		t.Fatal(err)
	}
	l.Cursors([]string{"c"})
	durable := 0
	for i := range kills {
		w, at := opened(t, l)
		n, _ := strconv.Atoi(at.Offset)
		if n < durable {
			t.Fatalf("kill %d: the position is %s, but %d was durable", i, at, durable)
		}
		timer := time.AfterFunc(time.Duration(20+37*i%300)*time.Millisecond, func() {
			if err := srv.Kill(t.Context()); err != nil {
				t.Error(err)
			}
		})
		for err == nil {
			n++
			if err = writeTx(t.Context(), w, n); err == nil {
				durable = n
			}
		}
		if !entrain.IsRetryable(err) {
			t.Fatalf("kill %d: %v", i, err)
		}
		err = nil
		timer.Stop()
		w.Close()
		if err := srv.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if durable < kills {
		t.Errorf("only %d transactions were written", durable)
	}
	end := verifyNumbers(t, url, durable)
	t.Logf("%d transactions after %d kills of the server", end, kills)
}

// verifyNumbers reads all and returns how many transactions there are.
func verifyNumbers(t *testing.T, url string, durable int) int {
	t.Helper()
	l := newLog(t, Server{URL: url})
	_, at := opened(t, l)
	end, _ := strconv.Atoi(at.Offset)
	if end < durable {
		t.Fatalf("the position is %s, but %d was durable", at, durable)
	}
	readNumbers(t, l, end)
	return end
}

// killOne runs the process for a while and returns the last number that it said
// to be durable.
func killOne(t *testing.T, url string, after time.Duration, before int) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+url)
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

// readNumbers reads everything and compares it with what was written.
func readNumbers(t *testing.T, l *Log, end int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	src, at := l.Read("c", "shop"), numbers{next: 1}
	var from entrain.Position
	for at.next <= end {
		r, err := src.Open(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		whole := at // at the last position
		for at.next <= end && err == nil {
			var b *entrain.Batch
			if b, err = r.Read(ctx); err != nil {
				break
			}
			at.take(t, b)
			if !b.Through.IsZero() {
				whole, from = at, b.Through
			}
			b.Free()
		}
		if err = errors.Join(err, r.Close()); err != nil && !entrain.IsRetryable(err) {
			t.Fatal(err)
		}
		if err != nil {
			at = whole
		}
	}
}

// numbers is which row of which transaction comes next.
type numbers struct{ next, row int }

func (n *numbers) take(t *testing.T, b *entrain.Batch) {
	t.Helper()
	for i := range b.Events {
		if e := &b.Events[i]; e.Tx.Version != uint64(n.next) || e.Ordinal != uint64(n.row) {
			t.Fatalf("row %d of transaction %d comes where row %d of %d should", e.Ordinal, e.Tx.Version, n.row, n.next)
		}
		if n.row++; n.row == rowsOf(n.next) {
			n.next, n.row = n.next+1, 0
		}
	}
}
