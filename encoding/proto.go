package encoding

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/entrainsync/entrain"
)

// Proto is the encoder of the format protobuf: one message for each changed row,
// which has what a line of the format flat has; docs/registry.md describes it. It is
// for one goroutine.
type Proto struct {
	options TypedOptions
	tables  map[*entrain.Table]*protoTable
	id      []byte
	nested  []byte
}

// protoTable is what stays the same for all events of a table.
type protoTable struct {
	columns []protoColumn
	version string
}

// protoColumn is how the values of a column are written.
type protoColumn struct {
	number int
	kind   protoKind
	name   []byte
}

// NewProto returns an encoder of the format protobuf.
func NewProto(o TypedOptions) *Proto {
	return &Proto{options: o, tables: make(map[*entrain.Table]*protoTable)}
}

// The numbers of the fields of metadata: they have one byte, so that columns, whose
// numbers follow from their names, begin behind them.
const (
	protoOp = iota + 1
	protoID
	protoVersion
	protoOrdinal
	protoCommitTime
	protoDeleted
	protoSchemaVersion
	protoUnchanged
	protoBefore
	protoPrefix
	protoContent
)

// Append implements [Typed].
func (p *Proto) Append(dst []byte, e *entrain.Event) ([]byte, error) {
	switch e.Op {
	case entrain.OpInsert, entrain.OpUpdate, entrain.OpDelete, entrain.OpRead:
		return p.appendRow(dst, e)
	case entrain.OpReadEnd, entrain.OpSchema:
		return dst, nil // every message is a row
	case entrain.OpTruncate:
		if len(e.Truncate.Tables) != 1 {
			return dst, errTruncates
		}
		return p.appendTail(p.appendMeta(dst, e), e, p.table(e.Truncate.Tables[0])), nil
	case entrain.OpMessage:
		dst = p.appendMeta(dst, e)
		dst = appendProtoBytes(dst, protoPrefix, validText([]byte(e.Message.Prefix)))
		return appendProtoBytes(dst, protoContent, e.Message.Content), nil
	}
	return dst, fmt.Errorf("the format protobuf has no operation %v", e.Op)
}

func (p *Proto) appendRow(dst []byte, e *entrain.Event) ([]byte, error) {
	row := e.After
	if e.Op == entrain.OpDelete {
		row = e.Before
	}
	dst = p.appendTail(p.appendMeta(dst, e), e, p.table(e.Table))
	dst, err := p.appendColumns(dst, e.Table, row)
	if err != nil || !e.Table.FullIdentity || e.Op == entrain.OpDelete || e.Before == nil {
		return dst, err
	}
	if p.nested, err = p.appendColumns(p.nested[:0], e.Table, e.Before); err != nil {
		return dst, err
	}
	return appendProtoBytes(dst, protoBefore, p.nested), nil
}

// appendColumns writes the columns that have a value.
func (p *Proto) appendColumns(dst []byte, table *entrain.Table, row entrain.Row) ([]byte, error) {
	t, n := p.table(table), len(table.Columns)
	for i := range t.columns {
		value, state := row.Column(i, n)
		if state != entrain.Present {
			continue
		}
		var ok bool
		if dst, ok = t.columns[i].append(dst, value); !ok {
			return dst, valueError(&table.Columns[i], protoTypes[t.columns[i].kind], value)
		}
	}
	return dst, nil
}

// appendMeta writes the fields that every message has.
func (p *Proto) appendMeta(dst []byte, e *entrain.Event) []byte {
	dst = appendProtoBytes(dst, protoOp, []byte(e.Op.String()))
	p.id = e.AppendID(p.id[:0])
	dst = appendProtoBytes(dst, protoID, validText(p.id))
	dst = appendProtoNumber(dst, protoVersion, e.Tx.Version)
	dst = appendProtoNumber(dst, protoOrdinal, e.Ordinal)
	if t := e.Tx.CommitTime; !t.IsZero() {
		var at [2 * (1 + binary.MaxVarintLen64)]byte
		dst = appendProtoBytes(dst, protoCommitTime, appendProtoTime(at[:0], t))
	}
	return dst
}

