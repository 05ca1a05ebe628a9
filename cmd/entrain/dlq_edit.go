package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

// audit is the folder of a delivery's state, in whose file audit.jsonl is what people
// have changed in dead letters.
type audit string

// auditName is the file's name.
const auditName = "audit.jsonl"

// write appends records, a JSON object a line: all or none, also on a disk that is full.
func (a audit) write(records []pipeline.EditRecord) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	for i := range records {
		if err := enc.Encode(&records[i]); err != nil {
			return err
		}
	}
	file, err := os.OpenFile(filepath.Join(string(a), auditName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = file.Write(text.Bytes())
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil { // half a line would spoil the next one
		err = errors.Join(err, file.Truncate(size))
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return store.SyncFolder(string(a)) // it may be new
}

func (p *program) dlqEditCommand() *cobra.Command {
	var f runningFlags
	var set, null []string
	var sink string
	cmd := &cobra.Command{
		Use:   "edit FILE|NAME ID --set COLUMN=VALUE",
		Short: "Deliver one dead letter with other values, with the rest of its transaction if unit is transaction, and remove it; what was changed is written down in the state's audit.jsonl",
		Args:  exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := p.find(args[0], f)
			if err != nil {
				return err
			}
			edits, err := editsOf(set, null)
			if err != nil {
				return usageError{err}
			}
			_, before, err := r.letters(cmd.Context())
			if err == nil {
				err = r.haveAll(before, args[1:])
			}
			if err != nil {
				return err
			}
			order := pipeline.Order{Do: pipeline.OrderEdit, Letters: args[1:], Edits: edits, By: whoIsIt(), Sink: sink}
			if err := replayNext(r.order(cmd.Context(), order), r.command("dlq list")); err != nil {
				return err
			}
			with := ""
			if _, after, err := r.letters(cmd.Context()); err == nil {
				with = restOf(args[1], before, after)
			}
			p.say("delivered %s with %s%s; the record is in %s of the delivery's state", args[1], counted(len(edits), "changed column"), with, auditName)
			return nil
		},
	}
	f.addDir(cmd)
	cmd.Flags().StringArrayVar(&set, "set", nil, "a `COLUMN=VALUE` in the source's text form, may be repeated")
	cmd.Flags().StringArrayVar(&null, "null", nil, "a `COLUMN` that becomes NULL, may be repeated")
	cmd.Flags().StringVar(&sink, "sink", "", "the sink whose letter it is, by its `name`, behind a stream")
	return cmd
}

// restOf says how many other letters of the event's transaction were delivered with it.
func restOf(id string, before, after []letterView) string {
	tx := []string{id[:strings.LastIndexByte(id, '/')+1]}
	left := map[string]bool{id: true}
	for i := range after {
		left[after[i].ID] = true
	}
	n := 0
	for i := range before {
		if names(tx, before[i].ID) && !left[before[i].ID] {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return ", and " + counted(n, "other letter") + " of its transaction"
}

// editsOf reads what was typed.
func editsOf(set, null []string) (edits []pipeline.Edit, err error) {
	for _, text := range set {
		column, value, ok := strings.Cut(text, "=")
		if !ok || column == "" {
			return nil, fmt.Errorf("--set %s: expected COLUMN=VALUE", text)
		}
		if !utf8.ValidString(text) { // JSON would put another character in its place
			return nil, fmt.Errorf("--set %q: this is not UTF-8", text)
		}
		edits = append(edits, pipeline.Edit{Column: column, Value: &value})
	}
	for _, column := range null {
		edits = append(edits, pipeline.Edit{Column: column})
	}
	if len(edits) == 0 {
		return nil, errors.New("which column? --set COLUMN=VALUE, or --null COLUMN")
	}
	return edits, nil
}

// whoIsIt is the name of who types, for the record.
func whoIsIt() string {
	u, err := user.Current()
	if err != nil {
		return fmt.Sprintf("user %d", os.Getuid())
	}
	return u.Username
}
