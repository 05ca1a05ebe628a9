package transform

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"github.com/entrainsync/entrain"
)

// verdict is what an expression says.
type verdict uint8

const (
	no      verdict = iota // false, or NULL
	yes                    // true
	unknown                // it depends on a value that the log did not carry
)

// judge is a filter bound to one shape of a table. It is for one goroutine.
type judge struct {
	program  cel.Program
	new, old image
	op       string
	schema   string
	table    string
}

// bind compiles the expression for a table, its columns typed.
func (f *filter) bind(t *entrain.Table) (*judge, error) {
	if f == nil {
		return nil, nil
	}
	for _, name := range f.columns {
		if err := known(t, name, f.subject.key()); err != nil {
			return nil, err
		}
	}
	options := append(f.subject.variables(cel.ObjectType(rowTypeName)),
		cel.CustomTypeProvider(rowTypes{Provider: f.lang.env.CELTypeProvider(), table: t, names: f.quoted}))
	env, err := f.lang.env.Extend(options...)
	if err != nil {
		return nil, fmt.Errorf("prepare the types of %s: %w", t, err)
	}
	checked, issues := env.Compile(f.text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, unfit(t, fmt.Sprintf("%s (%s, line %d, column %d)",
			f.original(first.Message), f.subject.key(), first.Location.Line(), first.Location.Column()+1))
	}
	if checked.OutputType() != cel.BoolType {
		return nil, unfit(t, fmt.Sprintf("%s is of type %s, not true or false", f.subject.key(), checked.OutputType()))
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, unfit(t, fmt.Sprintf("%s: %v", f.subject.key(), err))
	}
	j := &judge{program: program, schema: t.Schema, table: t.Name}
	j.new.table, j.old.table = t, t
	j.old.set(nil, knownAsLogged)
	return j, nil
}

// ResolveName gives CEL the variables.
func (j *judge) ResolveName(name string) (any, bool) {
	switch name {
	case "new":
		return &j.new, true
	case "old":
		return &j.old, true
	case "op":
		return j.op, true
	case "schema":
		return j.schema, true
	case "table":
		return j.table, true
	}
	return nil, false
}

// Parent returns nil: there are no other variables.
func (j *judge) Parent() cel.Activation { return nil }

// row judges one image of a row.
func (j *judge) row(row entrain.Row, known knowledge) (verdict, error) {
	j.new.set(row, known)
	return j.eval()
}

// change judges an event.
func (j *judge) change(e *entrain.Event) (verdict, error) {
	j.op = e.Op.String()
	j.new.set(e.After, knownAsLogged)
	j.old.set(oldImage(e))
	return j.eval()
}

// oldImage returns the row before the change as far as it is known: an update
// that logged no old image left what identifies the row as it was.
func oldImage(e *entrain.Event) (entrain.Row, knowledge) {
	switch {
	case e.Op != entrain.OpUpdate || e.Before != nil:
		return e.Before, knownAsLogged
	case e.Table.FullIdentity:
		return nil, knownNothing
	}
	return e.After, knownKey
}

func (j *judge) eval() (verdict, error) {
	out, _, err := j.program.Eval(j)
	switch {
	case j.new.tested || j.old.tested:
		return unknown, nil
	case err != nil:
		return no, reason(err)
	}
	switch {
	case out == types.True:
		return yes, nil
	case out == types.False:
		return no, nil
	case !types.IsUnknown(out):
		return no, errors.New("the expression has no result")
	case j.new.missed >= 0 || j.old.missed >= 0:
		return unknown, nil
	}
	return no, nil
}

// missing names the column that could not be judged.
func (j *judge) missing() string {
	if j.new.missed >= 0 {
		return j.new.table.Columns[j.new.missed].Name
	}
	return j.old.table.Columns[max(0, j.old.missed)].Name
}

// reason says why an expression failed. CEL's own text may hold values of the
// row, and is repeated only where it cannot (P8).
func reason(err error) error {
	var value *valueError
	if errors.As(err, &value) {
		return value
	}
	for _, harmless := range []string{"division by zero", "modulus by zero", "integer overflow", "cost limit exceeded"} {
		if strings.Contains(err.Error(), harmless) {
			return errors.New(harmless)
		}
	}
	return errors.New("the expression cannot be computed from the values of this row")
}
