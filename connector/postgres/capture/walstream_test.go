package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// byteConn is a connection whose server says what r holds; what is written to
// it is kept.
type byteConn struct {
	net.Conn
	r       io.Reader
	written bytes.Buffer
}

func (c *byteConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *byteConn) Write(p []byte) (int, error)      { return c.written.Write(p) }
func (c *byteConn) SetWriteDeadline(time.Time) error { return nil }

func testStream(r io.Reader, limit int) *walStream {
	return &walStream{
		conn: &byteConn{r: r}, limit: limit,
		note:     func(*pgconn.PgError) error { return nil },
		describe: func(head []byte) string { return fmt.Sprintf("change %q", head) },
	}
}

// readers cut one stream of bytes into reads of all sizes.
var readers = map[string]func(io.Reader) io.Reader{
	"at once":         func(r io.Reader) io.Reader { return r },
	"byte by byte":    iotest.OneByteReader,
	"in halves":       iotest.HalfReader,
	"with error last": iotest.DataErrReader,
}

// TestWalStreamFraming: messages come out as they went in, however the network
// cuts them, and nothing is lost between small and large ones (P1).
func TestWalStreamFraming(t *testing.T) {
	payloads := []string{"a", "", strings.Repeat("b", 10), strings.Repeat("c", 2*frameBuffer),
		"d", strings.Repeat("e", frameBuffer-frameHeader), strings.Repeat("f", frameBuffer+1), "g"}
	var sent []byte
	for _, p := range payloads {
		sent = append(sent, copyData([]byte(p))...)
		sent = append(sent, pgFrame('S', []byte("name\x00value\x00"))...)
	}
	for name, cut := range readers {
		t.Run(name, func(t *testing.T) {
			w := testStream(cut(bytes.NewReader(sent)), 1<<20)
			for i, want := range payloads {
				got, err := w.next()
				if err != nil || string(got) != want {
					t.Fatalf("message %d: %d bytes, %v; want %d bytes", i, len(got), err, len(want))
				}
			}
			if _, err := w.next(); !errors.Is(err, entrain.ErrDisconnected) {
				t.Errorf("at the end: %v, want ErrDisconnected", err)
			}
		})
	}
}

// TestWalStreamShrinks: the buffer that a large message took is given back by
// the next small one (P6).
func TestWalStreamShrinks(t *testing.T) {
	large, small := copyData(make([]byte, 16<<20)), copyData([]byte("small"))
	w := testStream(io.MultiReader(bytes.NewReader(large), bytes.NewReader(small)), 32<<20)
	for range 2 {
		if _, err := w.next(); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.buf) > frameBuffer {
		t.Errorf("the buffer keeps %d bytes", len(w.buf))
	}
}

// TestWalStreamReady: ready is true exactly if next does not read.
func TestWalStreamReady(t *testing.T) {
	msg := copyData([]byte("payload"))
	for cut := range msg {
		w := testStream(bytes.NewReader(msg[cut:]), 1<<20)
		w.buf = append(w.buf, msg[:cut]...)
		w.to = cut
		if w.ready() {
			t.Errorf("ready with %d of %d bytes", cut, len(msg))
		}
		if got, err := w.next(); err != nil || string(got) != "payload" {
			t.Errorf("cut at %d: %q, %v", cut, got, err)
		}
	}
	w := testStream(nil, 1<<20)
	w.buf, w.to = msg, len(msg)
	if !w.ready() {
		t.Error("not ready with a whole message")
	}
}

// TestWalStreamHostileLengths: P6. A length is refused before memory is taken
// for it.
func TestWalStreamHostileLengths(t *testing.T) {
	change := append(wire{'d', 0xFF, 0xFF, 0xFF, 0xFF}, walFrame(wire{'I', 0, 0, 0, 7})...)
	var stop *entrain.Stop
	if _, err := testStream(bytes.NewReader(change), 1<<20).next(); !errors.As(err, &stop) || stop.Code != "event_too_large" {
		t.Fatalf("4 GB: %v, want the stop event_too_large", err)
	}
	if !strings.Contains(stop.What, `change "I\x00\x00\x00\a"`) || !strings.Contains(stop.Next, "max_event_bytes to 1GB") {
		t.Errorf("the stop does not name the change and its size: %v", stop)
	}
	if _, err := testStream(bytes.NewReader([]byte{'d', 0, 0, 0, 3}), 1<<20).next(); err == nil || !strings.Contains(err.Error(), "impossible length") {
		t.Errorf("length 3: %v", err)
	}
	if _, err := testStream(bytes.NewReader([]byte{'E', 0, 0x20, 0, 0}), 1<<20).next(); !errors.As(err, &stop) {
		t.Errorf("an error message of 2 MB: %v", err)
	}
	if _, err := testStream(bytes.NewReader(pgFrame('?', nil)), 1<<20).next(); err == nil || !strings.Contains(err.Error(), "'?'") {
		t.Errorf("unknown message: %v", err)
	}
}

