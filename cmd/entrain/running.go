package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/pipeline"
)

// defaultStateDir is where a pipeline is looked for that is given by its name.
const defaultStateDir = ".entrain"

// running is a pipeline that another process runs, as somebody has named it.
type running struct {
	p      *program
	what   string // FILE or NAME
	dir    string // for a NAME
	folder string // its state folder
}

// runningFlags are those of all commands that talk to a running pipeline.
type runningFlags struct {
	dir    string
	output string // of commands that show something: table, json, and those of more
	more   []string
}

func (f *runningFlags) addDir(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "state-dir", defaultStateDir, "where to look for a pipeline that is given by name")
}

func (f *runningFlags) addOutput(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", f.outputs())
}

// outputs names the forms in which a command shows something.
func (f *runningFlags) outputs() string {
	return strings.Join(append([]string{"table"}, f.more...), ", ") + " or json"
}

// find returns the pipeline that is given by its file or by its name. It does not
// ask whether it runs.
func (p *program) find(what string, f runningFlags) (running, error) {
	if !slices.Contains(append([]string{"", "table", "json"}, f.more...), f.output) {
		return running{}, usageError{fmt.Errorf("-o %s: expected %s", f.output, f.outputs())}
	}
	folder, err := p.folderOf(what, f.dir)
	if err != nil {
		return running{}, err
	}
	return running{p: p, what: what, dir: f.dir, folder: folder}, nil
}

// report asks how the pipeline is.
func (r running) report(ctx context.Context) (admin.Report, error) {
	report, err := admin.Ask(ctx, r.folder)
	return report, r.explain(err)
}

// tables asks where its tables are in their lives.
func (r running) tables(ctx context.Context) ([]pipeline.TableStatus, error) {
	tables, err := admin.Tables(ctx, r.folder)
	return tables, r.explain(err)
}

// order has it carry out an order.
func (r running) order(ctx context.Context, o pipeline.Order) error {
	return r.explain(admin.Do(ctx, r.folder, o))
}

// explain makes the stop of an error that means that nobody answers.
func (r running) explain(err error) error {
	if errors.Is(err, admin.ErrNotRunning) {
		return r.p.notRunning(r.what, r.folder)
	}
	return r.filled(err)
}

// nextCommand is a command in the text of an error, with FILE for the pipeline.
var nextCommand = regexp.MustCompile(`entrain ((?:[a-z]+ )+)FILE\b`)

// filled puts the pipeline as it was named here into the commands that an error's text
// has. Stops and what cannot be reached are filled in where they are shown.
func (r running) filled(err error) error {
	var stop *entrain.Stop
	var unreachable *entrain.Unreachable
	if err == nil || errors.As(err, &stop) || errors.As(err, &unreachable) {
		return err
	}
	text := nextCommand.ReplaceAllStringFunc(err.Error(), func(found string) string {
		return r.command(strings.TrimSpace(nextCommand.FindStringSubmatch(found)[1]))
	})
	if text == err.Error() {
		return err
	}
	return &reworded{text, err}
}

// reworded is an error with another text.
type reworded struct {
	text string
	err  error
}

func (e *reworded) Error() string { return e.text }

func (e *reworded) Unwrap() error { return e.err }

// command is a command about this pipeline, to be typed as it is: its words, and
// what follows the pipeline's name.
func (r running) command(words string, rest ...string) string {
	parts := []string{"entrain", words, shellWord(r.what)}
	for _, word := range rest {
		parts = append(parts, shellWord(word))
	}
	if r.dir != defaultStateDir && r.p.place.get().file == "" {
		parts = append(parts, "--state-dir", shellWord(r.dir))
	}
	return strings.Join(parts, " ")
}

// say tells a person in one line what came of a command.
func (p *program) say(format string, args ...any) {
	if !p.quiet {
		fmt.Fprintf(p.stderr, format+"\n", args...)
	}
}
