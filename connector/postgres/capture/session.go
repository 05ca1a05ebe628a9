package capture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// session is a replication connection while it is being set up: it asks and
// creates by simple queries, then becomes the stream of a reader.
type session struct {
	src    *Source
	server *pgconn.Config // the one server of the URL's that this is, for other sessions
	cfg    *pgconn.Config
	conn   *pgconn.PgConn
	net    *coalescer

	version int  // server_version_num
	standby bool // it follows another server, or did when it was asked
	identity
	settings map[string]string
	trip     time.Duration // the shortest query so far: a bound of the round trip
	// making, if set, is told the slot's name before it is made, and "" if it was not.
	making func(ctx context.Context, slot string) error
}

// connect opens the replication connection, to the first server of those named
// that is of the right kind, and learns what server it is.
func (s *Source) connect(ctx context.Context) (*session, error) {
	cfg, err := dial.ParseURL(s.cfg.URL, "entrain_"+s.cfg.Pipeline)
	if err != nil {
		return nil, dial.FileChanges(err)
	}
	var refused []error
	for _, host := range hosts(cfg) {
		sess := &session{src: s, server: host, cfg: host.Copy()}
		err := sess.dial(ctx)
		switch {
		case err == nil:
			return sess.met(ctx)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		refused = append(refused, err)
	}
	return nil, errors.Join(refused...)
}

// dial opens the connection.
func (s *session) dial(ctx context.Context) (err error) {
	s.cfg.RuntimeParams["replication"] = "database"
	if size := s.src.cfg.DecodingWorkMem; size > 0 {
		s.cfg.RuntimeParams["logical_decoding_work_mem"] = strconv.FormatInt(int64(size)>>10, 10) + "kB"
	}
	if s.src.cfg.Leased {
		s.cfg.RuntimeParams["wal_sender_timeout"] = strconv.FormatInt(leaseTimeout.Milliseconds(), 10) + "ms"
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 6,
	}}
	direct := dial.Direct(dialer.DialContext)
	s.cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := direct(ctx, network, addr)
		if err != nil || s.conn != nil {
			return conn, err // for a cancel request
		}
		s.net = newCoalescer(conn)
		return s.net, nil
	}
	if s.conn, err = dial.Connect(ctx, s.cfg); err != nil {
		return connectError(err, s.cfg)
	}
	return nil
}

// sibling is a configuration for an ordinary session with the same server, which
// the URL alone need not lead to.
func (s *session) sibling(role string) *pgconn.Config {
	cfg := s.server.Copy()
	if cfg.RuntimeParams["application_name"] == "entrain_"+s.src.cfg.Pipeline {
		cfg.RuntimeParams["application_name"] += "_" + role
	}
	return cfg
}

// close ends a session that did not become a stream; it does so even when ctx
// has ended.
func (s *session) close(ctx context.Context) {
	if s.conn != nil {
		dial.Close(ctx, s.conn)
		s.conn = nil
	}
}

