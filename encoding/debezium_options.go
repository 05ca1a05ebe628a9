package encoding

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DebeziumOptions are the settings of the format debezium, by the names and
// with the meanings and defaults that they have in Debezium's PostgreSQL
// connector, except that truncates are written by default. The zero value is
// usable.
type DebeziumOptions struct {
	// TopicPrefix is the first part of every topic, and source.name. Default:
	// the source's name.
	TopicPrefix string `yaml:"topic_prefix"`
	// DecimalHandlingMode: precise (default), string or double.
	DecimalHandlingMode string `yaml:"decimal_handling_mode"`
	// TimePrecisionMode: adaptive (default), adaptive_time_microseconds,
	// connect, isostring, microseconds or nanoseconds.
	TimePrecisionMode string `yaml:"time_precision_mode"`
	// IntervalHandlingMode: numeric (default) or string.
	IntervalHandlingMode string `yaml:"interval_handling_mode"`
	// BinaryHandlingMode: bytes (default), base64, base64-url-safe or hex.
	BinaryHandlingMode string `yaml:"binary_handling_mode"`
	// HstoreHandlingMode: json (default) or map.
	HstoreHandlingMode string `yaml:"hstore_handling_mode"`
	// UnavailableValuePlaceholder stands for a value that the log did not
	// carry. Default __debezium_unavailable_value.
	UnavailableValuePlaceholder string `yaml:"unavailable_value_placeholder"`
	// IncludeUnknownDatatypes writes columns of types that Debezium does not
	// know, as bytes; otherwise it leaves them out.
	IncludeUnknownDatatypes bool `yaml:"include_unknown_datatypes"`
	// ProvideTransactionMetadata adds the transaction block, and BEGIN and
	// END records.
	ProvideTransactionMetadata bool `yaml:"provide_transaction_metadata"`
	// OmitTombstones leaves out the record with a null value behind a delete.
	OmitTombstones bool `yaml:"omit_tombstones"`
	// SkippedOperations: none (default), or t, which leaves truncates out, as
	// Debezium does by default.
	SkippedOperations string `yaml:"skipped_operations"`
	// MessageKeyColumns names the columns of the key by table
	// ("public.orders"), for tables whose replica identity does not tell
	// them, as FULL.
	MessageKeyColumns map[string][]string `yaml:"message_key_columns"`

	// Now is the clock for ts_ms, when the change was processed. Default:
	// time.Now.
	Now func() time.Time `yaml:"-"`
}

const defaultPlaceholder = "__debezium_unavailable_value"

// withDefaults fills in what was left out and checks the rest.
func (o DebeziumOptions) withDefaults() (DebeziumOptions, error) {
	o.UnavailableValuePlaceholder = cmp.Or(o.UnavailableValuePlaceholder, defaultPlaceholder)
	if strings.HasPrefix(o.UnavailableValuePlaceholder, "hex:") {
		return o, errors.New("debezium.unavailable_value_placeholder in hexadecimal is not offered")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, errors.Join(
		choose("decimal_handling_mode", &o.DecimalHandlingMode, "precise", "string", "double"),
		choose("time_precision_mode", &o.TimePrecisionMode,
			"adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds"),
		choose("interval_handling_mode", &o.IntervalHandlingMode, "numeric", "string"),
		choose("binary_handling_mode", &o.BinaryHandlingMode, "bytes", "base64", "base64-url-safe", "hex"),
		choose("hstore_handling_mode", &o.HstoreHandlingMode, "json", "map"),
		choose("skipped_operations", &o.SkippedOperations, "none", "t"),
	)
}

// choose checks that a setting is one of the known words; the first is the
// default.
func choose(name string, value *string, known ...string) error {
	if *value == "" {
		*value = known[0]
	}
	if !slices.Contains(known, *value) {
		return fmt.Errorf("debezium.%s %q, known: %s", name, *value, strings.Join(known, ", "))
	}
	return nil
}
