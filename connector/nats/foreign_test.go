package nats

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

var messageCommand = regexp.MustCompile(`nats stream (get|rmm --force) (\S+) (\d+)`)

// lookAndTakeOut does what a stop about a foreign message says, as the client nats
// would, and returns what the message is.
func lookAndTakeOut(t *testing.T, js jetstream.JetStream, next string) (data string) {
	t.Helper()
	found := messageCommand.FindAllStringSubmatch(next, -1)
	if len(found) != 2 || found[0][1] != "get" {
		t.Fatalf("the advice is %s", next)
	}
	for _, m := range found {
		s, err := js.Stream(t.Context(), m[2])
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.ParseUint(m[3], 10, 64)
		if m[1] == "get" {
			raw, err := s.GetMsg(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			data = string(raw.Data)
			continue
		}
		if err := s.SecureDeleteMsg(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

// takenOver is a session that writes.
func takenOver(t *testing.T, l *Log) (entrain.Writer, error) {
	t.Helper()
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	_, err = w.(entrain.Positioner).Position(t.Context())
	return w, err
}

func stopOf(t *testing.T, err error, codes string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || !strings.Contains(codes, stop.Code) {
		t.Fatalf("got %v, want the stop %s", err, codes)
	}
	return stop
}

// numberedUpTo reads transactions from number first to last, once and in order.
func numberedUpTo(t *testing.T, r entrain.Reader, first, last int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for n := (numbers{t: t, tx: first}); n.tx <= last; {
		b, err := r.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n.take(b)
	}
}

// TestForeignMessage: a message that another program puts into the stream stops writer
// and reader with its number, before anything comes behind it; what the stop prints
// shows it and takes it out, and all goes on without a gap, also without batches.
func TestForeignMessage(t *testing.T) {
	for _, alien := range []string{"hello", `{"hello": "a message that is as long as an envelope of ours"}`} {
		t.Run("batches", func(t *testing.T) { testForeignMessage(t, alien, func(*backend) {}) })
		t.Run("single", func(t *testing.T) { testForeignMessage(t, alien, func(b *backend) { b.withoutBatches = true }) })
	}
}

func testForeignMessage(t *testing.T, alien string, set func(*backend)) {
	at := newElsewhere(t)
	js, l := jetStream(t, at.url), newServerLog(t, ServerConfig{URL: at.url})
	set(l.backend)
	w := written(t, l, 1, 2)
	r := reading(t, l)
	numberedUpTo(t, r, 1, 2)
	if _, err := js.Publish(t.Context(), "entrain.log.shop", []byte(alien)); err != nil {
		t.Fatal(err)
	}
	if err := writeTx(t.Context(), w, 3); !entrain.IsRetryable(err) {
		t.Fatalf("the writer goes on behind it: %v", err)
	}
	_, err := takenOver(t, l)
	stop := stopOf(t, err, "stream_damaged stream_version")
	_, err = r.Read(t.Context())
	if other := stopOf(t, err, stop.Code); other.Next != stop.Next {
		t.Errorf("the reader says %s, the writer %s", other.Next, stop.Next)
	}
	if seen := lookAndTakeOut(t, js, stop.Next); seen != alien {
		t.Errorf("the command shows %q", seen)
	}
	written(t, l, 3, 3)
	numberedUpTo(t, reading(t, l), 1, 3)
}

// written writes transactions in a session of their own.
func written(t *testing.T, l *Log, from, to int) entrain.Writer {
	t.Helper()
	w, err := takenOver(t, l)
	for n := from; n <= to && err == nil; n++ {
		err = writeTx(t.Context(), w, n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// reading is a session that reads from the beginning.
func reading(t *testing.T, l *Log) entrain.Reader {
	t.Helper()
	r, err := l.Read("c", "shop").Open(t.Context(), entrain.Position{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}
