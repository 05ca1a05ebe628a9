package pgtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ClearEnv takes the PG variables out of the test's environment, and the user's
// password file.
func ClearEnv(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("PGPASSFILE", filepath.Join(t.TempDir(), "none"))
}
