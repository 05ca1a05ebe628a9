package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// A far cluster stands where others come after years: its log above 2^32, on
// timeline 16, its transaction ids a few hundred before they wrap.
const (
	farLSN      = uint64(0xFFFFFFFE) << 32
	farTimeline = 0x10
	farEpoch    = uint64(1)
	farXID      = uint32(0xFFFFFF00)
	farClog     = "0FFF" // holds the states of the last ids
)

// Places in the structs ControlFileData, CheckPoint, XLogRecord and
// XLogLongPageHeaderData, which are in the machine's byte order.
const (
	controlCheckpoint = 32 // LSN of the checkpoint; its copy follows
	controlCopy       = 40
	redoTimeline      = 8 // in CheckPoint, which begins with redo; the former one follows
	redoNextXID       = 24
	redoOldestXID     = 44
	recordCRC         = 20
	recordHeader      = 24
	recordData        = recordHeader + 2
	walSegment        = 16 << 20
	longHeader        = 40
)

var order = binary.NativeEndian

// sealControl returns where the CRC of a control file is: where it is right.
func sealControl(control []byte) (end int, err error) {
	for end := 64; end+4 <= 512; end += 4 {
		if order.Uint32(control[end:]) == crc32.Checksum(control[:end], crc32.MakeTable(crc32.Castagnoli)) {
			return end, nil
		}
	}
	return 0, errors.New("no valid checksum in the control file")
}

// moveFar moves a cluster that was shut down: its last checkpoint becomes the
// first record of a log far away.
func moveFar(data string) error {
	controlFile := filepath.Join(data, "global", "pg_control")
	control, err := os.ReadFile(controlFile)
	if err != nil {
		return err
	}
	seal, err := sealControl(control)
	if err != nil {
		return err
	}
	at, timeline := order.Uint64(control[controlCheckpoint:]), order.Uint32(control[controlCopy+redoTimeline:])
	former, err := os.ReadFile(filepath.Join(data, "pg_wal", segmentName(timeline, at)))
	if err != nil {
		return err
	}
	segment, err := firstSegment(former, at%walSegment)
	if err != nil {
		return err
	}
	order.PutUint64(control[controlCheckpoint:], farLSN+longHeader)
	moveCheckpoint(control[controlCopy:])
	table := crc32.MakeTable(crc32.Castagnoli)
	order.PutUint32(control[seal:], crc32.Checksum(control[:seal], table))
	return errors.Join(
		os.WriteFile(controlFile, control, 0o600),
		os.RemoveAll(filepath.Join(data, "pg_wal", segmentName(timeline, at))),
		os.WriteFile(filepath.Join(data, "pg_wal", segmentName(farTimeline, farLSN)), segment, 0o600),
		os.WriteFile(filepath.Join(data, "pg_xact", farClog), make([]byte, 32*walPage), 0o600))
}

func segmentName(timeline uint32, at uint64) string {
	const perFile = 1 << 32 / walSegment
	n := at / walSegment
	return fmt.Sprintf("%08X%08X%08X", timeline, n/perFile, n%perFile)
}

// moveCheckpoint changes what a CheckPoint says.
func moveCheckpoint(c []byte) {
	order.PutUint64(c, farLSN+longHeader)
	order.PutUint32(c[redoTimeline:], farTimeline)
	order.PutUint32(c[redoTimeline+4:], farTimeline)
	order.PutUint64(c[redoNextXID:], farEpoch<<32|uint64(farXID))
	order.PutUint32(c[redoOldestXID:], farXID-1000)
}

// errCrosses is a record that this test cannot move.
var errCrosses = errors.New("the checkpoint record crosses a page")

// firstSegment makes the log's first segment of the checkpoint record at an
// offset of the former one.
func firstSegment(former []byte, at uint64) ([]byte, error) {
	size := uint64(order.Uint32(former[at:]))
	if at%walPage+size > walPage {
		return nil, errCrosses
	}
	segment := make([]byte, walSegment)
	copy(segment, former[:longHeader])
	order.PutUint16(segment[2:], 2) // a long header, no record goes on from before
	order.PutUint32(segment[4:], farTimeline)
	order.PutUint64(segment[8:], farLSN)
	order.PutUint32(segment[16:], 0)
	record := segment[longHeader : longHeader+size]
	copy(record, former[at:])
	order.PutUint64(record[8:], 0)
	moveCheckpoint(record[recordData:])
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(record[recordHeader:], table), table, record[:recordCRC])
	order.PutUint32(record[recordCRC:], sum)
	return segment, nil
}

// farServer starts a server that was moved far.
func farServer(t *testing.T, major int) *pgserver.Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "entrain-far-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg := pgserver.Config{Install: pgtest.Install(t, major), Dir: dir, Settings: map[string]string{"autovacuum": "off"}}
	srv := pgtest.StartConfig(t, cfg)
	pgtest.Exec(t, srv.URL("postgres"), "VACUUM FREEZE") // what the catalog's rows are from is in no past then
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = moveFar(filepath.Join(dir, "data"))
	if errors.Is(err, errCrosses) { // once more, somewhere else in a page
		if err = srv.Start(t.Context()); err == nil {
			err = srv.Stop(t.Context())
		}
		if err == nil {
			err = moveFar(filepath.Join(dir, "data"))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return pgtest.StartConfig(t, cfg)
}

// TestFarPositions: PG-31, P1, P3. Positions above 2^32 on a high timeline, and
// transaction ids that wrap, are carried: in order, also when a session begins
// anew at each of them.
func TestFarPositions(t *testing.T) {
	const rows = 600
	eachMajor(t, func(t *testing.T, major int) {
		url := farServer(t, major).URL("postgres")
		pgtest.Exec(t, url, oneTable)
		src := newTestSource(t, url)
		at := createSlot(t, src)
		if !strings.HasPrefix(at.Offset, "FFFFFFFE/") || !strings.HasSuffix(at.Offset, "@16") {
			t.Errorf("the first position is %s", at)
		}
		wrapped := 0
		for part := range 3 {
			var sql []string
			for i := range rows / 3 {
				sql = append(sql, fmt.Sprintf("INSERT INTO t VALUES (%d, pg_current_xact_id()::text)", part*1000+i))
			}
			pgtest.Exec(t, url, sql...)
			got := captureNow(t, src, at)
			if len(got.lines) != rows/3 {
				t.Fatalf("%d events in part %d, want %d", len(got.lines), part, rows/3)
			}
			for i, line := range got.lines {
				wrapped += checkFar(t, line, part*1000+i)
			}
			at = got.last(t)
		}
		if wrapped == 0 || wrapped == rows {
			t.Errorf("%d of %d transactions after the wrap", wrapped, rows)
		}
	})
}

var farLine = regexp.MustCompile(`"after":\{"id":([0-9]+),"v":"([0-9]+)"\},"tx":\{"id":([0-9]+),`)

// checkFar checks a row, whose value is the id of its transaction, and returns 1
// if that is one after the wrap.
func checkFar(t *testing.T, line string, id int) int {
	t.Helper()
	m := farLine.FindStringSubmatch(line)
	if m == nil || m[1] != strconv.Itoa(id) {
		t.Fatalf("captured %s, want row %d", line, id)
	}
	xid, err := strconv.ParseUint(m[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if m[3] != strconv.FormatUint(xid&math.MaxUint32, 10) {
		t.Errorf("the transaction of %s is %d", line, xid)
	}
	return int(xid>>32 - farEpoch)
}
