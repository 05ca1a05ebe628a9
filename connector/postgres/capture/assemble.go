package capture

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/pgoutput"
)

// assembler turns pgoutput messages into batches. It is pure: bytes and times
// come in as values, batches go out; one goroutine owns it.
type assembler struct {
	stream   *entrain.Stream
	timeline uint32
	resume   lsn // transactions whose commit record starts before it are known
	rels     *relations
	pool     chunkPool

	msg     pgoutput.Message
	cur     *chunk
	tx      *entrain.Transaction // open transaction, nil between transactions
	skip    bool                 // the open transaction is known already
	ordinal uint64               // of the next data message

	complete int  // events of cur that belong to ended transactions; ≤ len(cur.events)
	end      lsn  // behind the last ended transaction or in-order keepalive
	handed   lsn  // Through of the last batch; handed ≤ end
	beat     lsn  // commit of the last heartbeat; handed < beat: to be moved over it
	owes     bool // a fragment was handed out whose transaction has had no Through yet

	counts assemblerCounts
}

// assemblerCounts are read by other goroutines.
type assemblerCounts struct {
	captured, filtered, skipped, transactions atomic.Int64
}

func newAssembler(stream *entrain.Stream, from place, rels *relations) *assembler {
	pool := newChunkPool()
	return &assembler{
		stream: stream, timeline: from.timeline, resume: from.at, rels: rels,
		pool: pool, cur: pool.get(), end: from.at, handed: from.at,
	}
}

// add takes one pgoutput message.
func (a *assembler) add(data []byte) error {
	m := &a.msg
	if err := pgoutput.Parse(data, m); err != nil {
		return a.failed(err)
	}
	var err error
	switch m.Kind {
	case pgoutput.Insert, pgoutput.Update, pgoutput.Delete:
		err = a.row(m)
	case pgoutput.Begin:
		err = a.begin(m)
	case pgoutput.Commit:
		err = a.commit(m)
	case pgoutput.Relation:
		a.rels.learn(m)
	case pgoutput.Type:
		a.rels.learnType(m)
	case pgoutput.Origin:
		if a.tx != nil {
			a.tx.Origin = string(m.Name)
		}
	case pgoutput.Truncate:
		err = a.truncate(m)
	case pgoutput.Logical:
		err = a.message(m)
	}
	if err != nil {
		return a.failed(err)
	}
	return nil
}

// failed names the position at which the log could not be read.
func (a *assembler) failed(err error) error {
	return fmt.Errorf("%s: %w", a.place(), err)
}

// place names where in the log we are.
func (a *assembler) place() string {
	if a.tx == nil {
		return "after " + a.end.String()
	}
	return fmt.Sprintf("transaction %d, commit at %s, change %d", a.tx.ID, lsn(a.tx.Version), a.ordinal)
}

// describe names a change by its kind and the OID behind it, with its place.
func (a *assembler) describe(head []byte) string {
	kind, what := pgoutput.Kind(head[0]), "a message"
	if kind == pgoutput.Insert || kind == pgoutput.Update || kind == pgoutput.Delete {
		what = rowOp(kind).String() + " of a row"
		if rel, err := a.rels.get(binary.BigEndian.Uint32(head[1:])); err == nil {
			what += " of " + rel.table.String()
		}
	}
	if a.tx == nil {
		return what + " " + a.place()
	}
	return what + " in " + a.place()
}

func (a *assembler) begin(m *pgoutput.Message) error {
	if a.tx != nil {
		return fmt.Errorf("BEGIN inside a transaction")
	}
	a.tx = a.cur.addTx(entrain.Transaction{
		Stream: a.stream, ID: uint64(m.XID), Version: m.LSN, CommitTime: m.Time,
	})
	a.rels.tx = m.LSN
	a.skip = lsn(m.LSN) < a.resume
	a.ordinal = 0
	return nil
}

func (a *assembler) commit(m *pgoutput.Message) error {
	if a.tx == nil {
		return fmt.Errorf("COMMIT outside a transaction")
	}
	if m.LSN != a.tx.Version {
		return fmt.Errorf("COMMIT at %s does not belong to it", lsn(m.LSN))
	}
	a.closeTx(lsn(m.EndLSN))
	return nil
}

// closeTx ends the open transaction at a position.
func (a *assembler) closeTx(end lsn) {
	if len(a.cur.events) == a.complete && !a.owes {
		a.cur.txs = a.cur.txs[:len(a.cur.txs)-1] // nothing of it is ours
	} else {
		a.counts.transactions.Add(1)
	}
	a.tx = nil
	a.complete = len(a.cur.events)
	a.end = max(a.end, end)
}

// next counts the data message at hand and reports whether it is new.
func (a *assembler) next() bool {
	a.ordinal++
	if a.skip {
		a.counts.skipped.Add(1)
	}
	return !a.skip
}

// event adds an event for the data message that next counted.
func (a *assembler) event(op entrain.Op, table *entrain.Table) *entrain.Event {
	a.counts.captured.Add(1)
	a.cur.events = append(a.cur.events, entrain.Event{
		Op: op, Ordinal: a.ordinal - 1, Table: table, Tx: a.tx,
	})
	return &a.cur.events[len(a.cur.events)-1]
}

