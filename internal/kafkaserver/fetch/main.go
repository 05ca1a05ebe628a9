// Command fetch makes sure that what a Kafka broker is run with is on this
// machine: it downloads the broker's libraries into the cache and prints where
// they are, and which Java would run them.
//
//	go run ./internal/kafkaserver/fetch
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/entrainsync/entrain/internal/kafkaserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	install, err := kafkaserver.Obtain(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		stop()
		os.Exit(1)
	}
	fmt.Printf("Kafka %s\t%s\tJava %d: %s\n", kafkaserver.Version, install.Libs, install.Java.Major, install.Java.Path)
}
