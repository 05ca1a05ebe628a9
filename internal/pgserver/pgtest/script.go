package pgtest

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver"
)

// Script executes a script that is meant for psql: by it or, where the server
// came without one, as psql would, as far as the scripts of `entrain check` go,
// which stop at an error by themselves.
func Script(t testing.TB, srv *pgserver.Server, script string) {
	t.Helper()
	psql, err := exec.LookPath(srv.Install().Path("psql"))
	if err != nil {
		psql, err = exec.LookPath("psql")
	}
	if err == nil {
		cmd := exec.CommandContext(t.Context(), psql, "-X", srv.URL("postgres"))
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s\nscript:\n%s", err, out, script)
		}
		return
	}
	parts := strings.Split(script, "\n\\connect -reuse-previous=on '")
	for _, part := range parts[1:] {
		address, sql, _ := strings.Cut(part, "'\n")
		Exec(t, strings.ReplaceAll(address, "''", "'")+" user=postgres", sql)
	}
}
