package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/contract"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/verify"
)

func (p *program) schemaDiffCommand() *cobra.Command {
	var output, dir string
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Show how the contracts differ from the tables as source and target have them now; changes nothing",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("-o %s: expected table or json", output)}
			}
			l, err := p.loadEnds(args[0], both)
			if err != nil {
				return err
			}
			if l.contracts, err = config.LoadContracts(contractFolder(l.file, dir)); err != nil {
				return err
			}
			return p.diff(cmd.Context(), l, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&dir, "dir", "", "the `folder` of the contracts (default: contracts.dir of the file, or contracts)")
	return cmd
}

func (p *program) diff(ctx context.Context, l *loaded, output string) error {
	report, err := l.captured(ctx)
	if err != nil {
		return err
	}
	ends, err := l.receiving(ctx, report)
	if err != nil {
		return err
	}
	all, err := l.diffs(ctx, report, ends)
	if err != nil {
		return err
	}
	for _, t := range report.Tables {
		if !slices.ContainsFunc(l.contracts, func(c config.ContractFile) bool { return c.Contract.Table == t.String() }) {
			fmt.Fprintf(p.stderr, "entrain: table %s has no contract; entrain schema export writes one\n", oneLine(t.String()))
		}
	}
	differences, breaking := countDiffs(all)
	some := slices.ContainsFunc(all, func(d contractDiff) bool { return len(d.Differences) > 0 })
	switch {
	case output == "json":
		err = writeJSON(p.stdout, all)
	case some:
		err = writeDiffs(p.stdout, all, [2]string{"CONTRACT", "THERE"})
	}
	if err != nil || differences == 0 {
		return err
	}
	return fmt.Errorf("%s, %d of them breaking: %w", plural(differences, "difference"), breaking, errContracts)
}

// receiver is a sink that has tables, as they are there.
type receiver struct {
	name   string
	tables []*entrain.Table
}

// receiving are the file's sinks that are databases.
func (l *loaded) receiving(ctx context.Context, source *entrain.Report) ([]receiver, error) {
	var all []receiver
	delivered, rules := l.delivered(part{name: "source", report: *source})
	if delivered == nil {
		return nil, errors.New(rules[0].Why)
	}
	for i := range l.sinks {
		end := &l.sinks[i]
		checker, ok := end.sink.(entrain.Checker)
		if _, database := end.sink.(entrain.Digester); !ok || !database {
			continue
		}
		report, err := checker.Check(ctx, delivered)
		if err != nil {
			return nil, unexamined{fmt.Errorf("%s: %w", end.part(), err)}
		}
		all = append(all, receiver{end.part(), report.Tables})
	}
	return all, nil
}

// diffs compares each contract with the source's table and what the targets have of
// it.
func (l *loaded) diffs(ctx context.Context, report *entrain.Report, ends []receiver) ([]contractDiff, error) {
	all := []contractDiff{}
	for i := range l.contracts {
		c := l.contracts[i].Contract
		schema, name := c.Name()
		is := contractDiff{Table: c.Table, File: c.File, End: "source", Differences: []contract.Difference{}}
		table := tableNamed(report.Tables, schema, name)
		if table == nil {
			if c.Status != contract.Retired {
				is.Differences = append(is.Differences, noTable(c, "not captured"))
			}
			all = append(all, is)
			continue
		}
		shape, err := l.shapeOf(ctx, table)
		if err != nil {
			return nil, err
		}
		is.Differences = append(is.Differences, contract.Compare(c, shape)...)
		all = append(all, is)
		mapped, err := l.mapping(table)
		if err != nil {
			return nil, err
		}
		for _, end := range ends {
			all = append(all, l.diffAt(end, promisedAt(c, table, mapped), mapped.Table))
		}
	}
	return all, nil
}

func noTable(c *contract.Contract, have string) contract.Difference {
	return contract.Difference{Kind: contract.KindNoTable, Want: c.Table, Have: have, Breaking: c.Compatibility != contract.None && c.Status != contract.Proposed}
}

func tableNamed(all []*entrain.Table, schema, name string) *entrain.Table {
	for _, t := range all {
		if t.Schema == schema && t.Name == name {
			return t
		}
	}
	return nil
}

// promisedAt is a contract with the columns that the rules deliver, under the names
// that they give.
func promisedAt(c *contract.Contract, source *entrain.Table, m verify.Mapping) *contract.Contract {
	promised := *c
	promised.Columns = nil
	for i, from := range m.From {
		for _, col := range c.Columns {
			if col.Name == source.Columns[from].Name {
				col.Name = m.Table.Columns[i].Name
				promised.Columns = append(promised.Columns, col)
			}
		}
	}
	return &promised
}

// diffAt compares a contract with what a target has of its table. What it has besides
// is its own business.
func (l *loaded) diffAt(end receiver, c *contract.Contract, delivered *entrain.Table) contractDiff {
	is := contractDiff{Table: c.Table, File: c.File, End: end.name, Differences: []contract.Difference{}}
	there := tableNamed(end.tables, delivered.Schema, delivered.Name)
	if there == nil {
		is.Differences = append(is.Differences, noTable(c, "no table "+delivered.String()))
		return is
	}
	for _, d := range contract.Widened(contract.Compare(c, contract.ShapeOf(there, l.typeName(), nil))) {
		if d.Kind != contract.KindAdded {
			is.Differences = append(is.Differences, d)
		}
	}
	return is
}
