package debezium

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"
)

// comparison compares what the engine made with what we made.
type comparison struct {
	variant string
	live    bool            // both read the same log
	seen    map[string]bool // the allowed differences that occurred
	topic   string          // of the record at hand, without the prefix
}

// finding is a field that differs.
type finding struct{ path, theirs, ours string }

func (c *comparison) compare(t *testing.T, theirs, ours []record) {
	t.Helper()
	for i := range min(len(theirs), len(ours)) {
		c.topic = strings.TrimPrefix(fmt.Sprint(theirs[i]["topic"]), prefix+".")
		for _, f := range c.fields("", map[string]any(theirs[i]), map[string]any(ours[i])) {
			if !c.allowed(f) {
				t.Errorf("%s, record %d, %s%s: Debezium has %s, we have %s",
					c.variant, i+1, c.topic, f.path, f.theirs, f.ours)
			}
		}
		if why := c.unrelated(theirs[i], ours[i]); why != "" {
			t.Errorf("%s, record %d of %s: %s", c.variant, i+1, c.topic, why)
		}
	}
	if len(theirs) != len(ours) {
		t.Errorf("%s: Debezium has %d records, we have %d", c.variant, len(theirs), len(ours))
	}
}

// unrelated says which relation between the fields of the source does not hold:
// our LSN is the commit's, which is behind all rows of the transaction.
func (c *comparison) unrelated(theirs, ours record) string {
	source := func(r record) map[string]any {
		value, _ := r["value"].(map[string]any)
		source, _ := value["source"].(map[string]any)
		return source
	}
	a, b := source(theirs), source(ours)
	if b == nil {
		return ""
	}
	millis, micros, nanos, at := whole(b["ts_ms"]), whole(b["ts_us"]), whole(b["ts_ns"]), whole(b["lsn"])
	switch {
	case micros/1000 != millis || nanos/1000 != micros:
		return fmt.Sprintf("the times %d ms, %d µs and %d ns are not one", millis, micros, nanos)
	case !strings.HasPrefix(fmt.Sprint(b["sequence"]), fmt.Sprintf(`["%d","`, at)):
		return fmt.Sprintf("the sequence %v does not begin with the LSN %d", b["sequence"], at)
	case c.live && whole(a["lsn"]) > at+1:
		return fmt.Sprintf("Debezium's LSN %v lies behind the commit's, %d", a["lsn"], at)
	}
	return ""
}

func whole(v any) int64 {
	number, _ := v.(json.Number)
	n, _ := number.Int64()
	return n
}

// fields returns the fields in which two values differ.
func (c *comparison) fields(path string, theirs, ours any) []finding {
	a, isObject := theirs.(map[string]any)
	b, too := ours.(map[string]any)
	if !isObject || !too {
		if c.equal(path, theirs, ours) {
			return nil
		}
		return []finding{{path, show(theirs), show(ours)}}
	}
	names := make(map[string]bool)
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	var all []finding
	for name := range names {
		at := path + "." + name
		x, inA := a[name]
		y, inB := b[name]
		switch {
		case !inA:
			all = append(all, finding{at, "nothing", show(y)})
		case !inB:
			all = append(all, finding{at, show(x), "nothing"})
		default:
			all = append(all, c.fields(at, x, y)...)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].path < all[j].path })
	return all
}

func show(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// stateful are the fields that depend on the server's state or on when a record
// was made; sameLog are those of them that must be equal if both read the same
// log.
var (
	stateful = regexp.MustCompile(`^\.value\.(ts_(ms|us|ns)|source\.(ts_(ms|us|ns)|db|txId|lsn|sequence)|transaction\.id|id)$|^\.key\.id$`)
	sameLog  = regexp.MustCompile(`^\.value\.source\.(ts_(ms|us|ns)|db|txId)$|^\.value\.ts_ms$`)
)

// equal compares two values that are not both objects.
func (c *comparison) equal(path string, theirs, ours any) bool {
	isTransaction := c.topic == "transaction"
	if stateful.MatchString(path) && (isTransaction || !strings.HasPrefix(path, ".key") && path != ".value.id") {
		ofCommit := isTransaction || strings.HasPrefix(path, ".value.source")
		if !c.live || !ofCommit || !sameLog.MatchString(path) {
			return fmt.Sprintf("%T", theirs) == fmt.Sprintf("%T", ours)
		}
	}
	x, isNumber := theirs.(json.Number)
	y, too := ours.(json.Number)
	if isNumber && too {
		return canonical(x) == canonical(y) && (x[0] == '-') == (y[0] == '-')
	}
	return show(canonicalise(theirs)) == show(canonicalise(ours))
}

// canonical makes 1, 1.0 and 10E-1 one text.
func canonical(n json.Number) string {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return n.String()
	}
	return r.RatString()
}

// canonicalise does so in everything below a value.
func canonicalise(v any) any {
	switch v := v.(type) {
	case json.Number:
		return canonical(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = canonicalise(v[i])
		}
		return sortCounts(out)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			out[name] = canonicalise(v[name])
		}
		return out
	}
	return v
}

// sortCounts gives the counts of an END record an order.
func sortCounts(list []any) []any {
	name := func(v any) string {
		count, _ := v.(map[string]any)
		collection, _ := count["data_collection"].(string)
		if strings.HasPrefix(collection, "io.debezium.") {
			return "message" // theirs is the name of an object in memory
		}
		return collection
	}
	for _, v := range list {
		if n := name(v); n != "" {
			v.(map[string]any)["data_collection"] = n
		}
	}
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(name(a), name(b)) })
	return list
}

// shorten replaces long texts and lists by a hash.
func shorten(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > 300 {
			return fmt.Sprintf("sha256:%.8x of %d bytes", sha256.Sum256([]byte(v)), len(v))
		}
	case []any:
		if len(v) > 60 {
			text := show(canonicalise(v))
			return fmt.Sprintf("sha256:%.8x of %d elements", sha256.Sum256([]byte(text)), len(v))
		}
		for i := range v {
			v[i] = shorten(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = shorten(v[name])
		}
	}
	return v
}
