package capture

import (
	"fmt"
	"unicode/utf8"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/pgoutput"
)

// relations is what a session has learnt about tables and types from the log.
// Which shape a row has is decided by the last Relation message before it, so
// the cache follows the stream, in mid-transaction too.
//
// Nothing is ever dropped from it: the server describes a table once a session
// and would not do so again. It holds a small entry for each table that changed
// during the session, just as the server's end of the session does, and goes
// with it.
type relations struct {
	byOID  map[uint32]*relation
	byName map[tableName]uint32 // which OID was described by it last
	types  map[uint32]string
	wants  func(schema, name string) bool
	tx     uint64 // version of the last transaction that began
}

type tableName struct{ schema, name string }

type relation struct {
	table    *entrain.Table
	key      []bool // columns of the replica identity
	included bool
	tx       uint64 // in which it was described
	// renamed: another table has its name since. The server describes a table
	// anew after each change but, before version 18, one of its schema's name.
	renamed bool
	refused error // why no row of it can be passed on, if so
}

func newRelations(wants func(schema, name string) bool) *relations {
	return &relations{
		byOID:  make(map[uint32]*relation),
		byName: make(map[tableName]uint32),
		types:  make(map[uint32]string),
		wants:  wants,
	}
}

// learnType keeps a type's name. For a domain the server sends its base type.
func (r *relations) learnType(m *pgoutput.Message) {
	name := string(m.Name)
	if ns := string(m.Namespace); ns != "" && ns != "pg_catalog" {
		name = ns + "." + name
	}
	r.types[m.OID] = name
}

// learn keeps a table's shape. A shape that is equal to the one before is the
// same value, so that caches built on it stay warm.
func (r *relations) learn(m *pgoutput.Message) {
	schema := string(m.Namespace)
	if schema == "" {
		schema = "pg_catalog"
	}
	t := &entrain.Table{Schema: schema, Name: string(m.Name), FullIdentity: m.Identity == 'f'}
	key := make([]bool, len(m.Columns))
	for i, c := range m.Columns {
		typ := r.typeName(c.TypeOID)
		key[i] = c.Key
		t.Columns = append(t.Columns, entrain.Column{
			Name: string(c.Name), Type: typ, Modifier: c.Modifier, Kind: kindOf(typ), Key: c.Key,
		})
	}
	t.Version = t.Fingerprint()
	r.name(m.OID, tableName{t.Schema, t.Name})
	if old := r.byOID[m.OID]; old != nil && old.table.Version == t.Version {
		old.tx, old.renamed = r.tx, false
		return
	}
	rel := &relation{table: t, key: key, included: r.wants(t.Schema, t.Name), tx: r.tx}
	if name, found := unreadable(t); found && rel.included {
		rel.refused = stopNameUnreadable(t, name)
	}
	r.byOID[m.OID] = rel
}

// name notes that a table has a name, which the one that had it has no longer.
func (r *relations) name(oid uint32, name tableName) {
	if before, ok := r.byName[name]; ok && before != oid {
		r.byOID[before].renamed = true
	}
	r.byName[name] = oid
}

func (r *relations) typeName(oid uint32) string {
	if name, ok := r.types[oid]; ok {
		return name
	}
	if name, ok := builtinTypes[oid]; ok {
		return name
	}
	return fmt.Sprintf("oid:%d", oid)
}

// get returns the relation that a row message names. What another session would
// describe rightly is retryable.
func (r *relations) get(oid uint32) (*relation, error) {
	rel := r.byOID[oid]
	switch {
	case rel == nil:
		return nil, fmt.Errorf("row of relation %d that the log has not described", oid)
	case rel.refused != nil:
		return nil, rel.refused
	case !rel.renamed:
		return rel, nil
	case rel.tx == r.tx:
		return nil, stopNameTaken(rel.table)
	}
	return nil, entrain.Retryable(fmt.Errorf("the schema of a table that was %s was renamed: its name is asked for anew", rel.table))
}

// unreadable returns the first name of a table that is no UTF-8, which a
// database without an encoding can have.
func unreadable(t *entrain.Table) (name string, found bool) {
	names := []string{t.Schema, t.Name}
	for _, c := range t.Columns {
		names = append(names, c.Name, c.Type)
	}
	for _, name := range names {
		if !utf8.ValidString(name) {
			return name, true
		}
	}
	return "", false
}
