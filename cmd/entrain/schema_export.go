package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/contract"
	"github.com/entrainsync/entrain/internal/config"
)

// exportOptions are the flags of schema export.
type exportOptions struct {
	dir    string
	tables []string
	force  bool
}

func (p *program) schemaExportCommand() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write a proposed contract for each captured table, as the source's catalog has it now",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := p.loadEnds(args[0], both)
			if err != nil {
				return err
			}
			return p.export(cmd.Context(), l, o)
		},
	}
	cmd.Flags().StringVar(&o.dir, "dir", "", "the `folder` of the contracts (default: contracts.dir of the file, or contracts)")
	cmd.Flags().StringArrayVar(&o.tables, "table", nil, "only this `schema.table`; * and ? match; may be repeated")
	cmd.Flags().BoolVar(&o.force, "force", false, "take the shape of tables over into contracts that differ; what else they say stays, but for comments behind the first key")
	return cmd
}

// exported is what became of one table's contract.
type exported struct{ table, path, result string }

func (p *program) export(ctx context.Context, l *loaded, o exportOptions) error {
	wants, err := wanted(o.tables)
	if err != nil {
		return err
	}
	dir := contractFolder(l.file, o.dir)
	former, err := formerContracts(dir)
	if err != nil {
		return err
	}
	report, err := l.captured(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of contracts: %w", err)
	}
	x := exporter{l: l, dir: dir, former: former, force: o.force}
	for _, t := range report.Tables {
		if !wants(t.Schema, t.Name) {
			continue
		}
		if err := x.table(ctx, t); err != nil {
			return err
		}
	}
	if len(x.done) == 0 {
		return usageError{errors.New("schema export: the file captures no such table")}
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, e := range x.done {
		fmt.Fprintf(w, "%s\t%s\t%s\n", e.result, oneLine(e.table), e.path)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if x.left > 0 {
		return fmt.Errorf("%w: of %s, %d differ from their tables and stay as they are; entrain schema diff shows how, --force takes the tables' shapes over",
			errContracts, plural(len(x.done), "contract"), x.left)
	}
	return nil
}

// formerContracts are those that are there, by table.
func formerContracts(dir string) (map[string]config.ContractFile, error) {
	all, err := config.LoadContracts(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	former := map[string]config.ContractFile{}
	for _, c := range all {
		former[c.Contract.Table] = c
	}
	return former, nil
}

// exporter writes contracts.
type exporter struct {
	l      *loaded
	dir    string
	former map[string]config.ContractFile
	force  bool
	done   []exported
	left   int // that differ and were left
}

func (x *exporter) table(ctx context.Context, t *entrain.Table) error {
	shape, err := x.l.shapeOf(ctx, t)
	if err != nil {
		return err
	}
	known, there := x.former[t.String()]
	is := exported{table: t.String(), path: known.Path, result: "written"}
	switch {
	case !there:
		is.path = x.newPath(t)
		err = os.WriteFile(is.path, []byte(contract.Draft(shape, nil).Text()), 0o644)
	case len(contract.Compare(known.Contract, shape)) == 0:
		is.result = "unchanged"
	case !x.force:
		is.result = "differs"
		x.left++
	default:
		var before []byte
		if before, err = os.ReadFile(is.path); err == nil {
			err = replaceFile(is.path, head(string(before))+contract.Draft(shape, known.Contract).Text())
		}
	}
	if err != nil {
		return fmt.Errorf("write the contract of table %s: %w", t, err)
	}
	x.done = append(x.done, is)
	return nil
}

// newPath is a file that is not there. The table's own name is enough in schema
// public.
func (x *exporter) newPath(t *entrain.Table) string {
	name := url.PathEscape(t.Name)
	if t.Schema != "public" {
		name = url.PathEscape(t.Schema) + "." + name
	}
	path := filepath.Join(x.dir, name+".yaml")
	for n := 2; ; n++ {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path
		}
		path = filepath.Join(x.dir, fmt.Sprintf("%s.%d.yaml", name, n))
	}
}

// head are the comments that a file begins with.
func head(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if plain := strings.TrimSpace(line); plain != "" && !strings.HasPrefix(plain, "#") {
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

// replaceFile puts a file in the place of another one, whole.
func replaceFile(path, text string) error {
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}
