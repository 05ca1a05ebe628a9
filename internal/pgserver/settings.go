package pgserver

import (
	"fmt"
	"maps"
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

// writeSettings writes the settings file of the server in dir.
func (c cluster) writeSettings(dir string, port int) error {
	all := maps.Clone(c.settings)
	all["port"] = fmt.Sprint(port)
	all["listen_addresses"] = "127.0.0.1"
	all["unix_socket_directories"] = dir
	file := filepath.Join(data(dir), settingsFile)
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
