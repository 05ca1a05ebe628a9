package preflight

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/entrainsync/entrain"
)

// The versions that are supported; newer ones are not known to be.
const (
	oldestVersion = 140000
	newestMajor   = 18
)

// Session is how the examination reached the server.
type Session struct {
	// Where names the server in findings: "source host:port/database".
	Where string
	// Connect is the connection string for people's own client.
	Connect string
	// Backend is the process id that the server announced; 0 if unknown.
	Backend uint32
	// Settings that the session asked for when it connected, by name.
	Settings map[string]string
}

// server is what is known of either end.
type server struct {
	where     string
	version   int // server_version_num
	standby   bool
	encoding  string
	system    string
	oid       string // of the database
	database  string
	role      string
	superuser bool
	replicate bool // the role may use replication
	mayCreate bool // the role may create schemas and publications
	skew      time.Duration
	pooled    bool     // somebody stands between us and the server
	ignored   []string // settings that the session asked for and has not
	settings  map[string]setting
}

type setting struct{ value, unit, configured string }

const serverSQL = `SELECT current_setting('server_version_num'), pg_is_in_recovery()::text, pg_encoding_to_char(d.encoding),
  s.system_identifier::text, d.oid::text, d.datname, r.rolname, r.rolsuper::text, (r.rolreplication OR r.rolsuper)::text,
  has_database_privilege(d.oid, 'CREATE')::text, pg_backend_pid()::text
FROM pg_control_system() s, pg_database d, pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user`

const settingsSQL = `SELECT name, coalesce(setting, ''), coalesce(unit, ''), coalesce(reset_val, '') FROM pg_settings
WHERE name = ANY (ARRAY(SELECT json_array_elements_text($1::json)))`

// settingNames are those that the judges look at.
var settingNames = []string{
	"wal_level", "max_replication_slots", "max_wal_senders", "output_plugin_libraries", "max_slot_wal_keep_size",
	"idle_replication_slot_timeout", "wal_sender_timeout", "logical_decoding_work_mem", "hot_standby_feedback",
	"default_transaction_read_only",
}

// gatherServer asks for what both ends need.
func gatherServer(ctx context.Context, ask Ask, s Session) (server, error) {
	rows, err := ask(ctx, serverSQL)
	if err != nil {
		return server{}, fmt.Errorf("examine %s: %w", s.Where, err)
	}
	if len(rows) != 1 {
		return server{}, fmt.Errorf("examine %s: the session's database or role is not in the catalog", s.Where)
	}
	r := rows[0]
	f := server{where: s.Where, standby: r[1] == "true", encoding: r[2], system: r[3], oid: r[4], database: r[5], role: r[6],
		superuser: r[7] == "true", replicate: r[8] == "true", mayCreate: r[9] == "true"}
	if f.version, err = strconv.Atoi(r[0]); err != nil {
		return server{}, fmt.Errorf("examine %s: version: %w", s.Where, err)
	}
	f.pooled = s.Backend != 0 && r[10] != strconv.FormatUint(uint64(s.Backend), 10)
	if f.ignored, err = ignoredSettings(ctx, ask, s.Settings); err != nil {
		return server{}, fmt.Errorf("examine %s: %w", s.Where, err)
	}
	if f.settings, err = readSettings(ctx, ask, settingNames); err != nil {
		return server{}, fmt.Errorf("examine %s: %w", s.Where, err)
	}
	f.skew, err = measureSkew(ctx, ask)
	return f, err
}

func readSettings(ctx context.Context, ask Ask, names []string) (map[string]setting, error) {
	rows, err := ask(ctx, settingsSQL, jsonText(names))
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	settings := make(map[string]setting, len(rows))
	for _, r := range rows {
		settings[r[0]] = setting{r[1], r[2], r[3]}
	}
	return settings, nil
}

// ignoredSettings names what the session asked for in vain: a pooler that is
// told to ignore settings says nothing.
func ignoredSettings(ctx context.Context, ask Ask, wanted map[string]string) ([]string, error) {
	names := make([]string, 0, len(wanted))
	for _, name := range []string{"extra_float_digits", "bytea_output", "search_path", "xmloption", "lc_monetary"} {
		if _, ok := wanted[name]; ok {
			names = append(names, name)
		}
	}
	got, err := readSettings(ctx, ask, names)
	if err != nil {
		return nil, err
	}
	var ignored []string
	for _, name := range names {
		if got[name].value != wanted[name] {
			ignored = append(ignored, name)
		}
	}
	return ignored, nil
}

// measureSkew compares the server's clock with ours; what the question itself
// may have taken does not count.
func measureSkew(ctx context.Context, ask Ask) (time.Duration, error) {
	began := time.Now()
	rows, err := ask(ctx, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text")
	if err != nil || len(rows) != 1 {
		return 0, fmt.Errorf("ask for the server's clock: %w", err)
	}
	micros, err := strconv.ParseInt(rows[0][0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the server's clock: %w", err)
	}
	return skewOf(time.UnixMicro(micros), began, time.Now()), nil
}

// skewOf is how far there is outside the time between began and ended, positive
// if it is later.
func skewOf(there, began, ended time.Time) time.Duration {
	switch {
	case there.Before(began):
		return there.Sub(began)
	case there.After(ended):
		return there.Sub(ended)
	}
	return 0
}

func (s *server) report(session Session) entrain.Report {
	return entrain.Report{Server: session.Where, Connect: session.Connect,
		Database: s.system + "/" + s.oid, Encoding: s.encoding}
}

// number returns a setting that is one; a missing one is fallback.
func (s *server) number(name string, fallback int64) int64 {
	n, err := strconv.ParseInt(s.settings[name].value, 10, 64)
	if err != nil {
		return fallback
	}
	return n
}

// duration returns a setting that is a time, whatever unit the server keeps it
// in; a missing one is zero.
func (s *server) duration(name string) time.Duration {
	units := map[string]time.Duration{"ms": time.Millisecond, "s": time.Second, "min": time.Minute}
	return time.Duration(s.number(name, 0)) * units[s.settings[name].unit]
}

func judgeVersion(s *server) []entrain.Finding {
	object := fmt.Sprintf("%s, PostgreSQL %d", s.where, s.version/10000)
	switch {
	case s.version < oldestVersion:
		return one(failure(object, "versions before 14 are not supported: upgrade the server"))
	case s.version/10000 > newestMajor:
		return one(warning(object, fmt.Sprintf("versions after %d are newer than this program and not tested with it", newestMajor)))
	}
	return nil
}

// maxSkew is what lag in seconds may be wrong by without a word.
const maxSkew = time.Second

func judgeClock(s *server) []entrain.Finding {
	if s.skew.Abs() <= maxSkew {
		return nil
	}
	direction := "ahead of"
	if s.skew < 0 {
		direction = "behind"
	}
	return one(warning(s.where, fmt.Sprintf("the server's clock is %s %s this machine's: lag in seconds will be wrong by that "+
		"(nothing else depends on clocks); let a time service set both", s.skew.Abs().Round(time.Millisecond), direction)))
}

func jsonText(v any) string {
	// Marshalling strings, numbers and structs of them cannot fail.
	text, _ := json.Marshal(v)
	return string(text)
}
