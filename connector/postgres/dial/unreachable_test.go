package dial

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// wantUnreachable connects to what must not let it in. Whatever it is, a new session
// may fare better (P9).
func wantUnreachable(t *testing.T, url string, change func(cfg *pgconn.Config)) *entrain.Unreachable {
	t.Helper()
	cfg, err := ParseURL(connector.Secret(url), "test")
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cfg)
	}
	_, err = Connect(t.Context(), cfg)
	var u *entrain.Unreachable
	if !errors.As(err, &u) || !entrain.IsRetryable(err) {
		t.Fatalf("%s: %v; want one that is unreachable for now", url, err)
	}
	if strings.Contains(err.Error()+u.Next+u.Why, "c4n4ry") || !strings.Contains(err.Error(), "connect to "+ServerName(cfg)+": ") {
		t.Errorf("%s: %v", url, err)
	}
	return u
}

// TestUnreachable: P8, P9. Each way in which a server cannot be reached says why
// that can be, and the command that tries the same.
func TestUnreachable(t *testing.T) {
	pgtest.ClearEnv(t)
	srv := pgtest.Shared(t, pgtest.Majors(t)[0])
	full := pgtest.CreateDatabase(t, srv)
	limited := pgtest.Name(t)
	pgtest.Exec(t, full, "CREATE ROLE "+limited+" LOGIN CONNECTION LIMIT 0")
	silent := func(cfg *pgconn.Config) {
		cfg.ConnectTimeout = 50 * time.Millisecond
		cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			<-ctx.Done()
			return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
		}
	}
	slow := func(cfg *pgconn.Config) {
		cfg.ConnectTimeout = 50 * time.Millisecond
		cfg.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { theirs.Close() })
			return ours, nil
		}
	}
	for _, c := range []struct {
		url, why, next string
		change         func(cfg *pgconn.Config)
	}{
		{"postgres://u:c4n4ry@127.0.0.1:1/x", "nothing listens", "psql 'host=127.0.0.1 port=1 dbname=x user=u' -c 'SELECT 1'", nil},
		{"postgres://u:c4n4ry@no-such-host.invalid/x", "the name", "psql 'host=no-such-host.invalid port=5432 dbname=x user=u' -c 'SELECT 1'", nil},
		{"postgres://u:c4n4ry@127.0.0.1/x", "in time", "psql ", silent},
		{"postgres://u:c4n4ry@127.0.0.1/x", "in time", "psql ", slow},
		{strings.Replace(full, "postgres@", "nobody:c4n4ry@", 1), "role or password", "user=nobody' -c 'SELECT 1'", nil},
		{full + "_none", "another name", "dbname=postgres user=postgres' -l", nil},
		{strings.Replace(full, "postgres@", limited+"@", 1), "all in use", "psql ", nil},
		{`host='/tmp/o\'s' user='a b' dbname=x`, "nothing listens",
			`psql 'host='\''/tmp/o\'\''s'\'' port=5432 dbname=x user='\''a b'\''' -c 'SELECT 1'`, nil},
	} {
		u := wantUnreachable(t, c.url, c.change)
		if !strings.Contains(u.Why, c.why) || !strings.Contains(u.Next, c.next) {
			t.Errorf("%s: %v\nwhy  %s\nnext %s\nwant %s, %s", c.url, u, u.Why, u.Next, c.why, c.next)
		}
	}
}

// TestAdviceTriesTheSame: P5. The command can be typed as it is: it fails as we
// did, and succeeds when the cause is gone.
func TestAdviceTriesTheSame(t *testing.T) {
	if _, err := exec.LookPath("psql"); err != nil {
		t.Skip("there is no psql here")
	}
	pgtest.ClearEnv(t)
	url := pgtest.CreateDatabase(t, pgtest.Shared(t, pgtest.Majors(t)[0]))
	role := pgtest.Name(t) + ` o"'s \`
	quoted := `"` + strings.ReplaceAll(role, `"`, `""`) + `"`
	pgtest.Exec(t, url, "CREATE ROLE "+quoted+" LOGIN CONNECTION LIMIT 0")
	u := wantUnreachable(t, url, func(cfg *pgconn.Config) { cfg.User = role })
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", u.Next).CombinedOutput(); err == nil || !strings.Contains(string(out), "too many connections") {
		t.Errorf("%s: %v, %s", u.Next, err, out)
	}
	pgtest.Exec(t, url, "ALTER ROLE "+quoted+" CONNECTION LIMIT 1")
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", u.Next).CombinedOutput(); err != nil {
		t.Errorf("%s: %v, %s", u.Next, err, out)
	}
	missing := wantUnreachable(t, url+"_none", nil)
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", missing.Next).CombinedOutput(); err != nil {
		t.Errorf("%s: %v, %s", missing.Next, err, out)
	}
}
