package main

import (
	"strconv"
	"strings"
	"text/template"
)

// schemaFile is the schema's name beside a file that init has written.
const schemaFile = "entrain.schema.json"

// draft is what init puts into a pipeline file.
type draft struct {
	Name                           string
	SourceVariable, TargetVariable string
	Include                        []string // patterns
	Exclude                        []excluded
	Tables                         int    // that are captured
	Path                           string // of a file sink; empty for a server
}

// excluded is a table that is left out.
type excluded struct{ Pattern, Why string }

// text is the file.
func (d *draft) text() string {
	var b strings.Builder
	if err := draftTemplate.Execute(&b, d); err != nil {
		panic(err) // the template and the struct are of one program
	}
	return b.String()
}

// yamlText writes a text so that it is read back as it is, whatever is in it.
func yamlText(text string) string {
	return strings.ReplaceAll(strconv.Quote(text), "${", "$${")
}

// comment is a text that cannot end its line.
func comment(text string) string { return strings.Join(strings.Fields(text), " ") }

var draftTemplate = template.Must(template.New("pipeline").Funcs(template.FuncMap{
	"yaml": yamlText, "comment": comment,
}).Parse(`# yaml-language-server: $schema=` + schemaFile + `
# Written by entrain init. Every key is in README.md, docs/postgres.md, docs/snapshots.md, docs/tables.md, docs/transform.md or docs/contracts.md; an unknown one is an error.

name: {{yaml .Name}}

source:
  type: postgres
  url: ${ {{- .SourceVariable -}} }            # its password may also come from PGPASSWORD or ~/.pgpass
  create: true                  # make publication and slot if they are missing; false prints the SQL
  tables:
    include:
{{- range .Include}}
      - {{yaml .}}
{{- end}}
{{- if .Exclude}}
    exclude:                    # cannot be captured as they are; take a line out when its table is mended
{{- range .Exclude}}
      - {{yaml .Pattern}}  # {{comment .Why}}
{{- end}}
{{- end}}
  # heartbeat: 10s              # for an idle database beside busy ones
  # decoding_work_mem: 256MB    # of the source's memory, so that large transactions are not spilled to its disk

snapshot: {mode: initial}       # copy the rows that are there first; never: changes only: docs/snapshots.md
# on_table_error: stop          # default; resync: only the table stops that the sink refuses something of: docs/tables.md

# transform:                    # leave out or rename tables and columns, filter rows: docs/transform.md
#   - tables: ["public.customers"]
#     columns: {exclude: [email]}

sink:
{{- if .Path}}
  type: file
  path: {{yaml .Path}}
  format: native                # or debezium, flat: docs/format.md
{{- else}}
  type: postgres
  url: ${ {{- .TargetVariable -}} }
  create_tables: true           # make the tables that are missing as the source has them; false: they have to be there
{{- end}}

state: {dir: .entrain}
`))
