package verify

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// list reads "1a=x": hash 1, key a, sum x.
func list(text string) iter.Seq2[entrain.Digest, error] {
	return func(yield func(entrain.Digest, error) bool) {
		for _, word := range strings.Fields(text) {
			if word == "!" {
				yield(entrain.Digest{}, errors.New("torn"))
				return
			}
			key, sum, _ := strings.Cut(word, "=")
			if !yield(entrain.Digest{Hash: int64(key[0] - '0'), Key: key[1:], Show: key, Rows: 1, Sum: sum}, nil) {
				return
			}
		}
	}
}

func TestMerge(t *testing.T) {
	for _, c := range []struct{ source, sink, want string }{
		{"", "", ""},
		{"1a=x 2b=y", "1a=x 2b=y", ""},
		{"1a=x 2b=y", "", "1a:x- 2b:y-"},
		{"", "1a=x", "1a:-x"},
		{"1a=x 2b=y 3c=z", "1a=x 2b=Y 4d=w", "2b:yY 3c:z- 4d:-w"},
		{"1a=x 1b=y", "1b=y 1c=z", "1a:x- 1c:-z"},
	} {
		var got []string
		err := merge(list(c.source), list(c.sink), func(show string, a, b entrain.Digest) bool {
			dash := func(s string) string { return map[bool]string{true: "-", false: s}[s == ""] }
			got = append(got, fmt.Sprintf("%s:%s%s", show, dash(a.Sum), dash(b.Sum)))
			return true
		})
		if text := strings.Join(got, " "); text != c.want || err != nil {
			t.Errorf("%q with %q: %s, want %s (%v)", c.source, c.sink, text, c.want, err)
		}
	}
	for _, torn := range [][2]string{{"!", "1a=x"}, {"1a=x", "!"}, {"1a=x !", "1a=x"}, {"", "!"}} {
		if err := merge(list(torn[0]), list(torn[1]), func(string, entrain.Digest, entrain.Digest) bool { return true }); err == nil {
			t.Errorf("%q: no error", torn)
		}
	}
	n := 0
	if err := merge(list("1a=x 2b=y"), list(""), func(string, entrain.Digest, entrain.Digest) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d keys after the first was enough, %v", n, err)
	}
}

func table(name string, columns ...entrain.Column) *entrain.Table {
	return &entrain.Table{Schema: "s", Name: name, Columns: columns}
}

func TestAlign(t *testing.T) {
	id := entrain.Column{Name: "id", Type: "int4", Modifier: -1, Key: true}
	wide := entrain.Column{Name: "id", Type: "int8", Modifier: -1, Key: true}
	note := entrain.Column{Name: "note", Type: "text", Modifier: -1}
	plain := func(t *entrain.Table) Mapping { return Mapping{Table: t, From: []int{0, 1, 2}[:len(t.Columns)]} }
	full := table("t", id, note)
	full.FullIdentity = true
	for _, c := range []struct {
		name         string
		source, sink entrain.DigestTable
		key          []int
		columns      int
		why          string
	}{
		{"as it is", entrain.DigestTable{Table: table("t", id, note)}, entrain.DigestTable{Table: table("t", note, id)}, []int{0}, 2, ""},
		{"the sink's key for full identity", entrain.DigestTable{Table: full}, entrain.DigestTable{Table: table("t", id, note)}, []int{0}, 2, ""},
		{"no key at all", entrain.DigestTable{Table: full}, entrain.DigestTable{Table: table("t", note, entrain.Column{Name: "id", Type: "int4", Modifier: -1})}, nil, 2, ""},
		{"a key of the sink's with a column of its own", entrain.DigestTable{Table: full},
			entrain.DigestTable{Table: table("t", id, note, entrain.Column{Name: "own", Key: true})}, nil, 2, ""},
		{"computed by the sink", entrain.DigestTable{Table: table("t", id, note)}, entrain.DigestTable{Table: table("t", id), Computed: []string{"note"}}, []int{0}, 1, ""},
		{"another type", entrain.DigestTable{Table: table("t", id)}, entrain.DigestTable{Table: table("t", wide)}, []int{0}, 1, ""},
		{"no such column", entrain.DigestTable{Table: table("t", id, note)}, entrain.DigestTable{Table: table("t", id)}, nil, 0, `the target has no column "note"`},
		{"no such table", entrain.DigestTable{Table: table("t", id)}, entrain.DigestTable{}, nil, 0, "the target has no table s.t"},
		{"not at the source", entrain.DigestTable{Table: table("t", id), Refused: "no"}, entrain.DigestTable{}, nil, 0, "at the source no"},
		{"not at the target", entrain.DigestTable{Table: table("t", id)}, entrain.DigestTable{Table: table("t", id), Refused: "no"}, nil, 0, "at the target no"},
		{"nothing", entrain.DigestTable{Table: table("t", id)}, entrain.DigestTable{Table: table("t"), Computed: []string{"id"}}, nil, 0, "no column of it is both delivered and stored"},
	} {
		source, sink, why := align(ends{c.source, c.sink}, plain(c.source.Table))
		if why != c.why || why == "" && (!slices.Equal(source.Key, c.key) || !slices.Equal(sink.Key, c.key) ||
			len(source.Columns) != c.columns || len(sink.Columns) != c.columns) {
			t.Errorf("%s: %+v, %+v, %q", c.name, source, sink, why)
		}
	}
	source, _, _ := align(ends{entrain.DigestTable{Table: table("t", id)}, entrain.DigestTable{Table: table("t", wide)}}, plain(table("t", id)))
	if source.Columns[0].As == nil || source.Columns[0].As.Type != "int8" {
		t.Errorf("the source's column is not read as the sink's: %+v", source)
	}
	for rows, want := range map[int64]int{0: 1, 512: 1, 513: 2, 100000: 256, 1 << 40: maxBuckets} {
		if got := bucketsFor(rows); got != want {
			t.Errorf("%d buckets for %d rows, want %d", got, rows, want)
		}
	}
}
