// Package frame is the binary form of a message in a packed log: many events,
// the shapes of their tables and their transactions, readable without any other
// message. docs/stream.md describes the bytes. The package does no I/O.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/entrainsync/entrain"
)

// Version is the first byte of every message. It changes when a reader of the
// older form could misread the newer one.
const Version = 1

var (
	// ErrVersion is wrapped by errors about messages of a form that this program
	// does not know: a newer one wrote them.
	ErrVersion = errors.New("unknown version of the frame")
	// ErrDamaged is wrapped by errors about messages that are not as they were
	// written.
	ErrDamaged = errors.New("damaged frame")
)

// Header is what a message says about itself.
type Header struct {
	// Through is the source's position behind the last event. Zero: the message
	// ends within a transaction or within a batch, and what follows belongs to it.
	Through entrain.Position
	// Begin is the number, in the log, of the message before the first one of what
	// this message belongs to: the last one with a position. A writer that takes
	// over removes what is behind it if the log's end has no position; a reader
	// that has read parts behind another one has read what was removed since.
	Begin uint64
	// Events is the number of events. [Encoder.Append] sets it.
	Events int
	// Committed is the commit time of the last event's transaction, in UTC and
	// microseconds; zero without events, or if that has none.
	// [Encoder.Append] sets it.
	Committed time.Time
}

// The layout of a header; numbers of a fixed size are little-endian.
const (
	atFlags     = 1
	atLength    = 2
	atEvents    = 4
	atTx        = 8
	atMessages  = 12
	atBegin     = 16
	atCommitted = 24
	fixedHeader = 32
	sumBytes    = 4
	// minEvent is the size of the smallest event: tag, ordinal and table.
	minEvent = 3
	// noTime stands for the zero time.
	noTime = math.MinInt64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sizes are the counts of a header that only the decoder needs.
type sizes struct {
	header                         int // bytes, its checksum included
	events, transactions, messages int
}

// appendHeader writes a header whose counts and checksum come later.
func appendHeader(dst []byte, h *Header) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, fixedHeader)...)
	dst[start] = Version
	binary.LittleEndian.PutUint64(dst[start+atBegin:], h.Begin)
	dst = appendText(dst, h.Through.Incarnation)
	dst = appendText(dst, h.Through.Offset)
	dst = append(dst, make([]byte, sumBytes)...)
	n := len(dst) - start
	if n > math.MaxUint16 {
		return dst[:start], fmt.Errorf("frame: a position of %d bytes is too long", n)
	}
	binary.LittleEndian.PutUint16(dst[start+atLength:], uint16(n))
	return dst, nil
}

// finish writes the counts, the time and both checksums of the message that
// begins at start.
func finish(dst []byte, start int, s sizes, committed time.Time) []byte {
	msg := dst[start:]
	binary.LittleEndian.PutUint32(msg[atEvents:], uint32(s.events))
	binary.LittleEndian.PutUint32(msg[atTx:], uint32(s.transactions))
	binary.LittleEndian.PutUint32(msg[atMessages:], uint32(s.messages))
	at := int64(noTime)
	if !committed.IsZero() {
		at = committed.UnixMicro()
	}
	binary.LittleEndian.PutUint64(msg[atCommitted:], uint64(at))
	head := msg[:s.header-sumBytes]
	binary.LittleEndian.PutUint32(msg[len(head):], crc32.Checksum(head, castagnoli))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(msg, castagnoli))
}

// ReadHeader returns the header of a message, after a look at the header's own
// checksum; the events are not looked at. An error wraps [ErrVersion] or
// [ErrDamaged].
func ReadHeader(msg []byte) (Header, error) {
	h, _, err := readHeader(msg)
	return h, err
}

func readHeader(msg []byte) (Header, sizes, error) {
	if len(msg) == 0 {
		return Header{}, sizes{}, fmt.Errorf("%w: it is empty", ErrDamaged)
	}
	if msg[0] != Version {
		return Header{}, sizes{}, fmt.Errorf("%w: %d, known is %d", ErrVersion, msg[0], Version)
	}
	if len(msg) < fixedHeader+sumBytes {
		return Header{}, sizes{}, fmt.Errorf("%w: it ends after %d bytes, within its header", ErrDamaged, len(msg))
	}
	n := int(binary.LittleEndian.Uint16(msg[atLength:]))
	if n < fixedHeader+sumBytes || n > len(msg) {
		return Header{}, sizes{}, fmt.Errorf("%w: a header of %d bytes in a message of %d", ErrDamaged, n, len(msg))
	}
	head := msg[:n-sumBytes]
	if crc32.Checksum(head, castagnoli) != binary.LittleEndian.Uint32(msg[len(head):]) {
		return Header{}, sizes{}, fmt.Errorf("%w: its header does not have its checksum", ErrDamaged)
	}
	if head[atFlags] != 0 {
		return Header{}, sizes{}, fmt.Errorf("%w: unknown flags %#x", ErrVersion, head[atFlags])
	}
	s := sizes{
		header:       n,
		events:       int(binary.LittleEndian.Uint32(msg[atEvents:])),
		transactions: int(binary.LittleEndian.Uint32(msg[atTx:])),
		messages:     int(binary.LittleEndian.Uint32(msg[atMessages:])),
	}
	h := Header{Begin: binary.LittleEndian.Uint64(msg[atBegin:]), Events: s.events}
	if at := int64(binary.LittleEndian.Uint64(msg[atCommitted:])); at != noTime {
		h.Committed = time.UnixMicro(at).UTC()
	}
	r := reader{b: head, i: fixedHeader}
	h.Through.Incarnation = string(r.bytes())
	h.Through.Offset = string(r.bytes()) // what is behind it, a later version put there
	return h, s, r.err
}
