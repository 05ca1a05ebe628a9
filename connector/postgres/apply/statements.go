package apply

import (
	"container/list"
	"strconv"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/applyplan"
)

// statement is one that the session has prepared, or is about to.
type statement struct {
	name   string
	sql    string
	oids   []uint32
	params []param
	// prepared is set as soon as the request is sent; a failure of its
	// pipeline takes it back.
	prepared bool
	key      statementKey
}

// statementKey names a statement without its text.
type statementKey struct {
	table *targetTable
	form  string // operation, or what else tells statements of a table apart
	shape string // which columns a row carries; "" for all
}

// statements caches what the session has prepared, the longest unused going
// first. Names are never used twice, so a name whose fate is unknown does no
// harm.
type statements struct {
	// again: key changes may find the new key taken by the same row.
	again bool

	byKey map[statementKey]*list.Element
	order *list.List // of *statement, the last used first
	// doomed are to be closed at the server with the next pipeline.
	doomed []string
	names  int
	shape  []byte
}

const maxStatements = 500

func newStatements() *statements {
	return &statements{byKey: map[statementKey]*list.Element{}, order: list.New()}
}

// get returns the cached statement for the key, else what build makes; build
// may return nil for nothing to do.
func (c *statements) get(key statementKey, build func() *statement) *statement {
	if el, ok := c.byKey[key]; ok {
		c.order.MoveToFront(el)
		return el.Value.(*statement)
	}
	st := build()
	if st == nil {
		return nil
	}
	c.names++
	st.name = "entrain_" + strconv.Itoa(c.names)
	st.key = key
	c.byKey[key] = c.order.PushFront(st)
	for c.order.Len() > maxStatements {
		c.drop(c.order.Back())
	}
	return st
}

func (c *statements) drop(el *list.Element) {
	st := c.order.Remove(el).(*statement)
	delete(c.byKey, st.key)
	if st.prepared {
		c.doomed = append(c.doomed, st.name)
	}
}

// reset drops all, after the target's tables have changed.
func (c *statements) reset() {
	for c.order.Len() > 0 {
		c.drop(c.order.Back())
	}
}

// row returns the statement for one item.
func (c *statements) row(t *targetTable, item *applyplan.Item) *statement {
	key := statementKey{table: t, form: item.Op.String()}
	if len(t.Key) == 0 && item.Key != nil {
		c.shape = appendStates(c.shape[:0], item.Key, len(t.columns))
		key.form += string(c.shape)
	}
	if item.Op == applyplan.Rekey && (item.Settling || c.again || t.soft.name != "" && t.carries(item.Row)) {
		key.form = "settling key change"
		settling := *item
		settling.Settling = true
		item = &settling
	}
	if item.Op == applyplan.Update || item.Op == applyplan.Rekey {
		key.shape = c.shapeOf(t, item.Row)
	}
	return c.get(key, func() *statement { return rowStatement(t, item) })
}

// shapeOf is "" for a row that carries every column.
func (c *statements) shapeOf(t *targetTable, row entrain.Row) string {
	c.shape = c.shape[:0]
	partial := false
	for i := range t.columns {
		mark := byte('v')
		if row.State(i) == entrain.Unchanged {
			mark, partial = 'u', true
		}
		c.shape = append(c.shape, mark)
	}
	if !partial {
		return ""
	}
	return string(c.shape)
}

func appendStates(dst []byte, row entrain.Row, n int) []byte {
	for i := range n {
		dst = append(dst, '0'+byte(row.State(i)))
	}
	return dst
}

// rename gives st a name that the server cannot know yet, after a failure that
// leaves open whether it has the old one.
func (c *statements) rename(st *statement) {
	c.doomed = append(c.doomed, st.name)
	c.names++
	st.name = "entrain_" + strconv.Itoa(c.names)
}
