package kafka

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// childEnv makes of the test program a producer that is to be killed: the address
// of a broker and an id.
const childEnv = "ENTRAIN_TEST_KAFKA_CHILD"

// transactions that the child writes, if it lives.
const transactions = 400

// child writes transactions of three rows, from its position on, and says how far
// it is. A kill meets open ones.
func child(address string) {
	broker, id, _ := strings.Cut(address, " ")
	if err := produceAll(context.Background(), broker, id); err != nil {
		fmt.Println("failed:", err)
		return
	}
	fmt.Println("done")
}

func produceAll(ctx context.Context, broker, id string) error {
	sink, err := NewSink(SinkConfig{Brokers: []string{broker}, TransactionalID: id, Topic: id + ".{schema}.{table}", Partitions: 3})
	if err != nil {
		return err
	}
	w, err := sink.Open(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	at, err := w.(entrain.Positioner).Position(ctx)
	if err != nil {
		return err
	}
	first, _ := strconv.Atoi(at.Offset)
	for i := first + 1; i <= transactions; i++ {
		for _, b := range asHanded(i) {
			if err := w.Write(ctx, b); err != nil {
				return err
			}
		}
		fmt.Println(i)
	}
	return nil
}

// asHanded is the transaction as the engine hands it to a sink that gathers: some are
// accepted whole, one behind the other; what waits is made durable before one that
// comes in parts.
func asHanded(i int) []*entrain.Batch {
	whole := batchOf(uint64(i), row(fmt.Sprint(3*i)), row(fmt.Sprint(3*i+1)), row(fmt.Sprint(3*i+2)))
	if i%4 != 0 && i < transactions {
		return []*entrain.Batch{part(whole)}
	}
	begin := *whole
	begin.Through = entrain.Position{}
	begin.Events, whole.Events = whole.Events[:2], whole.Events[2:]
	return []*entrain.Batch{{Through: batchOf(uint64(i - 1)).Through}, &begin, whole}
}

// TestKilled: a producer that is killed at any moment, also between the events
// and the end of their transaction, loses nothing and doubles nothing (P1, P2).
func TestKilled(t *testing.T) {
	address, id := broker(t), unique()
	kills := 0
	for round := 1; ; round++ {
		done := runChild(t, address+" "+id, 7*round)
		if done {
			break
		}
		kills++
	}
	if kills < 5 {
		t.Fatalf("only %d kills", kills)
	}
	settle(t, address, id)
	seen := map[string]int{}
	last := map[int32]int{}
	for _, r := range records(t, address, id+".public.conformance") {
		seen[string(r.Key)]++
		n, err := strconv.Atoi(strings.Trim(string(r.Key), `{"id:}`))
		if err != nil || n <= last[r.Partition] {
			t.Fatalf("key %s behind %d in partition %d (%v)", r.Key, last[r.Partition], r.Partition, err)
		}
		last[r.Partition] = n
	}
	if len(seen) != 3*transactions {
		t.Errorf("%d rows, want %d", len(seen), 3*transactions)
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", key, n)
		}
	}
}

// runChild runs a producer and kills it when it has said that it did so many
// transactions, a little later each time; true if it was done before.
func runChild(t *testing.T, what string, after int) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := false
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		switch line := lines.Text(); {
		case line == "done":
			done = true
		case strings.HasPrefix(line, "failed"):
			t.Error(line)
		case n == after:
			time.AfterFunc(time.Duration(after%10)*time.Millisecond/2, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait() // killed, or done
	return done
}
