package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain/contract"
	"github.com/entrainsync/entrain/internal/config"
)

// checkContractOptions are the flags of schema check.
type checkContractOptions struct{ output, dir, against string }

func (p *program) schemaCheckCommand() *cobra.Command {
	var o checkContractOptions
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check the contract files, and with --against whether they keep what former ones promised; asks no server",
		Args:  exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if o.output != "table" && o.output != "json" {
				return usageError{fmt.Errorf("-o %s: expected table or json", o.output)}
			}
			file, err := p.loadFile(args[0])
			if err != nil {
				return err
			}
			return p.checkContracts(file, o)
		},
	}
	cmd.Flags().StringVarP(&o.output, "output", "o", "table", "table or json")
	cmd.Flags().StringVar(&o.dir, "dir", "", "the `folder` of the contracts (default: contracts.dir of the file, or contracts)")
	cmd.Flags().StringVar(&o.against, "against", "", "the `folder` of the former contracts, such as a worktree of the main branch has it")
	return cmd
}

// checkContracts reads both folders: mistakes in a file are found by that.
func (p *program) checkContracts(file *config.File, o checkContractOptions) error {
	dir := contractFolder(file, o.dir)
	all, err := config.LoadContracts(dir)
	if err != nil {
		return err
	}
	found := []contractDiff{}
	for i := range all {
		if d := overdue(all[i].Contract, time.Now()); d != nil {
			found = append(found, *d)
		}
	}
	if o.against != "" {
		former, err := config.LoadContracts(o.against)
		if err != nil {
			return err
		}
		found = append(found, evolved(former, all)...)
	}
	differences, breaking := countDiffs(found)
	switch {
	case o.output == "json":
		err = writeJSON(p.stdout, found)
	case differences > 0:
		err = writeDiffs(p.stdout, found, [2]string{"FORMER", "NOW"})
	}
	if err != nil {
		return err
	}
	if breaking > 0 {
		return fmt.Errorf("%s, %d of them breaking: %w", plural(differences, "difference"), breaking, errContracts)
	}
	fmt.Fprintf(p.stderr, "entrain: %s in %s: well formed%s\n", plural(len(all), "contract"), dir,
		map[bool]string{true: ", and nothing that was promised is broken"}[o.against != ""])
	return nil
}

// overdue is what a contract's own dates say against its status; nil for nothing. It
// breaks nothing that was promised, but the status is wrong.
func overdue(c *contract.Contract, now time.Time) *contractDiff {
	due := c.Overdue(now)
	if due == "" {
		return nil
	}
	return &contractDiff{Table: c.Table, File: c.File, End: "dates", Differences: []contract.Difference{
		{Kind: contract.KindStatus, Want: string(due), Have: string(c.Status), Breaking: true}}}
}

// evolved compares two versions of all contracts. One that is new breaks nothing.
func evolved(former, all []config.ContractFile) []contractDiff {
	var found []contractDiff
	for i := range former {
		was := former[i].Contract
		var next *contract.Contract
		for k := range all {
			if all[k].Contract.Table == was.Table {
				next = all[k].Contract
			}
		}
		if differences := contract.Evolve(was, next); len(differences) > 0 {
			found = append(found, contractDiff{Table: was.Table, File: was.File, End: "contract", Differences: differences})
		}
	}
	return found
}
