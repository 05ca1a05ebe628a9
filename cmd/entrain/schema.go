package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

func (p *program) schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema",
		Short: "The shapes that tables had at the source, and the contracts about them",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(p.schemaHistoryCommand(), p.schemaExportCommand(), p.schemaDiffCommand(), p.schemaCheckCommand())
	return cmd
}

func (p *program) schemaHistoryCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "history FILE TABLE",
		Short: "Show how the shape of a table (schema.table at the source) changed, and where; asks no server",
		Args:  exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return usageError{fmt.Errorf("-o %s: expected table or json", output)}
			}
			l, err := p.load(args[0])
			if err != nil {
				return err
			}
			all, err := schemasOf(cmd.Context(), l.file)
			if err != nil {
				return err
			}
			h, err := historyOf(all, args[1])
			if err != nil {
				return err
			}
			view := viewHistory(h, l.typeName())
			if output == "json" {
				return writeJSON(p.stdout, view)
			}
			return writeHistory(p.stdout, view)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

// typeName writes the types of the source's columns.
func (l *loaded) typeName() func(entrain.Column) string {
	if source, ok := l.source.(entrain.TypeNamer); ok {
		return source.TypeName
	}
	return func(c entrain.Column) string { return c.Type }
}

// schemasOf asks the process that runs the pipeline, which has its state open;
// else it looks into the state.
func schemasOf(ctx context.Context, file *config.File) ([]pipeline.SchemaHistory, error) {
	all, err := admin.Schemas(ctx, store.Folder(file.State.Dir, file.Name))
	if err == nil || !errors.Is(err, admin.ErrNotRunning) {
		return all, err
	}
	all, _, err = store.PeekSchemas(file.State.Dir, file.Name)
	return all, err
}

// historyOf finds a table by schema.table, or by its name if that is enough.
func historyOf(all []pipeline.SchemaHistory, name string) (pipeline.SchemaHistory, error) {
	var found []pipeline.SchemaHistory
	var known []string
	for _, h := range all {
		if len(h.Shapes) == 0 {
			continue
		}
		full := h.Schema + "." + h.Name
		known = append(known, full)
		if full == name {
			return h, nil
		}
		if h.Name == name {
			found = append(found, h)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if near := config.Nearest(name, known); near != "" {
		return pipeline.SchemaHistory{}, usageError{fmt.Errorf("table %s: no change of it was read yet; did you mean %q?", name, near)}
	}
	return pipeline.SchemaHistory{}, usageError{fmt.Errorf("table %s: no change of it was read yet; known: %s", name, strings.Join(known, ", "))}
}

// historyView is the whole of -o json.
type historyView struct {
	Schema string      `json:"schema"`
	Table  string      `json:"table"`
	Shapes []shapeView `json:"shapes"`
}

// shapeView is a shape in JSON.
type shapeView struct {
	Fingerprint string        `json:"fingerprint"`
	Incarnation string        `json:"incarnation"`
	Version     string        `json:"version"` // a string: it is larger than what JSON's readers keep
	Time        *time.Time    `json:"time"`
	Columns     []shapeColumn `json:"columns"`
	Changes     []columnView  `json:"changes"`
	DDL         []ddlView     `json:"ddl,omitempty"`
	Resync      string        `json:"resync,omitempty"`
}

type shapeColumn struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Modifier int32  `json:"modifier"`
	SQL      string `json:"sql"` // type and modifier as the source's SQL has them
	Key      bool   `json:"key"`
}

type columnView struct {
	Kind    string `json:"kind"`
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
	Guessed bool   `json:"guessed,omitempty"`
	Types   string `json:"types,omitempty"`
}

type ddlView struct {
	Tag    string `json:"tag"`
	Object string `json:"object"`
}

// viewHistory leaves out what is the shape before once more: rows that were copied
// and changes from before their copy both begin it.
func viewHistory(h pipeline.SchemaHistory, typeName func(entrain.Column) string) historyView {
	view := historyView{Schema: h.Schema, Table: h.Name, Shapes: []shapeView{}}
	for i, s := range h.Shapes {
		if i > 0 && s.Fingerprint == h.Shapes[i-1].Fingerprint {
			continue
		}
		v := shapeView{Fingerprint: fmt.Sprintf("%016x", s.Fingerprint), Incarnation: s.Begins.Incarnation,
			Version: fmt.Sprint(s.Begins.Version), Columns: []shapeColumn{}, Changes: []columnView{}}
		if !s.Time.IsZero() {
			v.Time = &h.Shapes[i].Time
		}
		for _, c := range s.Columns {
			v.Columns = append(v.Columns, shapeColumn{c.Name, c.Type, c.Modifier, typeName(c), c.Key})
		}
		if change := h.Change(i); change != nil {
			v.Changes, v.Resync = viewChanges(change, typeName), change.Resync
		}
		for _, d := range s.DDL {
			v.DDL = append(v.DDL, ddlView{d.Tag, d.Object})
		}
		view.Shapes = append(view.Shapes, v)
	}
	return view
}

func viewChanges(change *entrain.SchemaChange, typeName func(entrain.Column) string) []columnView {
	changes := []columnView{}
	for _, c := range change.Columns {
		v := columnView{Kind: c.Kind.String(), Guessed: c.Guessed}
		var types []string
		if c.Before != nil {
			v.Before, types = c.Before.Name, append(types, typeName(*c.Before))
		}
		if c.After != nil {
			v.After, types = c.After.Name, append(types, typeName(*c.After))
		}
		if c.Kind != entrain.ColumnRenamed {
			v.Types = strings.Join(types, " → ")
		}
		changes = append(changes, v)
	}
	if change.Identity {
		changes = append(changes, columnView{Kind: "identity"})
	}
	return changes
}

func writeHistory(out io.Writer, view historyView) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range view.Shapes {
		at := "-"
		if s.Time != nil {
			at = s.Time.UTC().Format("2006-01-02 15:04:05")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", at, s.Fingerprint, oneLine(describeShape(s)))
	}
	return w.Flush()
}

// describeShape says how a shape came about, or what it is if that is not known.
func describeShape(s shapeView) string {
	var parts []string
	for _, c := range s.Changes {
		text := c.Kind
		for _, word := range []string{c.Before, c.After} {
			if word != "" && (c.Kind != "retype" || word != c.Before || text == "retype") {
				text += " " + word
			}
		}
		if c.Types != "" {
			text += " (" + c.Types + ")"
		}
		if c.Guessed {
			text += ", a guess"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		for _, c := range s.Columns {
			parts = append(parts, c.Name+" "+c.SQL)
		}
	}
	text := strings.Join(parts, "; ")
	if s.Resync != "" {
		text += "; to be copied anew: " + s.Resync
	}
	return text
}

// printDDLScript prints what makes the source tell of DDL statements.
func (p *program) printDDLScript(l *loaded, o checkOptions) error {
	if o.fixSQL || o.output == "json" || len(o.only) > 0 {
		return usageError{errors.New("--ddl prints SQL and goes with no other flag")}
	}
	source, ok := l.source.(entrain.DDLScripter)
	if !ok {
		return usageError{fmt.Errorf("--ddl: a source of type %s cannot be made to tell of statements", l.sourceType())}
	}
	_, err := io.WriteString(p.stdout, source.DDLScript())
	return err
}
