package pgserver

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// settingsFile is beside postgresql.conf, which includes it.
const settingsFile = "entrain.conf"

// merged returns the defaults with the Settings over them.
func (c Config) merged() map[string]string {
	all := map[string]string{
		"wal_level":             "logical",
		"max_wal_senders":       "20",
		"max_replication_slots": "20",
		"max_connections":       "100",
	}
	if !c.Durable {
		all["fsync"] = "off"
	}
	maps.Copy(all, c.Settings)
	return all
}

// randomPort returns a port that is likely to be free: below those that systems
// hand out to clients. The server itself finds out whether it is.
func randomPort() int { return 15000 + rand.IntN(17000) }

// includeSettings makes postgresql.conf end with an include of our file.
func includeSettings(data string) error {
	conf := filepath.Join(data, "postgresql.conf")
	text, err := os.ReadFile(conf)
	if err != nil {
		return fmt.Errorf("read the server's configuration: %w", err)
	}
	line := "\ninclude_if_exists '" + settingsFile + "'\n"
	if strings.HasSuffix(string(text), line) {
		return nil
	}
	return os.WriteFile(conf, append(text, line...), 0o600)
}

// writeSettings writes the settings file for the port that s has now.
func (s *Server) writeSettings() error {
	all := maps.Clone(s.settings)
	all["port"] = fmt.Sprint(s.port)
	all["listen_addresses"] = "127.0.0.1"
	all["unix_socket_directories"] = s.dir
	file := filepath.Join(s.data(), settingsFile)
	if err := os.WriteFile(file, []byte(formatSettings(all)), 0o644); err != nil {
		return fmt.Errorf("write the server's settings: %w", err)
	}
	return nil
}

// formatSettings returns settings as lines of a configuration file, in order.
func formatSettings(all map[string]string) string {
	var b strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, `'`, `''`, "\n", `\n`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quote.Replace(all[name]))
	}
	return b.String()
}
