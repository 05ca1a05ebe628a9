package pgoutput

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	errShort    = errors.New("message ends too early")
	errTrailing = errors.New("bytes after the end of the message")
)

// Parse decodes one message into m, whose former content is lost. Whatever the
// bytes are, it returns an error rather than panic, and allocates no more than
// a small multiple of their length.
func Parse(data []byte, m *Message) error {
	if len(data) == 0 {
		return errShort
	}
	*m = Message{Kind: Kind(data[0]), Columns: m.Columns[:0], OIDs: m.OIDs[:0]}
	c := cursor{rest: data[1:]}
	if err := c.body(m); err != nil {
		return err
	}
	if c.short {
		return fmt.Errorf("message %q: %w", data[0], errShort)
	}
	if len(c.rest) > 0 && m.Kind != StreamAbort {
		return fmt.Errorf("message %q: %w", data[0], errTrailing)
	}
	return nil
}

func (c *cursor) body(m *Message) error {
	switch m.Kind {
	case Insert, Update, Delete:
		m.OID = c.uint32()
		return c.tuples(m)
	case Begin:
		m.LSN = c.uint64()
		m.Time = Time(int64(c.uint64()))
		m.XID = c.uint32()
	case Commit:
		c.byte() // flags, unused
		m.LSN = c.uint64()
		m.EndLSN = c.uint64()
		m.Time = Time(int64(c.uint64()))
	case Relation:
		return c.relation(m)
	case Type:
		m.OID = c.uint32()
		m.Namespace = c.string()
		m.Name = c.string()
	case Origin:
		m.LSN = c.uint64()
		m.Name = c.string()
	case Truncate:
		c.truncate(m)
	case Logical:
		m.Flags = c.byte()
		m.LSN = c.uint64()
		m.Name = c.string()
		m.Content = c.bytes(int(c.uint32()))
	case StreamAbort:
		c.rest = nil
	default:
		return fmt.Errorf("unknown message %q", byte(m.Kind))
	}
	return nil
}

func (c *cursor) relation(m *Message) error {
	m.OID = c.uint32()
	m.Namespace = c.string()
	m.Name = c.string()
	m.Identity = c.byte()
	n := int(c.uint16())
	for range n {
		if c.short {
			return nil
		}
		m.Columns = append(m.Columns, Column{
			Key:      c.byte()&1 != 0,
			Name:     c.string(),
			TypeOID:  c.uint32(),
			Modifier: int32(c.uint32()),
		})
	}
	return nil
}

func (c *cursor) truncate(m *Message) {
	n := int(c.uint32())
	m.Flags = c.byte()
	for range n {
		if c.short {
			return
		}
		m.OIDs = append(m.OIDs, c.uint32())
	}
}

// tuples reads what follows the relation in a row message: N new; K new or O
// new in an update; K or O alone in a delete.
func (c *cursor) tuples(m *Message) error {
	tag := c.byte()
	if (tag == 'K' || tag == 'O') && m.Kind != Insert {
		m.OldKind = tag
		if err := c.tuple(&m.Old); err != nil {
			return err
		}
		if m.Kind == Delete {
			return nil
		}
		tag = c.byte()
	}
	if c.short {
		return nil
	}
	if tag != 'N' || m.Kind == Delete {
		return fmt.Errorf("message %q: unknown tuple %q", byte(m.Kind), tag)
	}
	return c.tuple(&m.New)
}

// cursor reads from the front of rest. After the first read past the end it
// returns zeros and is short.
type cursor struct {
	rest  []byte
	short bool
}

func (c *cursor) bytes(n int) []byte {
	if n < 0 || n > len(c.rest) {
		c.short = true
		c.rest = nil
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte() byte {
	if b := c.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// string reads up to a zero byte.
func (c *cursor) string() []byte {
	end := bytes.IndexByte(c.rest, 0)
	if end < 0 {
		c.short = true
		c.rest = nil
		return nil
	}
	s := c.rest[:end:end]
	c.rest = c.rest[end+1:]
	return s
}
