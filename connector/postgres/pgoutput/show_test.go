package pgoutput

import (
	"fmt"
	"strings"
	"time"
)

// show renders all that a message of its kind has.
func show(m *Message) string {
	switch m.Kind {
	case Begin:
		return fmt.Sprintf("BEGIN final=%X time=%s xid=%d", m.LSN, m.Time.Format(time.RFC3339Nano), m.XID)
	case Commit:
		return fmt.Sprintf("COMMIT at=%X end=%X time=%s", m.LSN, m.EndLSN, m.Time.Format(time.RFC3339Nano))
	case Origin:
		return fmt.Sprintf("ORIGIN at=%X %q", m.LSN, m.Name)
	case Type:
		return fmt.Sprintf("TYPE %d %q.%q", m.OID, m.Namespace, m.Name)
	case Relation:
		s := fmt.Sprintf("RELATION %d %q.%q identity=%c", m.OID, m.Namespace, m.Name, m.Identity)
		for _, c := range m.Columns {
			s += fmt.Sprintf(" (%q type=%d mod=%d key=%t)", c.Name, c.TypeOID, c.Modifier, c.Key)
		}
		return s
	case Truncate:
		return fmt.Sprintf("TRUNCATE %v flags=%d", m.OIDs, m.Flags)
	case Logical:
		return fmt.Sprintf("MESSAGE at=%X flags=%d %q %q", m.LSN, m.Flags, m.Name, m.Content)
	case Insert, Update, Delete:
		s := fmt.Sprintf("%c %d", m.Kind, m.OID)
		if m.OldKind != 0 {
			s += fmt.Sprintf(" %c%s", m.OldKind, showTuple(m.Old))
		}
		if m.Kind != Delete {
			s += " N" + showTuple(m.New)
		}
		return s
	}
	return fmt.Sprintf("%c", m.Kind)
}

func showTuple(t Tuple) string {
	var cols []string
	for rest := t.data; len(rest) > 0; {
		var kind byte
		var text []byte
		kind, text, rest = column(rest)
		if kind == 't' {
			cols = append(cols, fmt.Sprintf("%q", text))
			continue
		}
		cols = append(cols, string(kind))
	}
	return "(" + strings.Join(cols, " ") + ")"
}
