package corpus

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// reader reads what a record says of the corpus.
type reader func(e *ends, format string, r record) ([]seen, error)

func decode(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(to)
}

// readNative reads a line of the format native.
func readNative(e *ends, format string, r record) ([]seen, error) {
	var line struct {
		Op, Table string
		After     map[string]any
	}
	if err := decode(r.data, &line); err != nil {
		return nil, err
	}
	return readColumns(seen{format: format, cell: cell{table: line.Table}, read: line.Op == "read"}, line.After)
}

// readCloud reads a line of the format cloudevents.
func readCloud(e *ends, format string, r record) ([]seen, error) {
	var line struct{ Data json.RawMessage }
	if err := decode(r.data, &line); err != nil {
		return nil, err
	}
	return readNative(e, format, record{data: line.Data})
}

// readFlat reads a line of the format flat.
func readFlat(e *ends, format string, r record) ([]seen, error) {
	var line map[string]any
	if err := decode(r.data, &line); err != nil {
		return nil, err
	}
	table, _ := line["__table"].(string)
	return readColumns(seen{format: format, cell: cell{table: table}, read: line["__op"] == "read"}, line)
}

// readColumns reads the values of JSON that docs/format.md tells.
func readColumns(s seen, columns map[string]any) (all []seen, err error) {
	if columns == nil {
		return nil, nil
	}
	if s.id, err = idOf(columns["id"]); err != nil {
		return nil, err
	}
	for _, column := range []string{"v", "a"} {
		s.column, s.got = column, absent
		if v, there := columns[column]; there {
			s.got = jsonText(v)
		}
		all = append(all, s)
	}
	return all, nil
}

func idOf(v any) (int, error) {
	id, isNumber := v.(json.Number)
	if !isNumber {
		return 0, fmt.Errorf("no id: %v", v)
	}
	return strconv.Atoi(id.String())
}

// jsonText is what a value means; a number has to be the same for readers that have
// double precision only.
func jsonText(v any) any {
	switch v := v.(type) {
	case nil:
		return null
	case bool:
		return strconv.FormatBool(v)[:1]
	case json.Number:
		f, err := v.Float64()
		if n, isInt := v.Int64(); err != nil || isInt == nil && int64(f) != n {
			return fmt.Errorf("%s is %v in double precision", v, f)
		}
		return v.String()
	case string:
		return v
	}
	return fmt.Errorf("a value of JSON that no column has: %v", v)
}
