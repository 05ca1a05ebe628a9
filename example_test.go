package entrain_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/pipeline"
)

func Example() {
	source, err := postgres.NewSource(postgres.SourceConfig{
		URL: "postgres://app@source.example/shop", Pipeline: "shop", Create: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	sink, err := postgres.NewSink(postgres.SinkConfig{
		URL: "postgres://app@target.example/shop", Pipeline: "shop",
	})
	if err != nil {
		log.Fatal(err)
	}
	p, err := pipeline.New(pipeline.Options{Source: source, Sink: sink})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := p.Run(ctx); err != nil { // drains and confirms when ctx ends
		log.Print(err)
	}
}