func (a *assembler) row(m *pgoutput.Message) error {
	if a.tx == nil {
		return fmt.Errorf("row outside a transaction")
	}
	rel, err := a.rels.get(m.OID)
	if err != nil {
		return err
	}
	if err := fits(rel.table, m); err != nil {
		return err
	}
	if !a.next() {
		return nil
	}
	if !rel.included {
		a.counts.filtered.Add(1)
		return nil
	}
	c := a.cur
	var before, after, full entrain.Row // full: where values that the log left out are
	switch m.OldKind {
	case 'K':
		before, c.buf = m.Old.AppendKey(c.buf, rel.key)
	case 'O':
		before, c.buf = m.Old.AppendRow(c.buf, nil)
		full = before
	}
	if m.Kind != pgoutput.Delete {
		after, c.buf = m.New.AppendRow(c.buf, full)
	}
	if m.Kind == pgoutput.Insert && m.New.Partial() {
		return stopInsertIncomplete(rel.table, missing(rel.table, after), a.place())
	}
	e := a.event(rowOp(m.Kind), rel.table)
	e.Before, e.After = before, after
	return nil
}

func rowOp(k pgoutput.Kind) entrain.Op {
	switch k {
	case pgoutput.Insert:
		return entrain.OpInsert
	case pgoutput.Update:
		return entrain.OpUpdate
	}
	return entrain.OpDelete
}

// missing names the first column that the log left out of a row.
func missing(t *entrain.Table, row entrain.Row) string {
	for i, c := range t.Columns {
		if row.State(i) == entrain.Unchanged {
			return c.Name
		}
	}
	return ""
}

func fits(t *entrain.Table, m *pgoutput.Message) error {
	n := len(t.Columns)
	if m.OldKind != 0 && m.Old.Len() != n || m.Kind != pgoutput.Delete && m.New.Len() != n {
		return fmt.Errorf("row of %s has not the %d columns that the log described", t, n)
	}
	size := 4*n + max(m.Old.Size(), m.New.Size())
	if size >= entrain.MaxRowBytes {
		return fmt.Errorf("row of %s of %d bytes is above the limit of 1 GiB", t, size)
	}
	return nil
}

func (a *assembler) truncate(m *pgoutput.Message) error {
	if a.tx == nil {
		return fmt.Errorf("TRUNCATE outside a transaction")
	}
	t := &entrain.Truncate{
		Cascade:         m.Flags&pgoutput.TruncateCascade != 0,
		RestartIdentity: m.Flags&pgoutput.TruncateRestart != 0,
	}
	for _, oid := range m.OIDs {
		rel, err := a.rels.get(oid)
		if err != nil {
			return err
		}
		if rel.included {
			t.Tables = append(t.Tables, rel.table)
		}
	}
	switch {
	case !a.next():
	case len(t.Tables) == 0:
		a.counts.filtered.Add(1)
	default:
		e := a.event(entrain.OpTruncate, nil)
		e.Truncate = t
		a.cur.other += detailSize(e)
	}
	return nil
}

// message adds an application's message. One that is not transactional stands
// between transactions and is one of its own. The server gives the end of its
// record; the version is one less, which no commit record has (records start
// at multiples of 8) and which is in order with them.
func (a *assembler) message(m *pgoutput.Message) error {
	transactional := m.Flags&pgoutput.LogicalTransactional != 0
	if !transactional {
		if a.tx != nil {
			return fmt.Errorf("message outside transactions inside one")
		}
		a.tx = a.cur.addTx(entrain.Transaction{Stream: a.stream, Version: m.LSN - 1})
		a.skip = lsn(m.LSN) <= a.resume
		a.ordinal = 0
	}
	if a.tx == nil {
		return fmt.Errorf("transactional message outside a transaction")
	}
	ddl, told := toldDDL(m.Name, m.Content)
	switch {
	case !a.next():
	case transactional && isHeartbeat(m.Name, m.Content):
		a.beat = lsn(a.tx.Version)
	case transactional && told:
		a.told(ddl, len(m.Content))
	default:
		e := a.event(entrain.OpMessage, nil)
		e.Message = &entrain.Message{
			Prefix: string(m.Name), Content: append([]byte(nil), m.Content...), Transactional: transactional,
		}
		a.cur.other += detailSize(e)
	}
	if !transactional {
		a.closeTx(lsn(m.LSN))
	}
	return nil
}

// keepalive notes that the server has sent everything before walEnd. Inside a
// transaction it says nothing about a position.
func (a *assembler) keepalive(walEnd lsn) {
	if a.tx == nil {
		a.end = max(a.end, walEnd)
	}
}

// behind returns by how much the transaction at hand lay in the log when the
// server sent it, both by the server's clock.
func (a *assembler) behind(sent time.Time) time.Duration {
	if a.tx == nil || a.tx.CommitTime.IsZero() {
		return 0
	}
	return sent.Sub(a.tx.CommitTime)
}
