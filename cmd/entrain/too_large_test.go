package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestTooLargeIsParked: a row that the brokers do not take becomes a dead letter that
// names key, size and position, the others flow, and it is delivered once there is room
// for it (ST-05).
func TestTooLargeIsParked(t *testing.T) {
	url, topic := shop(t), fmt.Sprintf("large%d", time.Now().UnixNano())
	const small = "max_message_bytes: 60kB"
	text := `name: shop
source: {type: postgres, url: "${SOURCE_URL}", create: true}
snapshot: {mode: never}
sink: {type: kafka, brokers: ["` + kafkatest.Start(t).Addr() + `"], topic: ` + topic + `, transactional_id: ` + topic + `, compression: none, ` + small + `}
dead_letter: {unit: event}
state: {dir: DIR/state}
`
	file := writeFile(t, text)
	p := launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	pgtest.Exec(t, url, "INSERT INTO orders VALUES (1, 'a'), (2, (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 3000) i)), (3, 'c')",
		"INSERT INTO orders VALUES (4, 'd')")
	p.until(t, file, "the others", func(r admin.Report) bool { return r.Status.Applied == 3 && r.Status.DeadLetters == 1 })
	list := invoke(t, anySource, "dlq", "list", "-o", "json", file)
	var letters []struct{ ID, Class, Reason string }
	if err := json.Unmarshal([]byte(list.stdout), &letters); err != nil || len(letters) != 1 || letters[0].Class != "message_too_large" {
		t.Fatalf("letters %+v, %v", letters, err)
	}
	for _, want := range []string{`{\"id\":2}`, " bytes", "position"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	if o := invoke(t, anySource, "dlq", "replay", file, "--all"); o.code == exitOK {
		t.Errorf("what is too large was delivered: %s", o.stderr)
	}
	p.signal(t, syscall.SIGTERM)
	p.exit(t, exitOK)
	rewrite(t, file, small, "max_message_bytes: 1MB")
	p = launch(t, url, "run", file)
	p.until(t, file, "streaming", streams)
	invoke(t, anySource, "dlq", "replay", file, "--all").want(t, exitOK, "0 are left")
}
