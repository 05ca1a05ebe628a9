package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/config"
)

// initOptions are the flags of init.
type initOptions struct {
	from, to connector.Secret
	name     string
	output   string
	force    bool
	timeout  time.Duration
}

func (p *program) initCommand() *cobra.Command {
	var o initOptions
	var from, to string
	cmd := &cobra.Command{
		Use:   "init --from URL --to URL",
		Short: "Look at a source and write a commented pipeline file for it",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.from, o.to = connector.Secret(from), connector.Secret(to)
			if from == "" || to == "" {
				return usageError{errors.New("--from and --to are needed: a connection URL each; --to also takes a file's path, or - for standard output")}
			}
			return p.initialise(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "connection `URL` of the source")
	cmd.Flags().StringVar(&to, "to", "", "connection `URL` of the target, the path of a file, or -")
	cmd.Flags().StringVar(&o.name, "name", "", "the pipeline's name (default: the source database's)")
	cmd.Flags().StringVar(&o.output, "output", "", "the `file` to write, - for standard output (default: <name>.yaml)")
	cmd.Flags().BoolVar(&o.force, "force", false, "write over a file that exists")
	cmd.Flags().DurationVar(&o.timeout, "timeout", 10*time.Second, "how long the source may take")
	return cmd
}

// The variables that the written file takes the URLs from: no credential is
// ever written.
const (
	sourceVariable = "SOURCE_URL"
	targetVariable = "TARGET_URL"
)

// initialise looks at the source with a first draft of the file, and writes the
// file that fits what it has seen.
func (p *program) initialise(ctx context.Context, o initOptions) error {
	d := draft{Name: o.name, SourceVariable: sourceVariable, TargetVariable: targetVariable, Include: []string{"*.*"}}
	if d.Name == "" {
		d.Name = nameFor(o.from)
	}
	if !isServer(o.to) {
		d.Path = o.to.Reveal()
	}
	output := o.output
	if output == "" {
		output = d.Name + ".yaml"
	}
	if err := overwrites(output, o); err != nil {
		return err
	}
	source, err := p.lookAt(ctx, d, o)
	if err != nil {
		return err
	}
	d.learn(source.report)
	if err := p.writeDraft(output, d.text(), o); err != nil {
		return err
	}
	if output == "-" {
		return nil
	}
	p.sayNext(output, d)
	return nil
}

// serverText finds what a URL has, or one of libpq's words, whatever is around it.
var serverText = regexp.MustCompile(`(?i)://|:.*@|\b(host|hostaddr|port|dbname|user|\w*password|passfile|service|servicefile|options|` +
	`application_name|fallback_application_name|client_encoding|connect_timeout|keepalives\w*|tcp_user_timeout|replication|` +
	`ssl\w*|gss\w*|krb\w*|oauth\w*|scram\w*|require\w*|channel_binding|target_session_attrs|load_balance_hosts|m(in|ax)_protocol_version)\s*=`)

// isServer tells a connection string from a file's path. In doubt it is a
// server, which then refuses it: a path is written into the file, with the
// password that may be in it (P8).
func isServer(to connector.Secret) bool { return serverText.MatchString(to.Reveal()) }

var notInNames = regexp.MustCompile(`[^a-z0-9_-]+`)

// nameFor makes a pipeline's name of a URL's database.
func nameFor(from connector.Secret) string {
	text, _, _ := strings.Cut(from.Reveal(), "?")
	at := strings.LastIndexByte(text, '/')
	name := notInNames.ReplaceAllString(strings.ToLower(text[at+1:]), "_")
	if !strings.Contains(text, "://") || strings.Count(text, "/") < 3 || strings.Trim(name, "_") == "" {
		return "pipeline"
	}
	return name[:min(len(name), 40)]
}

// overwrites refuses to write over a file.
func overwrites(output string, o initOptions) error {
	if output == "-" || o.force {
		return nil
	}
	_, err := os.Stat(output)
	switch {
	case err == nil:
		return usageError{fmt.Errorf("%s exists already; choose another --output, or write over it with --force", output)}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return usageError{fmt.Errorf("look at %s: %w", output, err)}
}

// lookAt examines the source of a draft.
func (p *program) lookAt(ctx context.Context, d draft, o initOptions) (part, error) {
	dir, err := os.MkdirTemp("", "entrain-init-")
	if err != nil {
		return part{}, fmt.Errorf("a folder for the draft: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "draft.yaml")
	if err := os.WriteFile(path, []byte(d.text()), 0o600); err != nil {
		return part{}, fmt.Errorf("the draft: %w", err)
	}
	looking := &program{world: p.world, log: p.log} // what is said later is not about the draft
	looking.env = func(name string) (string, bool) {
		switch name {
		case sourceVariable:
			return o.from.Reveal(), true
		case targetVariable:
			return o.to.Reveal(), true
		}
		return p.env(name)
	}
	l, err := looking.load(path)
	if err != nil {
		return part{}, usageError{fmt.Errorf("--from, --to or --name: %w", plainly(err))}
	}
	source := examine(ctx, part{name: "source"}, l.source, checkInput{timeout: o.timeout})
	if source.err != nil {
		return part{}, unexamined{fmt.Errorf("source: %w", source.err)}
	}
	return source, nil
}

// plainly is a mistake in the draft without its place there, which nobody can
// look up.
func plainly(err error) error {
	var placed *config.Error
	if errors.As(err, &placed) {
		return errors.New(placed.Message)
	}
	return err
}

// writeDraft writes the file, and beside it the schema for editors.
func (p *program) writeDraft(output, text string, o initOptions) error {
	if output == "-" {
		_, err := fmt.Fprint(p.stdout, text)
		return err
	}
	if err := writeNew(output, []byte(text), o); err != nil {
		return fmt.Errorf("write the pipeline file: %w", err)
	}
	err := writeNew(filepath.Join(filepath.Dir(output), schemaFile), config.Schema(), o)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write the schema: %w", err)
	}
	return nil
}

// writeNew writes a file that must not exist yet, unless that is wanted.
func writeNew(path string, text []byte, o initOptions) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if o.force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// sayNext tells what to type now.
func (p *program) sayNext(output string, d draft) {
	fmt.Fprintf(p.stderr, "wrote %s: %d tables, %d left out\n", output, d.Tables, len(d.Exclude))
	fmt.Fprintf(p.stderr, "next: export %s=… (the URL of --from)\n", sourceVariable)
	if d.Path == "" {
		fmt.Fprintf(p.stderr, "      export %s=… (the URL of --to)\n", targetVariable)
	}
	fmt.Fprintf(p.stderr, "      entrain check %s\n      entrain run %s\n", output, output)
}

// learn fits the draft to what was found at the source: its schemas are
// included, the tables that cannot be captured as they are left out by name.
func (d *draft) learn(found entrain.Report) {
	d.Include, d.Tables = nil, len(found.Tables)
	for _, t := range found.Tables {
		pattern := connector.TablePattern(t.Schema, "") + "*"
		if !slices.Contains(d.Include, pattern) {
			d.Include = append(d.Include, pattern)
		}
	}
	slices.Sort(d.Include)
	for _, f := range found.Findings {
		name, ok := tableOf(f.Object)
		if !ok || f.Status != entrain.FindingError || f.Code == codePublished {
			continue
		}
		d.exclude(name, f)
	}
	if len(d.Include) == 0 {
		d.Include = []string{"public.*"}
	}
}

// codePublished is about the publication, not about the table it names.
const codePublished = "publication_tables"

func (d *draft) exclude(name string, f entrain.Finding) {
	if slices.ContainsFunc(d.Exclude, func(x excluded) bool { return x.Pattern == name }) {
		return
	}
	x := excluded{Pattern: name, Why: f.Code}
	if len(f.Fix) > 0 && f.Fix[0].SQL != "" {
		x.Why += "; " + f.Fix[0].SQL
	}
	d.Exclude = append(d.Exclude, x)
	d.Tables--
}

var tableObject = regexp.MustCompile(`^table "((?:[^"]|"")+)"\."((?:[^"]|"")+)"$`)

// tableOf is the pattern that matches exactly the table that a finding names.
func tableOf(object string) (string, bool) {
	m := tableObject.FindStringSubmatch(object)
	if m == nil {
		return "", false
	}
	unquoted := strings.NewReplacer(`""`, `"`)
	return connector.TablePattern(unquoted.Replace(m[1]), unquoted.Replace(m[2])), true
}
