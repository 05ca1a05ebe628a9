package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/pgoutput"
)

// walStream reads and writes the messages of a connection that START_REPLICATION
// put into copy-both mode (PostgreSQL manual, "Streaming Replication Protocol").
// It reads for one goroutine; status may be written by another one.
type walStream struct {
	conn  net.Conn
	buf   []byte // bytes buf[from:to] are read but not consumed
	from  int
	to    int
	limit int                           // of one message's bytes, P6
	note  func(n *pgconn.PgError) error // is told every notice; its error ends the stream
	// describe names a change by its first changeHead bytes.
	describe func(head []byte) string
}

const (
	frameHeader = 5
	changeHead  = 5 // a change's kind and relation
	frameBuffer = 256 << 10
	// writeTimeout bounds a status update; the server reads them even while
	// it cannot send.
	writeTimeout = 30 * time.Second
)

var errEndOfStream = errors.New("the server ended the stream")

// ready reports whether next would return without reading from the network.
func (w *walStream) ready() bool {
	have := w.to - w.from
	return have >= frameHeader && have > int(binary.BigEndian.Uint32(w.buf[w.from+1:]))
}

// next returns the payload of the next CopyData message; it is valid until the
// following call. Notices are passed to note, server errors returned.
func (w *walStream) next() ([]byte, error) {
	for {
		kind, body, err := w.frame()
		if err != nil {
			return nil, err
		}
		switch kind {
		case 'd':
			return body, nil
		case 'E':
			return nil, serverError(body)
		case 'N':
			if err := w.notice(body); err != nil {
				return nil, err
			}
		case 'c', 'C', 'Z':
			return nil, errEndOfStream
		case 'S', 'W':
		default:
			return nil, fmt.Errorf("unexpected protocol message %q", kind)
		}
	}
}

// frame returns the next protocol message.
func (w *walStream) frame() (byte, []byte, error) {
	if err := w.require(frameHeader); err != nil {
		return 0, nil, err
	}
	kind := w.buf[w.from]
	size := int(binary.BigEndian.Uint32(w.buf[w.from+1:])) - 4
	if size < 0 {
		return 0, nil, fmt.Errorf("protocol message %q of impossible length %d", kind, size)
	}
	if size > w.limit {
		return 0, nil, w.tooLarge(size)
	}
	if err := w.require(frameHeader + size); err != nil {
		return 0, nil, err
	}
	body := w.buf[w.from+frameHeader : w.from+frameHeader+size]
	w.from += frameHeader + size
	return kind, body, nil
}

// tooLarge names the change as far as its first bytes tell.
func (w *walStream) tooLarge(size int) error {
	what := fmt.Sprintf("a message of %s is above max_event_bytes (%s)",
		connector.ByteSize(size), connector.ByteSize(w.limit))
	const head = frameHeader + walDataHeader
	if w.buf[w.from] == 'd' && size >= walDataHeader+changeHead && w.require(head+changeHead) == nil {
		what += ": " + w.describe(w.buf[w.from+head:w.from+head+changeHead])
	}
	return &entrain.Stop{
		Code: "event_too_large",
		What: what,
		Why:  "a single change must fit into memory",
		Next: fmt.Sprintf("set source.max_event_bytes to %s in FILE and run again: entrain run FILE", roomFor(size)),
	}
}

// roomFor returns a limit that lets a message of that size through, as far as
// limits go: the server has no messages above 1 GB.
func roomFor(size int) connector.ByteSize {
	const unit = 1 << 20
	return min(connector.ByteSize(size/unit+1)*unit, maxMaxEvent)
}

// require reads until n bytes are there. The buffer grows for a large message
// and shrinks again behind it.
func (w *walStream) require(n int) error {
	if w.to-w.from >= n {
		return nil
	}
	switch {
	case n > len(w.buf):
		grown := make([]byte, max(n, frameBuffer))
		w.to = copy(grown, w.buf[w.from:w.to])
		w.buf, w.from = grown, 0
	case n <= frameBuffer && len(w.buf) > frameBuffer && w.to-w.from <= frameBuffer:
		small := make([]byte, frameBuffer)
		w.to = copy(small, w.buf[w.from:w.to])
		w.buf, w.from = small, 0
	default:
		w.to = copy(w.buf, w.buf[w.from:w.to])
		w.from = 0
	}
	for w.to < n {
		got, err := w.conn.Read(w.buf[w.to:])
		w.to += got
		if err != nil && w.to < n {
			return readError(err)
		}
	}
	return nil
}

func readError(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the server closed the connection", entrain.ErrDisconnected)
	}
	return err
}

func serverError(body []byte) error {
	var msg pgproto3.ErrorResponse
	if err := msg.Decode(body); err != nil {
		return fmt.Errorf("unreadable error message from the server: %w", err)
	}
	return pgconn.ErrorResponseToPgError(&msg)
}

func (w *walStream) notice(body []byte) error {
	var msg pgproto3.NoticeResponse
	if err := msg.Decode(body); err != nil {
		return fmt.Errorf("unreadable notice from the server: %w", err)
	}
	resp := pgproto3.ErrorResponse(msg)
	return w.note(pgconn.ErrorResponseToPgError(&resp))
}

// start sends START_REPLICATION and waits until the server streams. A slot
// that another walsender has is asked for again until patience ends: after a
// crash the server needs a moment to see that the client is gone.
func (w *walStream) start(command string, patience time.Duration) error {
	msg, err := (&pgproto3.Query{String: command}).Encode(nil)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; {
		if err := w.write(msg); err != nil {
			return err
		}
		err := w.answer()
		if dial.SQLState(err) != objectInUse || time.Now().After(deadline) {
			return err
		}
		<-time.After(slotRetry)
	}
}

const (
	objectInUse = "55006" // SQLSTATE
	slotRetry   = 100 * time.Millisecond
)

// answer reads the server's answer to START_REPLICATION: nil when it streams;
// its error when it is ready for the next command.
func (w *walStream) answer() error {
	var refused error
	for {
		kind, body, err := w.frame()
		if err != nil {
			return errors.Join(refused, err)
		}
		switch kind {
		case 'W':
			return nil
		case 'E':
			refused = serverError(body)
		case 'N':
			if err := w.notice(body); err != nil {
				return err
			}
		case 'Z':
			return refused
		}
	}
}

const statusSize = frameHeader + 34

// status confirms everything before at as written, flushed and applied: the
// three are always equal, so that no reader of them is misled. ask 1 makes
// the server answer with a keepalive.
func (w *walStream) status(settled, confirmed lsn, ask byte) error {
	b := make([]byte, 0, statusSize)
	b = append(b, 'd')
	b = binary.BigEndian.AppendUint32(b, statusSize-1)
	b = append(b, 'r')
	for _, at := range [...]lsn{settled, confirmed, confirmed} { // written, flushed, applied
		b = binary.BigEndian.AppendUint64(b, uint64(at))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(pgoutput.Timestamp(time.Now())))
	return w.write(append(b, ask))
}

// finish ends the copy and reads until the server has noticed, so that the
// slot is free when it returns; the connection's deadline bounds it.
func (w *walStream) finish() error {
	if err := w.write([]byte{'c', 0, 0, 0, 4}); err != nil {
		return err
	}
	for {
		kind, _, err := w.frame()
		if err != nil {
			return err
		}
		if kind == 'Z' {
			return w.write([]byte{'X', 0, 0, 0, 4})
		}
	}
}

func (w *walStream) write(b []byte) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	return err
}
