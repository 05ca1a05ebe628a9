// Command bench measures entrain against its real peers, on servers of its own:
//
//	go run ./bench decode|apply|side|gate|letters|checked|latency|snapshot|kafka|relay|fanout|all [--rows N] [--seconds N] [--runs N] [--flat] [--own] [-o table|json]
//
// decode reads the same log again and again, by turns with pg_recvlogical and
// with `entrain run` into native JSON; apply feeds a second server by turns by
// a native subscription and by entrain, and compares every row afterwards;
// side does so with one, two and four sessions of the sink, near and 1 ms away; gate
// does so with the version gate and without; letters does so with rows that the
// target refuses; checked with contracts and gate, and into Kafka with contracts and
// deduplication by Redis, by turns with neither;
// latency does so live, at 1,000 transactions a second, and compares commit
// times; snapshot copies existing rows beside psql, pg_dump with pg_restore, and
// a native subscription, or with --flat says what a row costs in a table of twenty
// times as many and what thousands of tables do; kafka feeds a broker by turns by Debezium Server and by
// entrain, or with --own by entrain alone; relay goes through the broker into a table; fanout feeds three targets
// from one source. Every figure is a median over runs that alternate in one go; only the
// thresholds are written down here. Standard output is the result, standard
// error says what goes on. It exits with 4 if a threshold is missed.
//
// The servers are PostgreSQL 15 on loopback with default settings but for
// fsync=off and what logical decoding needs; loads are made with
// synchronous_commit=off. It needs the client programs too, and space in the
// temporary folder (TMPDIR): about 1.5 GB for each million of --rows. kafka and
// relay need Java 21 or later, and fetch broker and peers (870 MB) once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// options are what the command line says.
type options struct {
	works   []string
	rows    int64 // of the large transactions
	seconds int   // of the latency load
	runs    int
	output  string // "table" or "json"
	flat    bool   // snapshot: what grows with rows and tables
	own     bool   // kafka: entrain only
}

const (
	defaultRows    = 1_000_000
	defaultSeconds = 30
	defaultRuns    = 5
)

// works are what can be measured, in the order of "all".
var works = []struct {
	name    string
	measure func(context.Context, *harness) error
}{
	{"decode", decode},
	{"apply", apply},
	{"side", side},
	{"gate", gate},
	{"letters", letters},
	{"checked", checked},
	{"latency", latency},
	{"snapshot", snapshot},
	{"kafka", kafka},
	{"relay", relay},
	{"fanout", fanout},
}

var errUsage = errors.New("usage: bench decode|apply|side|gate|letters|checked|latency|snapshot|kafka|relay|fanout|all [--rows N] [--seconds N] [--runs N] [--flat] [--own] [-o table|json]")

const (
	exitFailed = 1
	exitUsage  = 2
	exitMissed = 4

	exitInterrupted = 130
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
		return
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(exitInterrupted)
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(exitCode(err))
}

// exitCode tells a missed threshold from a measurement that failed.
func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errMissed):
		return exitMissed
	}
	return exitFailed
}

// run measures what the arguments ask for. All that it started and made is gone
// when it returns.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	opt, err := parse(args, stderr)
	if err != nil {
		return err
	}
	h, err := newHarness(ctx, opt, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	if opt.output == "json" {
		h.emit = func(r result) error { return writeLine(stdout, r) }
	}
	err = h.measureAll(ctx)
	if opt.output == "table" && len(h.results) > 0 {
		err = errors.Join(err, writeTable(stdout, h.results))
	}
	if err != nil {
		return err
	}
	return missed(h.results)
}

// measureAll does the works that were asked for, in order.
func (h *harness) measureAll(ctx context.Context) error {
	for _, w := range works {
		if !slices.Contains(h.opt.works, w.name) {
			continue
		}
		if err := w.measure(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// parse reads the command line: the work, then flags.
func parse(args []string, stderr io.Writer) (options, error) {
	opt := options{rows: defaultRows}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("rows", "rows of the large transactions, such as 10M (default 1M); below 1M the other loads shrink, too", func(s string) (err error) {
		opt.rows, err = parseCount(s)
		return err
	})
	flags.IntVar(&opt.seconds, "seconds", defaultSeconds, "how long the latency load runs")
	flags.IntVar(&opt.runs, "runs", defaultRuns, "runs of each contender; the figures are medians")
	flags.BoolVar(&opt.flat, "flat", false, "snapshot: whether --rows and twenty times as many cost the same each, and 5,000 tables")
	flags.BoolVar(&opt.own, "own", false, "kafka: entrain alone, without the peer, which takes most of the time")
	flags.StringVar(&opt.output, "o", "table", "table, or json: one object a line")
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		flags.Usage()
		return options{}, errUsage
	}
	if err := flags.Parse(args[1:]); err != nil {
		return options{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	known := false
	for _, w := range works {
		if args[0] == w.name || args[0] == "all" {
			opt.works = append(opt.works, w.name)
			known = true
		}
	}
	if !known || flags.NArg() > 0 || opt.runs < 1 || opt.seconds < 1 || opt.output != "table" && opt.output != "json" {
		return options{}, fmt.Errorf("%w: got %s", errUsage, strings.Join(args, " "))
	}
	return opt, nil
}

// parseCount reads a number of rows: 400000, 400k or 10M.
func parseCount(s string) (int64, error) {
	digits, factor := s, int64(1)
	switch {
	case strings.HasSuffix(s, "k"):
		digits, factor = s[:len(s)-1], 1000
	case strings.HasSuffix(s, "M"):
		digits, factor = s[:len(s)-1], 1_000_000
	}
	n, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a number of rows such as 400k or 10M", s)
	}
	return n * factor, nil
}