// appendTail writes those that only messages of tables have.
func (p *Proto) appendTail(dst []byte, e *entrain.Event, t *protoTable) []byte {
	if e.Op == entrain.OpDelete {
		dst = appendProtoNumber(dst, protoDeleted, 1)
	}
	dst = appendProtoBytes(dst, protoSchemaVersion, []byte(t.version))
	for i := range t.columns {
		if e.After != nil && e.After.State(i) == entrain.Unchanged {
			dst = appendProtoBytes(dst, protoUnchanged, t.columns[i].name)
		}
	}
	return dst
}

// AppendKey implements [Typed].
func (p *Proto) AppendKey(dst []byte, t *entrain.Table, row, other entrain.Row) ([]byte, error) {
	prepared := p.table(t)
	for i := range t.Columns {
		c := &t.Columns[i]
		if !c.Key {
			continue
		}
		value, err := keyValue(t, i, row, other)
		if err != nil {
			return dst, err
		}
		var ok bool
		if dst, ok = prepared.columns[i].append(dst, value); !ok {
			return dst, valueError(c, protoTypes[prepared.columns[i].kind], value)
		}
	}
	return dst, nil
}

// table returns what is prepared of a table.
func (p *Proto) table(t *entrain.Table) *protoTable {
	if known := p.tables[t]; known != nil {
		return known
	}
	if len(p.tables) >= maxTables {
		clear(p.tables)
	}
	prepared := &protoTable{version: fmt.Sprintf("%016x", t.Version)}
	numbers := protoNumbers(t)
	for i := range t.Columns {
		c := &t.Columns[i]
		prepared.columns = append(prepared.columns, protoColumn{number: numbers[i], kind: p.options.protoKind(t, c), name: validText([]byte(c.Name))})
	}
	p.tables[t] = prepared
	return prepared
}

const (
	// protoFirst and protoNumbersEnd bound the numbers of columns: such a number has
	// four bytes with its type.
	protoFirst      = 1 << 18
	protoNumbersEnd = 1 << 25
)

// protoNumbers gives each column its field's number, which follows from its name,
// so that it is the same in all processes and for all shapes of the table. Of two
// names that meet the later column has the next number.
func protoNumbers(t *entrain.Table) []int {
	numbers := make([]int, len(t.Columns))
	taken := make(map[int]bool, len(t.Columns))
	for i := range t.Columns {
		hash := fnv.New32a()
		hash.Write([]byte(t.Columns[i].Name)) // never fails
		n := protoFirst + int(hash.Sum32()%(protoNumbersEnd-protoFirst))
		for taken[n] {
			if n++; n == protoNumbersEnd {
				n = protoFirst
			}
		}
		numbers[i], taken[n] = n, true
	}
	return numbers
}

// Schemas implements [Typed].
func (p *Proto) Schemas(t *entrain.Table) (value, key Schema) {
	if t == nil {
		return Schema{Name: "entrain.Message", Text: protoHead("entrain") + "message Message {\n" + protoMeta +
			protoField("optional string", "__prefix", protoPrefix) + protoField("optional bytes", "__content", protoContent) + "}\n"}, Schema{}
	}
	space := EscapeName(t.Schema) + "." + EscapeName(t.Name)
	value = Schema{Name: space + ".Value", Text: p.value(t, space)}
	if HasKey(t) {
		var out strings.Builder
		out.WriteString(protoSyntax + "package " + space + ";\n\nmessage Key {\n")
		p.fields(&out, t, func(c *entrain.Column) bool { return c.Key })
		out.WriteString("}\n")
		key = Schema{Name: space + ".Key", Text: out.String()}
	}
	return value, key
}
