package snapshot

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// frames reads the messages of a connection that answers a COPY TO STDOUT, by
// large reads.
type frames struct {
	conn net.Conn
	buf  []byte // bytes buf[from:to] are read but not consumed
	from int
	to   int
	rows int64 // that the server says it has sent, behind the last one
}

const (
	frameHeader = 5
	frameBuffer = 256 << 10
)

// ask sends a COPY TO STDOUT, with what is to be done behind it, and waits until
// the server begins.
func (f *frames) ask(sql string) error {
	msg, err := (&pgproto3.Query{String: sql}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := f.conn.Write(msg); err != nil {
		return err
	}
	f.from, f.to, f.rows = 0, 0, 0
	for {
		kind, body, err := f.frame(frameBuffer)
		if err != nil {
			return err
		}
		switch kind {
		case 'H':
			return nil
		case 'E':
			return serverError(body)
		case 'N', 'S':
		default:
			return fmt.Errorf("unexpected protocol message %q", kind)
		}
	}
}

// next returns the payload of the next CopyData message, of at most limit
// bytes, which is valid until the following call; io.EOF when the server is
// through and ready for the next command.
func (f *frames) next(limit int) ([]byte, error) {
	if f.to-f.from >= frameHeader && f.buf[f.from] == 'd' { // as nearly all are
		size := int(binary.BigEndian.Uint32(f.buf[f.from+1:])) + 1
		if size >= frameHeader && size <= f.to-f.from && size <= limit {
			body := f.buf[f.from+frameHeader : f.from+size]
			f.from += size
			return body, nil
		}
	}
	for {
		kind, body, err := f.frame(limit)
		if err != nil {
			return nil, err
		}
		switch kind {
		case 'd':
			return body, nil
		case 'E':
			return nil, serverError(body)
		case 'Z':
			return nil, io.EOF
		case 'C':
			f.complete(string(body))
		case 'c', 'N', 'S':
		default:
			return nil, fmt.Errorf("unexpected protocol message %q", kind)
		}
	}
}

// complete reads the number of rows from the tag of a COPY, behind which other
// commands may have come.
func (f *frames) complete(tag string) {
	if count, ok := strings.CutPrefix(strings.TrimSuffix(tag, "\x00"), "COPY "); ok {
		f.rows, _ = strconv.ParseInt(count, 10, 64)
	}
}

// errTooLarge is a message above the limit.
var errTooLarge = errors.New("message too large")

// frame returns the next protocol message.
func (f *frames) frame(limit int) (byte, []byte, error) {
	if err := f.require(frameHeader); err != nil {
		return 0, nil, err
	}
	kind := f.buf[f.from]
	size := int(binary.BigEndian.Uint32(f.buf[f.from+1:])) - 4
	switch {
	case size < 0:
		return 0, nil, fmt.Errorf("protocol message %q of impossible length %d", kind, size)
	case size > max(limit, frameBuffer):
		return 0, nil, errTooLarge
	}
	if err := f.require(frameHeader + size); err != nil {
		return 0, nil, err
	}
	body := f.buf[f.from+frameHeader : f.from+frameHeader+size]
	f.from += frameHeader + size
	return kind, body, nil
}

// require reads until n bytes are there. The buffer grows for a large message
// and shrinks again behind it.
func (f *frames) require(n int) error {
	if f.to-f.from >= n {
		return nil
	}
	switch {
	case n > len(f.buf):
		grown := make([]byte, max(n, frameBuffer))
		f.to = copy(grown, f.buf[f.from:f.to])
		f.buf, f.from = grown, 0
	case n <= frameBuffer && len(f.buf) > frameBuffer && f.to-f.from <= frameBuffer:
		small := make([]byte, frameBuffer)
		f.to = copy(small, f.buf[f.from:f.to])
		f.buf, f.from = small, 0
	default:
		f.to = copy(f.buf, f.buf[f.from:f.to])
		f.from = 0
	}
	for f.to < n {
		got, err := f.conn.Read(f.buf[f.to:])
		f.to += got
		if err != nil && f.to < n {
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
	return dial.Classify(pgconn.ErrorResponseToPgError(&msg))
}

// interruptedBy makes reads and writes fail once ctx ends, until the function
// that it returns is called.
func (f *frames) interruptedBy(ctx context.Context) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		f.conn.SetDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-done
			f.conn.SetDeadline(time.Time{})
		}
	}
}

// passBytes is about how much is written at once.
const passBytes = 128 << 10

// pass writes the payloads of all CopyData messages to w, and says how many
// before it does so. They are moved together in the buffer first, so that the
// writes are large.
func (f *frames) pass(w io.Writer, limit int, wrote func(messages int64)) error {
	for {
		body, err := f.next(limit)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		start := f.from - len(body)
		end := f.from
		n := int64(1)
		for ; end-start < passBytes && f.holds('d'); n++ {
			if body, err = f.next(limit); err != nil {
				return err
			}
			end += copy(f.buf[end:], body)
		}
		wrote(n)
		if _, err := w.Write(f.buf[start:end]); err != nil {
			return fmt.Errorf("pass rows on: %w", err)
		}
	}
}

// holds reports whether a whole message of the kind is next in the buffer.
func (f *frames) holds(kind byte) bool {
	have := f.to - f.from
	return have >= frameHeader && f.buf[f.from] == kind && have > int(binary.BigEndian.Uint32(f.buf[f.from+1:]))
}
