package frame

import (
	"encoding/binary"
	"fmt"
	"time"
)

// reader takes a message apart. After the first error it is at the end of its
// bytes and gives zeroes.
type reader struct {
	b   []byte
	i   int // 0 <= i <= len(b)
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: at byte %d: %s", ErrDamaged, r.i, what)
	}
	r.i = len(r.b)
}

func (r *reader) left() int { return len(r.b) - r.i }

func (r *reader) byte() byte {
	if r.i >= len(r.b) {
		r.fail("it ends early")
		return 0
	}
	r.i++
	return r.b[r.i-1]
}

// uvarint is short so that it can be inlined.
func (r *reader) uvarint() uint64 {
	if r.i < len(r.b) && r.b[r.i] < 0x80 {
		r.i++
		return uint64(r.b[r.i-1])
	}
	return r.long()
}

func (r *reader) long() uint64 {
	v, n := binary.Uvarint(r.b[r.i:])
	if n <= 0 {
		r.fail("no number")
		return 0
	}
	r.i += n
	return v
}

// varint reads a number with a sign (zigzag).
func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) uint64() uint64 {
	if r.left() < 8 {
		r.fail("it ends early")
		return 0
	}
	r.i += 8
	return binary.LittleEndian.Uint64(r.b[r.i-8:])
}

// bytes returns a run of bytes with its length in front. It aliases the message
// and is never nil, unless after an error.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)-r.i) {
		r.fail("a length is beyond the end")
		return nil
	}
	start := r.i
	r.i += int(n)
	return r.b[start:r.i:r.i]
}

// optional returns a run of bytes that may be missing: nil.
func (r *reader) optional() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)-r.i)+1 {
		r.fail("a length is beyond the end")
		return nil
	}
	if n == 0 {
		return nil
	}
	start := r.i
	r.i += int(n - 1)
	return r.b[start:r.i:r.i]
}

func (r *reader) text() string { return string(r.bytes()) }

// count returns the length of a list whose elements have at least size bytes
// each; set is false for a list that is missing (nil).
func (r *reader) count(size int) (n int, set bool) {
	u := r.uvarint()
	if u == 0 {
		return 0, false
	}
	if u-1 > uint64(r.left()/size) {
		r.fail("a list is longer than the message")
		return 0, false
	}
	return int(u - 1), true
}

func (r *reader) texts() []string {
	n, set := r.count(1)
	if !set {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

// time reads seconds and nanoseconds behind a byte that says whether there is a
// time.
func (r *reader) time() time.Time {
	switch r.byte() {
	case 0:
		return time.Time{}
	case 1:
		seconds := r.varint()
		nanos := r.uvarint()
		if nanos >= 1e9 {
			r.fail("no time")
			return time.Time{}
		}
		return time.Unix(seconds, int64(nanos)).UTC()
	}
	r.fail("no time")
	return time.Time{}
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendBytes(dst, b []byte) []byte {
	if len(b) < 0x80 {
		dst = append(dst, byte(len(b)))
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(b)))
	}
	return append(dst, b...)
}

func appendOptional(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b))+1)
	return append(dst, b...)
}

func appendVarint(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v)<<1^uint64(v>>63))
}

// appendCount writes the length of a list, or that it is missing.
func appendCount[E any](dst []byte, list []E) []byte {
	if list == nil {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, uint64(len(list))+1)
}

func appendTexts(dst []byte, list []string) []byte {
	dst = appendCount(dst, list)
	for _, s := range list {
		dst = appendText(dst, s)
	}
	return dst
}

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	dst = appendVarint(dst, t.Unix())
	return binary.AppendUvarint(dst, uint64(t.Nanosecond()))
}
