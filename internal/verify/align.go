package verify

import (
	"fmt"
	"slices"

	"github.com/entrainsync/entrain"
)

// Mapping is what the pipeline makes of a table: the shape that the sink gets,
// the source's columns that its columns come from, and whether rows or changes
// are left out.
type Mapping struct {
	Table    *entrain.Table
	From     []int
	Filtered bool
}

// pair is one table at both ends.
type pair struct {
	result       *Table
	source, sink entrain.DigestQuery
	passes       int
}

// ends are the two tables of a pair.
type ends struct{ source, sink entrain.DigestTable }

// align works out what is compared. It says why not, if not.
func align(e ends, m Mapping) (source, sink entrain.DigestQuery, why string) {
	switch {
	case e.source.Refused != "":
		return source, sink, "at the source " + e.source.Refused
	case e.sink.Table == nil:
		return source, sink, "the target has no table " + m.Table.String()
	case e.sink.Refused != "":
		return source, sink, "at the target " + e.sink.Refused
	}
	source.Table, sink.Table = e.source.Table, e.sink.Table
	var key, primary []int
	for i, c := range m.Table.Columns {
		if slices.Contains(e.sink.Computed, c.Name) {
			continue
		}
		at := slices.IndexFunc(e.sink.Table.Columns, func(t entrain.Column) bool { return t.Name == c.Name })
		if at < 0 {
			return source, sink, fmt.Sprintf("the target has no column %q", c.Name)
		}
		to := &e.sink.Table.Columns[at]
		if c.Key && !m.Table.FullIdentity {
			key = append(key, len(source.Columns))
		}
		if to.Key {
			primary = append(primary, len(source.Columns))
		}
		from := entrain.DigestColumn{Name: e.source.Table.Columns[m.From[i]].Name}
		if to.Type != c.Type || to.Modifier != c.Modifier {
			from.As = to
		}
		source.Columns = append(source.Columns, from)
		sink.Columns = append(sink.Columns, entrain.DigestColumn{Name: to.Name})
	}
	if len(source.Columns) == 0 {
		return source, sink, "no column of it is both delivered and stored"
	}
	if m.Table.FullIdentity && len(primary) == keys(e.sink.Table) {
		key = primary
	}
	source.Key, sink.Key = key, key
	source.Portable = e.source.Encoding != e.sink.Encoding
	sink.Portable = source.Portable
	source.Buckets = bucketsFor(max(e.source.Rows, e.sink.Rows))
	sink.Buckets = source.Buckets
	return source, sink, ""
}

// keys counts the columns of a table's primary key.
func keys(t *entrain.Table) int {
	n := 0
	for _, c := range t.Columns {
		if c.Key {
			n++
		}
	}
	return n
}

const (
	rowsPerBucket = 512
	maxBuckets    = 1 << 16
)

// bucketsFor is a power of two: small buckets make few rows be listed for a
// change, many of them cost memory at both ends.
func bucketsFor(rows int64) int {
	n := 1
	for int64(n)*rowsPerBucket < rows && n < maxBuckets {
		n *= 2
	}
	return n
}
