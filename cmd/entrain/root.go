package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain/internal/bars"
)

// program is one run of the command.
type program struct {
	world
	quiet    bool
	logLevel string
	log      *slog.Logger
	place    spot         // what advice in stops and in the log is about
	bars     *bars.Bars   // below the log; nil without a terminal
	classed  *classMemory // of the pipeline that was loaded last; may be nil
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, w world) int {
	p := &program{world: w}
	root := p.rootCommand()
	root.SetArgs(w.args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	return p.report(root.ExecuteContext(ctx))
}

// rootCommand builds the commands, a line each.
func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "entrain",
		Short:             "Capture committed changes and apply them exactly once elsewhere",
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.openLog() },
		Args:              cobra.ArbitraryArgs,
		RunE:              group,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see: %s --help", err, cmd.CommandPath())}
	})
	root.PersistentFlags().BoolVar(&p.quiet, "quiet", false, "log warnings and errors only")
	root.PersistentFlags().StringVar(&p.logLevel, "log-level", "info", "debug, info, warn or error")
	root.AddCommand(
		p.checkCommand(),
		p.initCommand(),
		p.runCommand(),
		p.captureCommand(),
		p.deliverCommand(),
		p.demoCommand(),
		p.statusCommand(),
		p.tableCommand(),
		p.snapshotCommand(),
		p.dlqCommand(),
		p.replayCommand(),
		p.sinkCommand(),
		p.verifyCommand(),
		p.sequencesCommand(),
		p.schemaCommand(),
		p.teardownCommand(),
		p.configCommand(),
		p.versionCommand(),
	)
	complete(root)
	return root
}

// group is what a command does that only holds others: it shows them.
func group(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %q%s", args[0], suggestions(cmd, args[0]))}
	}
	return cmd.Help()
}

func suggestions(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return fmt.Sprintf("; did you mean %q?", near[0])
	}
	return "; see: " + cmd.CommandPath() + " --help"
}

// exactly makes a wrong number of arguments a usage error that names what is
// expected.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usageError{fmt.Errorf("%d arguments, expected: %s", len(args), cmd.UseLine())}
	}
}

func atLeast(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return exactly(n)(cmd, args)
		}
		return nil
	}
}

// openLog makes the logger: text for a person, JSON for everything else.
func (p *program) openLog() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(p.logLevel)); err != nil {
		return usageError{fmt.Errorf("--log-level %q: expected debug, info, warn or error", p.logLevel)}
	}
	if p.quiet {
		level = max(level, slog.LevelWarn)
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: p.readable}
	var handler slog.Handler = slog.NewJSONHandler(p.stderr, options)
	if isTerminal(p.stderr) {
		p.bars = bars.New(p.stderr)
		handler = slog.NewTextHandler(p.bars, options)
	}
	p.log = slog.New(handler)
	return nil
}

// readable writes durations with their unit, in JSON too, and commands about this
// pipeline.
func (p *program) readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return p.place.get().fillAttr(a)
}

// isTerminal reports whether a person may be at the other end.
func isTerminal(end any) bool {
	f, ok := end.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
