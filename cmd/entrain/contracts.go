package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/contract"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/pipeline"
)

// errContracts ends a comparison that found that contracts and tables, or two
// versions of contracts, differ; how was printed.
var errContracts = errors.New("contracts are not kept")

// defaultContracts is the folder of contracts of a file that names none.
const defaultContracts = "contracts"

// contractFolder is where the file's contracts are; flag goes before the file.
func contractFolder(file *config.File, flag string) string {
	switch {
	case flag != "":
		return flag
	case file.Contracts != nil:
		return file.Contracts.Dir
	}
	return defaultContracts
}

// readContracts reads those that the file's section names, where events are held to them.
func (l *loaded) readContracts() (err error) {
	here := l.half != deliverOnly && l.source != nil
	if l.parksBehind() {
		here = l.half != captureOnly
	}
	if here && l.file.Contracts.Level() != contract.Off {
		l.contracts, err = config.LoadContracts(l.file.Contracts.Dir)
	}
	return err
}

// parksBehind reports whether breaches are dead letters of sinks behind a stream: each
// delivery holds what it reads to the contracts, and the capture holds nothing.
func (l *loaded) parksBehind() bool {
	return l.log != nil && l.file.Contracts.Level() == contract.DeadLetter
}

// captureHolds are the contracts of the pipeline that reads the source; nil for none.
func (l *loaded) captureHolds() *pipeline.Contracts {
	if l.parksBehind() {
		return nil
	}
	return l.promises()
}

// deliveryHolds are the contracts of one that reads the stream; nil for none.
func (l *loaded) deliveryHolds() *pipeline.Contracts {
	if !l.parksBehind() {
		return nil
	}
	return l.promises()
}

// promises are what the engine holds events to; nil for nothing.
func (l *loaded) promises() *pipeline.Contracts {
	if len(l.contracts) == 0 {
		return nil
	}
	c := &pipeline.Contracts{Level: l.file.Contracts.Level(), TypeName: l.typeName()}
	for i := range l.contracts {
		c.All = append(c.All, l.contracts[i].Contract)
	}
	return c
}

// samePromises reports whether the contracts of both say the same.
func (l *loaded) samePromises(other *loaded) bool {
	return slices.EqualFunc(l.contracts, other.contracts, func(a, b config.ContractFile) bool {
		return a.Path == b.Path && a.Contract.Text() == b.Contract.Text()
	})
}

// captured are the tables of the source as its catalog has them now.
func (l *loaded) captured(ctx context.Context) (*entrain.Report, error) {
	if l.source == nil {
		return nil, usageError{errors.New("the file has no source")}
	}
	checker, ok := l.source.(entrain.Checker)
	if !ok {
		return nil, usageError{fmt.Errorf("a source of type %s does not tell of its tables", l.sourceType())}
	}
	report, err := checker.Check(ctx, nil)
	if err != nil {
		return nil, unexamined{fmt.Errorf("source: %w", err)}
	}
	return &report, nil
}

// shapeOf is a table of the source with what its catalog knows of NULL.
func (l *loaded) shapeOf(ctx context.Context, t *entrain.Table) (contract.Shape, error) {
	var facts []entrain.ColumnFacts
	if source, ok := l.source.(entrain.Describer); ok {
		var err error
		if facts, err = source.Describe(ctx, t); err != nil {
			return contract.Shape{}, unexamined{err}
		}
	}
	return contract.ShapeOf(t, l.typeName(), facts), nil
}

// contractDiff is what differs of one contract at one end, as -o json shows it.
type contractDiff struct {
	Table       string                `json:"table"`
	File        string                `json:"file"`
	End         string                `json:"end"`
	Differences []contract.Difference `json:"differences"`
}

// writeDiffs prints differences, a line each.
func writeDiffs(out io.Writer, all []contractDiff, sides [2]string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "TABLE\tAT\tCOLUMN\tDIFFERENCE\t%s\t%s\tBREAKS\n", sides[0], sides[1])
	for _, of := range all {
		for _, d := range of.Differences {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(of.Table), of.End, orDash(d.Column), d.Kind, orDash(d.Want), orDash(d.Have), yes[d.Breaking])
		}
	}
	return w.Flush()
}

var yes = map[bool]string{true: "yes", false: "no"}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return shorten(oneLine(text))
}

// countDiffs sums up; what is only wider at a target is as it may be.
func countDiffs(all []contractDiff) (differences, breaking int) {
	for _, of := range all {
		for _, d := range of.Differences {
			if d.Kind != contract.KindWider {
				differences++
			}
			if d.Breaking {
				breaking++
			}
		}
	}
	return differences, breaking
}
