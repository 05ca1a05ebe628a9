package capture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// Export is a moment of the source's history whose view other sessions can
// take over until [Export.Close].
type Export struct {
	// Server is the configuration of ordinary sessions with the same server.
	Server *pgconn.Config
	// Version of the server as a number, 150018.
	Version int
	// Stream is the history, From a position in it from which a stream has
	// everything that the view has not; zero if nothing that lasts was made.
	Stream *entrain.Stream
	From   entrain.Position
	// At divides the history: transactions whose commit record begins before
	// it are in the view, all others are not.
	At uint64
	// Snapshot names the view for SET TRANSACTION SNAPSHOT.
	Snapshot string
	// Publications to be read from. Unpublished: there is none yet, and what one
	// made here would have is meant.
	Publications []string
	Unpublished  bool
	// Wants is the choice of tables, Named of views and the like (nil: none), Kind says how values of a type read.
	Wants func(schema, name string) bool
	Named func(schema, name string) bool
	Kind  func(typ string) entrain.Kind
	// MaxEventBytes is the largest row that is taken into memory.
	MaxEventBytes int

	sess *session
}

// Close ends the session that holds the view and frees its slot. It may be
// called twice.
func (e *Export) Close(ctx context.Context) { e.sess.close(ctx) }

// Export makes the publication and the slot as Open does from the zero
// position, then a view of the tables at a moment behind the slot's. The view
// comes from a slot of its own that is temporary: it ends with its session.
// making, if set, is told the slot's name before it is made: see
// [entrain.SnapshotRequest].
func (s *Source) Export(ctx context.Context, making func(ctx context.Context, slot string) error) (*Export, error) {
	return s.export(ctx, func(sess *session, ctx context.Context, e *Export) error {
		sess.making = making
		return sess.ensureStream(ctx, e)
	})
}

// ExportAlone is Export for a view that no stream follows: it makes nothing
// that lasts.
func (s *Source) ExportAlone(ctx context.Context) (*Export, error) {
	return s.export(ctx, (*session).lookAlone)
}

func (s *Source) export(ctx context.Context, prepare func(*session, context.Context, *Export) error) (*Export, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sess, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	e := &Export{
		Server: sess.sibling("snapshot"), Version: sess.version, Publications: s.cfg.publications(),
		Wants: s.wants, Named: s.named, Kind: kindOf, MaxEventBytes: int(s.cfg.MaxEventBytes), sess: sess,
	}
	err = prepare(sess, ctx, e)
	if err == nil {
		err = sess.exportView(ctx, e)
	}
	if err != nil {
		sess.close(ctx)
		return nil, err
	}
	return e, nil
}

// ensureStream makes what the stream needs that follows the view.
func (s *session) ensureStream(ctx context.Context, e *Export) error {
	zero := entrain.Position{}
	if err := s.ensurePublication(ctx, zero); err != nil {
		return err
	}
	start, err := s.ensureSlot(ctx, zero)
	if err != nil {
		return err
	}
	e.Stream = s.history(start.incarnation)
	e.From = start.position(start.incarnation)
	return nil
}

// lookAlone finds out what there is of the publication.
func (s *session) lookAlone(ctx context.Context, e *Export) error {
	pub, err := s.publication(ctx)
	switch {
	case err != nil:
		return err
	case len(pub.missing) == 0:
		return nil
	case len(s.src.cfg.Publications) > 0:
		return stopPublicationNotMade(pub.missing[0], "CREATE PUBLICATION "+sqltext.Ident(pub.missing[0])+" FOR TABLE …")
	}
	e.Unpublished = true
	return nil
}

// exportView makes the temporary slot. Where it begins to decode is where the
// view ends.
func (s *session) exportView(ctx context.Context, e *Export) error {
	slot := s.temporarySlot(rand.Uint32())
	rows, err := s.createPatiently(ctx, slot)
	if err != nil {
		return createSlotError(err, slot.name, s.cfg.User)
	}
	at, err := parseLSN(rows[0][1])
	if err != nil {
		return fmt.Errorf("position of the new replication slot %s: %w", slot.name, err)
	}
	e.At, e.Snapshot = uint64(at), rows[0][2]
	if e.Stream == nil {
		e.Stream = s.history(s.system + "-" + strconv.FormatUint(uint64(at), 16))
	}
	s.src.cfg.Log.Info("taking a snapshot", "position", at.String(), "server", dial.ServerName(s.cfg))
	return nil
}

func (s *session) history(incarnation string) *entrain.Stream {
	return &entrain.Stream{Source: s.src.cfg.Name, Incarnation: incarnation, Database: s.cfg.Database}
}

// maxSlotName is how long the name of a slot can be.
const maxSlotName = 63

// temporarySlot is a slot of which there can be several for one pipeline.
func (s *session) temporarySlot(mark uint32) newSlot {
	suffix := fmt.Sprintf("_snap_%08x", mark)
	name := s.src.cfg.Slot
	name = name[:min(len(name), maxSlotName-len(suffix))] + suffix
	option := "(SNAPSHOT 'export')"
	if s.version < 150000 {
		option = "EXPORT_SNAPSHOT"
	}
	return newSlot{name, fmt.Sprintf("CREATE_REPLICATION_SLOT %s TEMPORARY LOGICAL pgoutput %s", sqltext.Ident(name), option)}
}
