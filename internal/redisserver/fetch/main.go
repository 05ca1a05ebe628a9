// Command fetch makes sure that a Redis server program is on this machine: it
// downloads one into the cache if there is none, and prints where it is.
//
//	go run ./internal/redisserver/fetch
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/entrainsync/entrain/internal/redisserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	install, err := redisserver.Obtain(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		stop()
		os.Exit(1)
	}
	fmt.Printf("Redis %s\t%s\n", install.Version, install.Path)
}
