package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	_ "embed"

	"github.com/entrainsync/entrain/contract"
)

// Contracts is the contracts: section. With it, changes are held to what the owners
// of tables promise.
type Contracts struct {
	// Dir is the folder with a contract file for each table that has one.
	Dir string `yaml:"dir"`
	// Validation is what becomes of an event that breaks a contract: "off", "warn"
	// (the default), "dead_letter" or "stop".
	Validation string `yaml:"validation"`
}

// Level is the section's validation; off without the section.
func (c *Contracts) Level() contract.Level {
	if c == nil {
		return contract.Off
	}
	return contract.Level(c.Validation)
}

// checkContracts checks what types alone cannot say of contracts.
func (d *document) checkContracts(root *node) error {
	c := d.Contracts
	if c == nil {
		return nil
	}
	if c.Validation == "" {
		c.Validation = string(contract.Warn)
	}
	at := root.find("contracts", "validation")
	streamed := d.Stream.node != nil && d.Stream.Type != streamNone || len(d.Sinks) > 1 || classed(d.Classes)
	switch {
	case c.Dir == "":
		return root.find("contracts", "dir").errorf("expected the folder with the contracts, such as contracts")
	case !slices.Contains(contract.Levels, c.Level()):
		return at.errorf("expected off, warn, dead_letter or stop")
	case c.Level() == contract.DeadLetter && streamed && len(d.Transform) > 0:
		return at.errorf("behind a stream, where each sink has its dead letters, events have the names and columns that transform gives: " +
			"expected off, warn or stop, or no transform")
	case c.Level() == contract.DeadLetter && d.Source.node == nil:
		return at.errorf("the contracts have the types of the source: a section source is missing")
	case c.Level() == contract.DeadLetter && !d.DeadLetter.On():
		err := at.errorf("dead letters are not kept: a section dead_letter is missing")
		err.Hint = "add a line: dead_letter: {unit: transaction}"
		return err
	}
	return nil
}

// ContractFile is a contract and where it was read.
type ContractFile struct {
	// Path of the file.
	Path string
	// Contract is checked.
	Contract *contract.Contract

	root *node
}

// LoadContracts reads all files of a folder that end with .yaml or .yml, sorted by
// their names. Every error is an [*Error]; that there is no such folder is an
// [fs.ErrNotExist] in it.
func LoadContracts(dir string) ([]ContractFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		whole, _ := filepath.Abs(dir) // the folder is looked for where the command was typed
		return nil, &Error{Path: dir, Message: fmt.Sprintf("cannot read %s, the folder of contracts: %s", cmp.Or(whole, dir), reason(err)),
			Err: err, Hint: noFolderHint(err)}
	}
	var all []ContractFile
	taken := map[string]string{}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); e.IsDir() || ext != ".yaml" && ext != ".yml" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		c, err := LoadContract(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		if other := taken[c.Contract.Table]; other != "" {
			return nil, c.root.find("table").errorf("table %s has a contract already, in %s", c.Contract.Table, other)
		}
		taken[c.Contract.Table] = c.Path
		all = append(all, *c)
	}
	return all, nil
}

func noFolderHint(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "entrain schema export FILE writes a contract for each captured table into it"
	}
	return ""
}

// LoadContract reads one contract file. Every error is an [*Error].
func LoadContract(path string) (*ContractFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{Path: path, Message: "cannot read the contract: " + reason(err), Err: err}
	}
	return ParseContract(path, text)
}

// ParseContract reads the text of a contract file; path is for mistakes. ${…} is not
// replaced. Every error is an [*Error].
func ParseContract(path string, text []byte) (*ContractFile, error) {
	root, err := parseTree(contractForm, path, text)
	if err != nil {
		return nil, err
	}
	var c contract.Contract
	if err := decode(root, &c); err != nil {
		return nil, err
	}
	if wrong := c.Check(); wrong != nil {
		return nil, root.placed(wrong)
	}
	c.File = path
	return &ContractFile{Path: path, Contract: &c, root: root}, nil
}

// placed gives a mistake its place in the file.
func (n *node) placed(wrong *contract.FieldError) error {
	at := n
	for _, key := range wrong.Key {
		if i, err := strconv.Atoi(key); err == nil && at.kind == sequence {
			at = at.item(i)
			continue
		}
		at = at.find(key)
	}
	err := at.errorf("%s", wrong.Message)
	err.Err = wrong
	return err
}

//go:embed contract.schema.json
var contractSchema []byte

// ContractSchema returns the JSON Schema (draft 2020-12) of contract files, for
// editors. It is made as [Schema] is.
func ContractSchema() []byte { return contractSchema }
