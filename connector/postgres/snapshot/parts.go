package snapshot

import (
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// table is one of the snapshot.
type table struct {
	oid        string
	shape      *entrain.Table
	numbers    map[string]bool // of the shape's columns in the catalog
	filter     string          // SQL; "" for all rows
	listed     bool            // a publication has a list of its columns
	leaves     []*leaf
	parts      []part
	definition *entrain.Definition
	group      int  // of tables that refer to each other
	once       bool // a view or the like, which has no changes in the log
	joins      bool // it gets the group that is being made
}

// leaf is a table that holds rows: of its own or of a partitioned one.
type leaf struct {
	oid, filenode string // as the view has them
	schema, table string
	columns       []leafColumn // in the order of the shape's
	pages, rows   int64        // rows are estimated
	mark          string       // of what a view is made of, as the view has it; "" of tables
	analysed      float64      // rows when the table was analysed; -1: never
}

// leafColumn is a column of a leaf; base is its type without domains.
type leafColumn struct {
	name   string
	number uint16
	base   uint32
}

// part is a range of a leaf's pages: from, and below to; 0 is no bound.
type part struct {
	leaf     *leaf
	from, to int64
	filter   string
}

func (l *leaf) name() string { return sqltext.Table(l.schema, l.table) }

// list is the columns as the list of a query.
func (l *leaf) list() string {
	names := make([]string, len(l.columns))
	for i, c := range l.columns {
		names[i] = sqltext.Ident(c.name)
	}
	return strings.Join(names, ", ")
}

// rows is an estimate.
func (t *table) rows() int64 {
	var rows int64
	for _, l := range t.leaves {
		rows += l.rows
	}
	return rows
}

// divide cuts the table into parts of about so many rows.
func (t *table) divide(rows int) {
	if t.once {
		t.parts = []part{{leaf: t.leaves[0]}}
		return
	}
	for _, l := range t.leaves {
		for _, from := range cuts(l.pages, l.rows, int64(rows)) {
			if n := len(t.parts); n > 0 && t.parts[n-1].leaf == l {
				t.parts[n-1].to = from
			}
			t.parts = append(t.parts, part{leaf: l, from: from, filter: t.filter})
		}
	}
}

// cuts returns the first page of each part; there is at least one.
func cuts(pages, rows, partRows int64) []int64 {
	each := pages
	if rows > 0 {
		each = max(int64(float64(pages)/float64(rows)*float64(partRows)), 1)
	}
	each = max(each, pages/(maxParts/2)+1)
	starts := []int64{0}
	for from := each; from < pages; from += each {
		starts = append(starts, from)
	}
	return starts
}

// estimate returns about how many rows so many pages have: as densely as when
// the table was analysed or, if it never was, full of rows of a width.
func estimate(pages int64, analysed density, width, pageSize int64) int64 {
	if analysed.pages > 0 && analysed.rows >= 0 {
		return int64(analysed.rows / float64(analysed.pages) * float64(pages))
	}
	const rowHeader = 28 // and line pointer
	const pageHeader = 24
	return pages * max((pageSize-pageHeader)/(rowHeader+width), 1)
}

// density is what ANALYZE has found.
type density struct {
	rows  float64
	pages int64
}
