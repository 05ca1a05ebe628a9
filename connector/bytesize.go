package connector

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes as people write it: "64MB", "1GB", "512kB" or
// a plain number. The units are powers of 1024, as PostgreSQL reads them, and
// upper and lower case are the same.
type ByteSize int64

var byteUnits = []struct {
	name string
	size ByteSize
}{
	{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1},
}

// UnmarshalText reads a size of 0 or more bytes. The error says what a size
// looks like.
func (b *ByteSize) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, ok := unitSize(strings.TrimSpace(s[len(digits):]))
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 {
		return fmt.Errorf("%q is not a size: expected a whole number and a unit, such as 64MB, 1GB or 512kB", s)
	}
	if ByteSize(n) > math.MaxInt64/unit {
		return fmt.Errorf("%q is larger than any size can be", s)
	}
	*b = ByteSize(n) * unit
	return nil
}

func unitSize(name string) (ByteSize, bool) {
	if name == "" {
		return 1, true
	}
	for _, u := range byteUnits {
		if strings.EqualFold(u.name, name) {
			return u.size, true
		}
	}
	return 0, false
}

// String writes the size in the largest unit that keeps it whole.
func (b ByteSize) String() string {
	for _, u := range byteUnits {
		if u.size > 1 && b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// MarshalText writes what String does; UnmarshalText reads it back.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