func encoded(t *testing.T, msg pgproto3.BackendMessage) []byte {
	t.Helper()
	b, err := msg.Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWalStreamErrorsAndNotices: notices are passed on and may end the stream;
// errors carry their SQLSTATE; the end of the stream is named.
func TestWalStreamErrorsAndNotices(t *testing.T) {
	notice := encoded(t, &pgproto3.NoticeResponse{Severity: "WARNING", Code: "01000", Message: "careful"})
	failure := encoded(t, &pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "going down"})
	var got []string
	w := testStream(bytes.NewReader(append(append(notice, copyData([]byte("x"))...), failure...)), 1<<20)
	w.note = func(n *pgconn.PgError) error {
		got = append(got, n.Message)
		return nil
	}
	if msg, err := w.next(); string(msg) != "x" || err != nil || !cmp.Equal(got, []string{"careful"}) {
		t.Fatalf("%q, %v, notices %q", msg, err, got)
	}
	if _, err := w.next(); dial.SQLState(err) != "57P01" || !entrain.IsRetryable(dial.Classify(err)) {
		t.Errorf("server error: %v", err)
	}
	refused := errors.New("refused")
	w = testStream(bytes.NewReader(notice), 1<<20)
	w.note = func(*pgconn.PgError) error { return refused }
	if _, err := w.next(); !errors.Is(err, refused) {
		t.Errorf("notice: %v", err)
	}
	for _, kind := range []byte("cCZ") {
		if _, err := testStream(bytes.NewReader(pgFrame(kind, nil)), 1<<20).next(); !errors.Is(err, errEndOfStream) {
			t.Errorf("message %q: %v, want the end of the stream", kind, err)
		}
	}
	for _, kind := range []byte("EN") {
		if _, err := testStream(bytes.NewReader(pgFrame(kind, []byte("garbage"))), 1<<20).next(); err == nil {
			t.Errorf("garbage in message %q was accepted", kind)
		}
	}
}

// TestWalStreamStatus: written, flushed and applied are always told together.
func TestWalStreamStatus(t *testing.T) {
	w := testStream(nil, 0)
	if err := w.status(0x16B374D848, 0x16B374D848, 1); err != nil {
		t.Fatal(err)
	}
	got := w.conn.(*byteConn).written.Bytes()
	want := wire{'d', 0, 0, 0, 38, 'r'}.u64(0x16B374D848).u64(0x16B374D848).u64(0x16B374D848)
	if len(got) != 39 || !bytes.Equal(got[:len(want)], want) || got[38] != 1 {
		t.Errorf("status % x", got)
	}
}

// FuzzWalStream: hostile bytes are an error, never a panic or memory out of
// proportion, and the same however they are cut (P6).
func FuzzWalStream(f *testing.F) {
	f.Add([]byte(copyData(keepaliveFrame(100, 1))))
	f.Add([]byte(append(copyData(walFrame(beginMsg(100, 7))), copyData(nil)...)))
	f.Add([]byte(pgFrame('E', []byte("SERROR\x00C42704\x00Mpublication\x00\x00"))))
	f.Add([]byte{'d', 0xFF, 0xFF, 0xFF, 0xFF, 'w'})
	f.Add([]byte{'N', 0, 0, 0, 4, 'Z', 0, 0, 0, 5, 'I'})
	f.Fuzz(func(t *testing.T, data []byte) {
		if diff := cmp.Diff(streamLog(bytes.NewReader(data)), streamLog(iotest.OneByteReader(bytes.NewReader(data)))); diff != "" {
			t.Errorf("at once and byte by byte differ:\n%s", diff)
		}
	})
}

func streamLog(r io.Reader) []string {
	var log []string
	w := testStream(r, 4096)
	for {
		msg, err := w.next()
		if err != nil {
			return append(log, err.Error())
		}
		log = append(log, string(msg))
	}
}
