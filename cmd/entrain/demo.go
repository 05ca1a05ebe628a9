package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/demo"
	"github.com/entrainsync/entrain/internal/pgserver"
)

// maxDemoRate is more than one connection can do.
const maxDemoRate = 100_000

func (p *program) demoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show changes flow between two private PostgreSQL servers, then compare both sides",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.For < 0 || o.Rate < 1 || o.Rate > maxDemoRate {
				return usageError{fmt.Errorf("--for %s --rate %d: expected a time, and 1 to %d transactions a second", o.For, o.Rate, maxDemoRate)}
			}
			// What a pipeline logs at its start is no part of the show, unless asked for.
			if p.quiet = p.quiet || !cmd.Flags().Changed("log-level"); p.quiet {
				if err := p.openLog(); err != nil {
					return err
				}
			}
			return p.runDemo(cmd.Context(), o)
		},
	}
	cmd.Flags().DurationVar(&o.For, "for", 0, "how long, such as 20s; without it until Ctrl-C")
	cmd.Flags().IntVar(&o.Rate, "rate", 200, "transactions a second")
	return cmd
}

// runDemo ends the demo's business at the first signal; a second one ends the
// program at once, and the servers' watchdogs clean up.
func (p *program) runDemo(ctx context.Context, o demo.Options) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	noColor, _ := p.env("NO_COLOR")
	o.Stdout, o.Stderr, o.Log, o.Bars = p.stdout, p.stderr, p.log, p.bars
	o.Color = noColor == "" && isTerminal(p.stdout)
	err := demo.Run(ctx, o)
	var missing *pgserver.NotFoundError
	if errors.As(err, &missing) {
		return stopNoServers(missing)
	}
	return err
}

// stopNoServers says how to get PostgreSQL: this program downloads nothing.
func stopNoServers(missing *pgserver.NotFoundError) error {
	why := fmt.Sprintf("neither PATH nor the usual folders nor the cache have initdb and postgres of version %d or later", pgserver.OldestMajor)
	if len(missing.Looked) > 0 {
		why += "; looked at: " + strings.Join(missing.Looked, "; ")
	}
	return &entrain.Stop{
		Code: "no_postgresql",
		What: "found no PostgreSQL to start the two private servers from",
		Why:  why,
		Next: "apt-get install postgresql-15   # or, in a clone of the repository, make demo: it fetches PostgreSQL first",
	}
}
