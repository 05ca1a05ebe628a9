package main

import (
	"io"

	"github.com/spf13/cobra"

	schema "github.com/entrainsync/entrain/internal/config"
)

func (p *program) configCommand() *cobra.Command {
	config := &cobra.Command{Use: "config", Short: "Look at pipeline files", Args: cobra.ArbitraryArgs, RunE: group}
	config.AddCommand(&cobra.Command{
		Use:   "show FILE",
		Short: "Check a pipeline file and show it with all defaults, credentials masked; dials nothing",
		Args:  exactly(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := p.load(args[0])
			if err != nil {
				return err
			}
			_, err = io.WriteString(p.stdout, l.file.Show())
			return err
		},
	})
	config.AddCommand(p.configSchemaCommand())
	return config
}

func (p *program) configSchemaCommand() *cobra.Command {
	var contract bool
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of pipeline files, or of contracts, for editors",
		Args:  exactly(0),
		RunE: func(*cobra.Command, []string) error {
			text := schema.Schema()
			if contract {
				text = schema.ContractSchema()
			}
			_, err := p.stdout.Write(text)
			return err
		},
	}
	cmd.Flags().BoolVar(&contract, "contract", false, "that of contract files: docs/contracts.md")
	return cmd
}
