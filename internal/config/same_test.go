package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file is the same as long as nothing that it says differs, wherever the value
// comes from and however it is written.
func TestSame(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	text := "source: {type: fake, url: \"${file:" + secret + "}\"}\nsink: {type: file, path: \"${WHERE:-a}\"}\nsnapshot: {tables: {include: [a.b, c.d]}}\n"
	read := func(text, password, where string) *File {
		t.Helper()
		if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := parse("x.yaml", []byte(text), func(name string) (string, bool) { return where, name == "WHERE" && where != "" })
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	base := read(text, "one", "")
	for what, c := range map[string]struct {
		other *File
		want  bool
	}{
		"itself":       {read(text, "one", ""), true},
		"a comment":    {read("# note\n"+text+"\n", "one", ""), true},
		"another form": {read(strings.Replace(text, "[a.b, c.d]", "[ 'a.b',\n  c.d ]", 1), "one", ""), true},
		"the default":  {read(text, "one", "a"), true},
		"a secret":     {read(text, "two", ""), false},
		"a variable":   {read(text, "one", "b"), false},
		"a table":      {read(strings.Replace(text, "c.d", "c.e", 1), "one", ""), false},
		"a table less": {read(strings.Replace(text, ", c.d", "", 1), "one", ""), false},
		"a key":        {read(text+"on_table_error: resync\n", "one", ""), false},
	} {
		if got := base.Same(c.other); got != c.want {
			t.Errorf("%s: same %t; want %t", what, got, c.want)
		}
		if c.other.Same(base) != base.Same(c.other) {
			t.Errorf("%s: not the same both ways", what)
		}
	}
}
