package config

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// maxInclude bounds what ${file:…} reads.
const maxInclude = 1 << 20

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand puts the values of ${VAR}, ${VAR:-default} and ${file:PATH} into
// every scalar below root; $${ stands for ${ itself. A variable that is not
// set and has no default is an error; one that is set to nothing is set.
func expand(root *node, lookup func(string) (string, bool)) error {
	return root.walk(func(n *node) error {
		if n.kind != scalar || !strings.Contains(n.text, "${") {
			return nil
		}
		text, from, err := substitute(n.text, lookup)
		if err != nil {
			return n.errorf("%s", err)
		}
		n.text, n.from = text, from
		return nil
	})
}

// substitute returns the text with its references replaced, and their names.
func substitute(text string, lookup func(string) (string, bool)) (string, []string, error) {
	var out strings.Builder
	var from []string
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			out.WriteString(text)
			return out.String(), from, nil
		}
		if i > 0 && text[i-1] == '$' {
			out.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		out.WriteString(text[:i])
		ref, rest, closed := strings.Cut(text[i+2:], "}")
		if !closed {
			return "", nil, fmt.Errorf("a ${ without its }; write $${ for the two characters themselves")
		}
		value, name, err := resolve(ref, lookup)
		if err != nil {
			return "", nil, err
		}
		out.WriteString(value)
		from = append(from, "${"+name+"}")
		text = rest
	}
}

// resolve returns the value of the inside of one ${…}, and what it is called.
func resolve(ref string, lookup func(string) (string, bool)) (value, name string, err error) {
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		value, err = include(path)
		return value, ref, err
	}
	name, fallback, hasDefault := strings.Cut(ref, ":-")
	if !variableName.MatchString(name) {
		return "", "", fmt.Errorf("not a variable's name inside ${ }: expected ${VAR}, ${VAR:-default} or ${file:/path}; write $${ for the two characters themselves")
	}
	if strings.Contains(fallback, "${") {
		return "", "", fmt.Errorf("the default of ${%s} holds another ${: it can only be plain text", name)
	}
	if value, ok := lookup(name); ok {
		return value, name, nil
	}
	if hasDefault {
		return fallback, name, nil
	}
	return "", "", fmt.Errorf("the environment variable %s is not set, and there is no default: set it, or write ${%s:-default}", name, name)
}

// include reads a small file, less the newline at its end.
func include(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("cannot read ${file:%s}: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot read ${file:%s}: %s", path, reason(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxInclude+1))
	if err != nil {
		return "", fmt.Errorf("cannot read ${file:%s}: %s", path, reason(err))
	}
	if len(text) > maxInclude {
		return "", fmt.Errorf("${file:%s} is larger than %d bytes", path, maxInclude)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
