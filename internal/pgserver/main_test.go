package pgserver_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// ownerEnv makes the test binary a process that owns a server and waits to be
// killed.
const ownerEnv = "PGSERVER_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		fmt.Fprintln(os.Stderr, own(context.Background()))
		os.Exit(1)
	}
	pgtest.Main(m)
}

// own starts a server, prints its process and folder, and returns only if it
// failed.
func own(ctx context.Context) error {
	install, err := pgserver.Obtain(ctx, 15)
	if err != nil {
		return err
	}
	srv, err := pgserver.Start(ctx, pgserver.Config{Install: install})
	if err != nil {
		return err
	}
	fmt.Printf("server %d %s\n", srv.Pid(), srv.Dir())
	select {}
}