// query runs one statement by the simple protocol, which is all that a
// replication connection has.
func (s *session) query(ctx context.Context, sql string) ([][]string, error) {
	began := time.Now()
	results, err := s.conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, dial.Classify(err)
	}
	if took := time.Since(began); s.trip == 0 || took < s.trip {
		s.trip = took
	}
	var rows [][]string
	for _, res := range results {
		for _, values := range res.Rows {
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// met returns the session once it knows what server it is with; one with a
// server that will not do is closed. Whether it is a standby is asked before its
// timeline: one that is promoted in between counts as a standby on the new one.
func (s *session) met(ctx context.Context) (*session, error) {
	err := s.readSettings(ctx)
	if err == nil {
		err = s.identify(ctx)
	}
	if err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// identity is what a server says about its history.
type identity struct {
	system   string
	timeline uint32
	end      lsn // of its log as far as it is on disk
}

func parseIdentity[T ~string | ~[]byte](row []T) (identity, error) {
	if len(row) < 4 {
		return identity{}, fmt.Errorf("unexpected answer %q", row)
	}
	timeline, err := strconv.ParseUint(string(row[1]), 10, 32)
	if err != nil {
		return identity{}, fmt.Errorf("timeline: %w", err)
	}
	end, err := parseLSN(string(row[2]))
	return identity{string(row[0]), uint32(timeline), end}, err
}

func (s *session) identify(ctx context.Context) error {
	rows, err := s.query(ctx, "IDENTIFY_SYSTEM")
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("unexpected answer %q", rows)
	}
	if err == nil {
		s.identity, err = parseIdentity(rows[0])
	}
	if err != nil {
		return fmt.Errorf("identify %s: %w", dial.ServerName(s.cfg), err)
	}
	return nil
}

func (s *session) readSettings(ctx context.Context) error {
	s.settings = make(map[string]string)
	rows, err := s.query(ctx, `SELECT name, setting FROM pg_settings WHERE name IN
		('server_version_num', 'wal_level', 'wal_sender_timeout', 'synchronous_standby_names')
		UNION ALL SELECT 'standby', pg_is_in_recovery()::text`)
	if err != nil {
		return fmt.Errorf("read settings of %s: %w", dial.ServerName(s.cfg), err)
	}
	for _, row := range rows {
		s.settings[row[0]] = row[1]
	}
	s.standby = s.settings["standby"] == "true"
	if s.version, err = strconv.Atoi(s.settings["server_version_num"]); err != nil {
		return fmt.Errorf("server version: %w", err)
	}
	switch {
	case s.version < 140000:
		return fmt.Errorf("%s is version %d: 14 or later is needed", dial.ServerName(s.cfg), s.version/10000)
	case s.settings["wal_level"] != "logical":
		return stopWalLevel(s.settings["wal_level"])
	case s.standby && s.version < standbySince:
		return stopOldStandby(dial.ServerName(s.cfg))
	}
	return nil
}

// statusInterval is a third of the server's time-out, so that two updates may
// be lost before it gives up.
func (s *session) statusInterval() time.Duration {
	const shortest, longest = 100 * time.Millisecond, 10 * time.Second
	if s.src.until != nil {
		return 2 * shortest // a bounded run asks the server how far it is
	}
	return min(max(s.senderTimeout()/3, shortest), longest)
}

// senderTimeout is how long the server waits for us; its default if it waits
// for ever.
func (s *session) senderTimeout() time.Duration {
	ms, err := strconv.Atoi(s.settings["wal_sender_timeout"])
	if err != nil || ms == 0 {
		return time.Minute
	}
	return time.Duration(ms) * time.Millisecond
}

// silence is how long a server may say nothing although it is asked. It is
// generous: one that decodes a transaction with many schema changes answers
// late, and a dead connection is noticed by TCP's keepalives long before.
const silence = 5 * time.Minute

// slotPatience is how long to wait for a slot that another walsender still
// has: one whose client is gone gives up after the server's time-out.
func (s *session) slotPatience() time.Duration {
	return s.senderTimeout() + 5*time.Second
}

// synchronous reports whether commits at the source may wait for us.
func (s *session) synchronous() bool {
	names := s.settings["synchronous_standby_names"]
	return strings.Contains(names, "*") || strings.Contains(names, s.cfg.RuntimeParams["application_name"])
}

// open checks the history, starts the stream and returns its reader.
func (s *session) open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	if err := s.src.givenUp(ctx, from); err != nil {
		return nil, err
	}
	if err := s.ensurePublication(ctx, from); err != nil {
		return nil, err
	}
	start, err := s.ensureSlot(ctx, from)
	if err != nil {
		return nil, err
	}
	if from.IsZero() {
		s.src.cfg.Log.Info("starting at the slot's position; what was committed before is not copied",
			"slot", s.src.cfg.Slot, "position", start.at.String())
	}
	bound, err := s.bound(ctx)
	if err != nil {
		return nil, err
	}
	r := s.reader(start, from)
	r.bound = bound
	if err := s.stream(ctx, r, start.place); err != nil {
		return nil, err
	}
	if s.standby {
		return s.onStandby(ctx, r), nil
	}
	return r, nil
}

// bound resolves where a bounded run ends, once for all sessions of the source;
// nil means never.
func (s *session) bound(ctx context.Context) (*lsn, error) {
	u := s.src.until
	if u == nil {
		return nil, nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.at != nil {
		return u.at, nil
	}
	end, err := s.logEnd(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the end of the log: %w", err)
	}
	end = end.reachable()
	u.at = &end
	return u.at, nil
}

// logEnd returns a place behind all that is committed. What is committed can be
// seen before it is on disk, so that is the end of what was inserted; on a
// standby, of what was replayed. A log whose end nothing flushes, since only
// open transactions wrote there, is not sent up to it for many seconds: a
// heartbeat's commit flushes it. Where none can be written, time does.
func (s *session) logEnd(ctx context.Context) (lsn, error) {
	if s.standby {
		rows, err := s.query(ctx, "SELECT pg_last_wal_replay_lsn()")
		if err != nil {
			return 0, err
		}
		return parseLSN(rows[0][0])
	}
	rows, err := s.query(ctx, "SELECT i, f < i FROM pg_current_wal_insert_lsn() i, pg_current_wal_flush_lsn() f")
	if err != nil {
		return 0, err
	}
	if rows[0][1] == "t" {
		// Synchronous standbys, of which we may be one, need not have it.
		if _, err := s.query(ctx, "SET synchronous_commit = local; "+writeHeartbeat); err != nil {
			s.src.cfg.Log.Debug("cannot make the source flush its log", "error", err)
		}
	}
	return parseLSN(rows[0][0])
}

// reader builds the reader around the connection, which is not streaming yet.
func (s *session) reader(start startPoint, from entrain.Position) *reader {
	stream := s.history(start.incarnation)
	asm := newAssembler(stream, start.place, newRelations(s.src.wants))
	if from.IsZero() {
		asm.handed = 0 // the starting point itself is worth saving at once
	}
	r := &reader{log: s.src.cfg.Log, net: s.net, asm: asm, watch: newSlotWatch(s)}
	interval := s.statusInterval()
	r.quiet = max(6*interval, silence)
	r.ws = &walStream{limit: int(s.src.cfg.MaxEventBytes), note: r.noticed, describe: asm.describe}
	r.fb = newFeedback(r.ws, start.at, interval)
	r.fb.eager = s.synchronous()
	r.fb.failed = func(err error) { r.abandon(fmt.Errorf("send status to the source: %w", err)) }
	r.watch.confirmed = func() lsn { return lsn(r.fb.confirmed.Load()) }
	r.watch.read = func() lsn { return lsn(r.read.Load()) }
	r.watch.giveUp = func(err error) {
		r.abandon(err)
		r.conn.Close() // the server waits for its end; nothing is left to say
	}
	r.heard.Store(time.Now().UnixMicro())
	return r
}

// stream takes the connection over from the driver and starts replication.
func (s *session) stream(ctx context.Context, r *reader, from place) error {
	hijacked, err := s.conn.Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	s.conn = nil
	r.conn, r.ws.conn = hijacked.Conn, hijacked.Conn
	s.net.tune(s.trip)
	stop := context.AfterFunc(ctx, r.interrupt)
	err = r.ws.start(fmt.Sprintf(
		`START_REPLICATION SLOT %s LOGICAL %s (proto_version '1', publication_names %s, messages 'true')`,
		sqltext.Ident(s.src.cfg.Slot), from.at, replicationLiteral(quoteEach(s.src.cfg.publications(), sqltext.Ident))), s.slotPatience())
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(streamError(err, s.src.cfg), r.conn.Close())
	}
	if err := s.confirmStart(ctx, r); err != nil {
		return errors.Join(err, r.conn.Close())
	}
	go r.fb.run()
	r.watch.start(ctx)
	r.log.Info("streaming", "slot", s.src.cfg.Slot, "publication", strings.Join(s.src.cfg.publications(), ", "),
		"from", from.offset(), "server", dial.ServerName(s.cfg))
	return nil
}

// confirmStart makes sure that the stream begins where we are. The slot is ours
// now, and nobody else can move it; while we waited for it, its former holder
// may have confirmed more, and the server would silently begin there (P5).
func (s *session) confirmStart(ctx context.Context, r *reader) error {
	from := r.asm.at(r.asm.resume)
	confirmed, err := r.watch.open(ctx)
	if err != nil {
		return fmt.Errorf("look at replication slot %s: %w", s.src.cfg.Slot, err)
	}
	if confirmed > from.at {
		r.watch.hangUp(ctx)
		return stopSlotAhead(s.src.cfg, confirmed, from)
	}
	return nil
}

// replicationLiteral returns s as a string constant of the replication
// commands, whose grammar knows no escapes but the doubled quote.
func replicationLiteral(s string) string {
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}
