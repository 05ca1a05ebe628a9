package capture

import (
	"context"
	"time"

	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// A heartbeat is a logical message of ours in the source's log. It moves the
// position and is dropped where the log is read; other messages with its prefix
// are an application's.
const (
	ownPrefix       = "entrain"
	heartbeatText   = "heartbeat"
	writeHeartbeat  = "SELECT pg_logical_emit_message(true, '" + ownPrefix + "', '" + heartbeatText + "')"
	heartbeatWithin = 10 * time.Second
)

// isHeartbeat recognises a heartbeat by its message.
func isHeartbeat(prefix, content []byte) bool {
	return string(prefix) == ownPrefix && string(content) == heartbeatText
}

// beat writes a heartbeat. A server that cannot take it, such as a standby, is
// worth one line; it may be able to later.
func (w *slotWatch) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatWithin)
	defer cancel()
	err := w.dial(ctx)
	if err == nil {
		_, err = dial.QueryRows(ctx, w.conn, writeHeartbeat)
	}
	switch {
	case err == nil:
		w.mute = false
	case ctx.Err() == nil && !w.mute:
		w.mute = true
		w.cfg.Log.Warn("cannot write the heartbeat to the source's log; will go on trying", "every", w.cfg.Heartbeat, "error", err)
	}
	return err
}
