package versiongate

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/entrainsync/entrain"
)

// longKey is from how many bytes on a key is kept as a digest: an index holds no longer
// ones than some 2,700.
const longKey = 1500

// AppendKey appends the text that stands for the values of the key columns of a row of n
// columns; a column that row does not carry is taken from other. Two keys have the same
// text if and only if their values' texts are the same (of long ones: the SHA-256 of
// them).
func AppendKey(dst []byte, columns []int, n int, images ...entrain.Row) []byte {
	start := len(dst)
	for i, c := range columns {
		if i > 0 {
			dst = append(dst, ',')
		}
		value, state := column(c, n, images)
		if state != entrain.Present {
			dst = append(dst, `\N`...)
			continue
		}
		for _, b := range value {
			if b == '\\' || b == ',' {
				dst = append(dst, '\\')
			}
			dst = append(dst, b)
		}
	}
	if len(dst)-start > longKey {
		sum := sha256.Sum256(dst[start:])
		dst = append(dst[:start], `\#`...)
		dst = hex.AppendEncode(dst, sum[:])
	}
	return dst
}

// column is the first image's that carries it.
func column(c, n int, images []entrain.Row) (value []byte, state entrain.State) {
	state = entrain.Unchanged
	for _, image := range images {
		if image == nil {
			continue
		}
		if value, state = image.Column(c, n); state != entrain.Unchanged {
			return value, state
		}
	}
	return value, state
}

// Fill returns after with the columns that it leaves unchanged taken from before, as far
// as that has them, and whether none is left. after is returned as it is if there is
// nothing to fill in.
func Fill(before, after entrain.Row, n int) (row entrain.Row, whole Wholeness) {
	gaps, filled := 0, 0
	for i := range n {
		if after.State(i) == entrain.Unchanged {
			gaps++
			if before != nil && before.State(i) != entrain.Unchanged {
				filled++
			}
		}
	}
	if filled == 0 {
		return after, gaps == 0
	}
	var b entrain.RowBuilder
	b.Begin(make([]byte, 0, len(before)+len(after)), n)
	for i := range n {
		switch value, state := column(i, n, []entrain.Row{after, before}); state {
		case entrain.Present:
			b.Value(value)
		case entrain.Null:
			b.Null()
		default:
			b.Unchanged()
		}
	}
	row, _ = b.End()
	return row, filled == gaps
}

// Wholeness says whether an image has all columns.
type Wholeness bool
