package throwaway

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Java is an installed Java runtime.
type Java struct {
	// Path of the program java.
	Path string
	// Major is its version, such as 17.
	Major int
}

// NoJavaError says that this machine has no Java that is new enough.
type NoJavaError struct {
	// Least is the oldest major version that would do.
	Least int
	// Looked lists every program found, with why it did not do.
	Looked []string
}

// Error lists what was found and the way out.
func (e *NoJavaError) Error() string {
	found := "none at all"
	if len(e.Looked) > 0 {
		found = strings.Join(e.Looked, "; ")
	}
	return fmt.Sprintf("no Java %d or later; found: %s; next: install a Java runtime or set JAVA_HOME", e.Least, found)
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// FindJava returns a Java runtime of the major version least or later: that of
// JAVA_HOME, else the one in PATH, else the first that will do of those where
// packages put them. The error is a *[NoJavaError], or ctx's.
func FindJava(ctx context.Context, least int) (Java, error) {
	missing := &NoJavaError{Least: least}
	for _, path := range javaPrograms() {
		out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
		if ctx.Err() != nil {
			return Java{}, ctx.Err()
		}
		m := javaVersion.FindSubmatch(out)
		if err != nil || m == nil {
			missing.Looked = append(missing.Looked, path+" does not tell its version")
			continue
		}
		major, err := strconv.Atoi(string(m[1]))
		if err == nil && major >= least {
			return Java{Path: path, Major: major}, nil
		}
		missing.Looked = append(missing.Looked, fmt.Sprintf("%s is version %s", path, m[1]))
	}
	return Java{}, missing
}

// javaPrograms lists the programs that exist, best first.
func javaPrograms() []string {
	var found []string
	if home := os.Getenv("JAVA_HOME"); home != "" {
		found = append(found, filepath.Join(home, "bin", "java"))
	}
	if path, err := exec.LookPath("java"); err == nil {
		found = append(found, path)
	}
	installed, _ := filepath.Glob("/usr/lib/jvm/*/bin/java") // the pattern is well formed
	return append(found, installed...)
}
