package sqltext_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/connector/postgres/sqltext"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// formattedTypes are columns whose types have modifiers, and some that have none.
const formattedTypes = `bool, int2, int4, int8, float4, float8, text, name, oid, uuid, jsonb, "char", bpchar, char, char(7), varchar, varchar(20),
	numeric, numeric(10,2), numeric(5), numeric(1000,1000), bit, bit(9), varbit, varbit(12), "bit", date, time, time(0), timetz, timetz(3), timestamp, timestamp(6),
	timestamptz, timestamptz(2), interval, interval(3), interval year, interval year to month, interval day to second(2), interval minute to second,
	interval hour, interval second(1), interval day to hour, interval day to minute, interval hour to minute, interval hour to second, interval month, interval day, interval minute,
	int4[], varchar(20)[], numeric(10,2)[], bpchar[], interval(3)[]`

// TestTypeName proves that types are written as each server writes them.
func TestTypeName(t *testing.T) {
	for _, major := range pgtest.Majors(t) {
		t.Run("pg"+strconv.Itoa(major), func(t *testing.T) {
			url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
			var columns []string
			types := formattedTypes
			if major >= 15 {
				types = strings.Replace(types, "numeric(5),", "numeric(5) , numeric(3:-2),", 1)
			}
			for i, typ := range strings.Split(strings.ReplaceAll(types, ",\n", ", "), ", ") {
				columns = append(columns, "c"+strconv.Itoa(i)+" "+strings.ReplaceAll(typ, ":", ","))
			}
			pgtest.Exec(t, url, "CREATE TABLE f ("+strings.Join(columns, ", ")+")")
			rows := pgtest.Query(t, url, `SELECT t.typname, a.atttypmod, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
				JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = 'f'::regclass AND a.attnum > 0 ORDER BY a.attnum`)
			if len(rows) != len(columns) {
				t.Fatalf("%d rows of %d columns", len(rows), len(columns))
			}
			for i, row := range rows {
				modifier, err := strconv.Atoi(row[1])
				if err != nil {
					t.Fatal(err)
				}
				if got := sqltext.TypeName(row[0], int32(modifier)); got != row[2] {
					t.Errorf("%s: %s; want %s", columns[i], got, row[2])
				}
			}
		})
	}
	if got := sqltext.TypeName("public.vector", 3) + " " + sqltext.TypeName("public.mood", -1); got != "public.vector(3) public.mood" {
		t.Errorf("types that are not the server's: %s", got)
	}
}
