// Command fetch makes sure that a schema registry is on this machine: it
// downloads one into the cache if there is none, and prints where it is.
//
//	go run ./internal/registryserver/fetch
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/entrainsync/entrain/internal/registryserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	install, err := registryserver.Obtain(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		stop()
		os.Exit(1)
	}
	fmt.Printf("Apicurio Registry %s\t%s\n", registryserver.Version, install.Dir)
}
