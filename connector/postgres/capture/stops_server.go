package capture

import (
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/sqltext"
)

// The named stops that have to do with a server's part: primary or standby,
// and what else runs there.

// standbySnapshot is what a standby's new slot waits for.
const standbySnapshot = "SELECT pg_log_standby_snapshot()"

// stopSlotWaits says for whom a new slot waited in vain.
func (s *session) stopSlotWaits(slot newSlot, open []openTransaction) error {
	cfg := s.src.cfg
	stop := &entrain.Stop{
		Code: "slot_waits",
		What: fmt.Sprintf("replication slot %q could not be made within %s; nothing of it is left", slot.name, cfg.CreateTimeout),
		Why:  "it waits for all transactions that are open, and they had ended meanwhile",
		Next: "entrain run FILE",
	}
	switch {
	case s.standby:
		stop.Why = "on a standby it waits until the primary logs which transactions run, which an idle one does not"
		stop.Next = standbySnapshot + "; -- on the primary, while this waits: entrain run FILE"
	case len(open) > 0:
		stop.Why = "it waits for all transactions that are open: " + strings.Join(describeAll(open), "; ")
		stop.Next = open[0].end() + "; -- or let it end, or set source.create_timeout higher; then: entrain run FILE"
	}
	return stop
}

// end is the SQL that ends the transaction.
func (o openTransaction) end() string {
	if o.prepared != "" {
		return "COMMIT PREPARED " + strings.TrimSpace(sqltext.Literal(o.prepared))
	}
	return fmt.Sprintf("SELECT pg_terminate_backend(%s)", o.pid)
}

func (s *session) stopNoFailover() error {
	why := "slots that standbys take over exist from version 17 on"
	if s.standby {
		why = "a slot of a standby cannot be taken over by another one"
	}
	return &entrain.Stop{
		Code: "failover_unsupported",
		What: fmt.Sprintf("source.failover is set, but replication slot %q cannot be such a slot on this server", s.src.cfg.Slot),
		Why:  why,
		Next: "remove source.failover from FILE and run again: entrain run FILE",
	}
}

func stopOldStandby(server string) error {
	return &entrain.Stop{
		Code: "standby_unsupported",
		What: server + " is a standby",
		Why:  "standbys decode their log from version 16 on",
		Next: "set source.url in FILE to the primary and run again: entrain run FILE",
	}
}

func stopPrimaryWalLevel(err error) error {
	return &entrain.Stop{
		Code: "wal_level",
		What: "the primary of this standby runs with a wal_level below logical",
		Why:  "a standby decodes what its primary wrote",
		Next: "ALTER SYSTEM SET wal_level = logical; -- on the primary, then restart it",
		Err:  err,
	}
}

func stopPublicationOnStandby(cfg Config, create string, err error) error {
	return &entrain.Stop{
		Code: "publication_not_made",
		What: fmt.Sprintf("publication %q does not exist and cannot be made here", cfg.Publication),
		Why:  "the source is a standby or read-only: it is made on the primary and arrives from there",
		Next: create + "; -- on the primary, by the owner of the tables",
		Err:  err,
	}
}
