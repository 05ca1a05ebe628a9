package kafkaserver_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// ownerEnv makes the test binary a process that owns a broker and waits to be
// killed.
const ownerEnv = "KAFKASERVER_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerEnv) != "" {
		fmt.Fprintln(os.Stderr, own(context.Background()))
		os.Exit(1)
	}
	pgtest.Main(m, kafkatest.Remove)
}

// own starts a broker, prints its process and folder, and returns only if it
// failed.
func own(ctx context.Context) error {
	install, err := kafkaserver.Obtain(ctx)
	if err != nil {
		return err
	}
	srv, err := kafkaserver.Start(ctx, kafkaserver.Config{Install: install})
	if err != nil {
		return err
	}
	fmt.Printf("server %d %s\n", srv.Pid(), srv.Dir())
	select {}
}
