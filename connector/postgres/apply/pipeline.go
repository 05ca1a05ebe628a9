package apply

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// call is one statement of a pipeline.
type call struct {
	// st is prepared before its first use; nil for sql without parameters.
	st      *statement
	sql     string
	values  [][]byte
	formats []int16
}

// flight is a pipeline under way: a run of statements that are sent without
// waiting and end with one Sync. Outside a transaction block they are one
// transaction; after an error the server skips the rest. It is used for one
// round trip.
type flight struct {
	p     *pgconn.Pipeline
	stmts *statements
	sent  []sentCall
}

type sentCall struct {
	closes   bool       // the request closes a statement
	prepares *statement // the request prepares it
}

// takeOff begins a round trip. sent is a buffer to reuse.
func takeOff(ctx context.Context, conn *pgconn.PgConn, stmts *statements, sent []sentCall) flight {
	f := flight{p: conn.StartPipeline(ctx), stmts: stmts, sent: sent[:0]}
	for _, name := range stmts.doomed {
		f.p.SendDeallocate(name)
		f.sent = append(f.sent, sentCall{closes: true})
	}
	stmts.doomed = stmts.doomed[:0]
	return f
}

// add sends a call; its values are copied.
func (f *flight) add(c call) {
	if c.st == nil {
		f.p.SendQueryParams(c.sql, nil, nil, nil, nil)
		f.sent = append(f.sent, sentCall{})
		return
	}
	if !c.st.prepared {
		f.p.SendPrepare(c.st.name, c.st.sql, c.st.oids)
		c.st.prepared = true
		f.sent = append(f.sent, sentCall{prepares: c.st})
	}
	f.p.SendQueryPrepared(c.st.name, c.values, c.formats, nil)
	f.sent = append(f.sent, sentCall{})
}

// land sends the Sync and reads all answers. got is called with the number of
// rows that each added call has affected, in order; its error counts as the
// call's. land returns the number of the call that failed, or how many there
// were, when the Sync itself (a commit) failed or nothing did.
func (f *flight) land(got func(call int, rows int64) error) (int, error) {
	var failure error
	calls := 0
	if failure = f.p.Sync(); failure == nil {
		calls, failure = f.read(got)
	}
	if err := f.p.Close(); failure == nil {
		failure = err
	}
	if failure != nil {
		f.forgetPrepared()
	}
	return calls, failure
}

func (f *flight) read(got func(call int, rows int64) error) (int, error) {
	calls := 0
	for i := range f.sent {
		res, err := f.p.GetResults()
		if err != nil {
			return calls, err
		}
		rr, ok := res.(*pgconn.ResultReader)
		if !ok {
			if f.sent[i].closes || f.sent[i].prepares != nil {
				f.sent[i].prepares = nil // it is there now
				continue
			}
			return calls, fmt.Errorf("pipeline answered with %T", res)
		}
		tag, err := rr.Close()
		if err == nil {
			err = got(calls, tag.RowsAffected())
		}
		if err != nil {
			return calls, err
		}
		calls++
	}
	res, err := f.p.GetResults()
	if err != nil {
		return calls, err
	}
	if _, ok := res.(*pgconn.PipelineSync); !ok {
		return calls, fmt.Errorf("pipeline ended with %T", res)
	}
	return calls, nil
}

// forgetPrepared takes back what may not have been prepared.
func (f *flight) forgetPrepared() {
	for _, s := range f.sent {
		if s.prepares != nil {
			s.prepares.prepared = false
			f.stmts.rename(s.prepares)
		}
	}
}

// ignoreRows is for calls whose number of rows does not matter.
func ignoreRows(int, int64) error { return nil }
