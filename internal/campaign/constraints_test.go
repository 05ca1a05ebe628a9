package campaign

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// family has every kind of reference: to a parent, to itself, in a circle that
// is checked late, and with actions on other rows.
const familySQL = `
CREATE TABLE parent (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent, v int NOT NULL);
CREATE TABLE node (id int PRIMARY KEY, up int REFERENCES node, v int NOT NULL);
CREATE TABLE late_node (id int PRIMARY KEY, up int REFERENCES late_node DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE egg (id int PRIMARY KEY, hen int NOT NULL);
CREATE TABLE hen (id int PRIMARY KEY, egg int NOT NULL REFERENCES egg DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen DEFERRABLE INITIALLY IMMEDIATE;
CREATE TABLE house (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE room (id int PRIMARY KEY, house int NOT NULL REFERENCES house ON DELETE CASCADE ON UPDATE CASCADE, v int NOT NULL);
CREATE TABLE lodger (id int PRIMARY KEY, room int REFERENCES room ON DELETE SET NULL ON UPDATE CASCADE);
`

// CO-09 ForeignKeys: however the batches are cut, the target ends as the source
// (P1, P3, P4).
func TestCO09ForeignKeys(t *testing.T) {
	splitCase{
		schema: familySQL,
		tables: []string{"parent", "child", "node", "late_node", "egg", "hen", "house", "room", "lodger"},
		next:   relatives,
		count:  400,
		whole:  familiesAtOnce,
	}.run(t)
}

// familiesAtOnce are rows of a table that refers to itself, children before
// their parents, by one statement.
func familiesAtOnce(r *rand.Rand) string {
	k, v := 50+3*r.IntN(few), r.IntN(1000)
	return []string{
		fmt.Sprintf("INSERT INTO node VALUES (%d, %d, %d), (%[2]d, %d, %[3]d), (%[4]d, %[4]d, %[3]d) ON CONFLICT DO NOTHING;\n", k, k+1, v, k+2),
		fmt.Sprintf("DELETE FROM node WHERE id BETWEEN %d AND %d;\n", k, k+2),
		fmt.Sprintf("DELETE FROM node WHERE id >= 50;\nINSERT INTO node SELECT i, nullif(i + 1, 90), %d FROM generate_series(50, 89) i;\n", v),
		"UPDATE node SET up = (SELECT max(id) FROM node) WHERE id >= 50;\n",
	}[r.IntN(4)]
}

const few = 12 // keys, so that they meet

// relatives are one to four statements; the source refuses some.
func relatives(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(4) {
		b.WriteString(relative(r))
	}
	return b.String()
}

func relative(r *rand.Rand) string {
	k, j, v := r.IntN(few), r.IntN(few), r.IntN(1000)
	return []string{
		fmt.Sprintf("INSERT INTO parent VALUES (%d, %d) ON CONFLICT (id) DO UPDATE SET v = %[2]d;\n", k, v),
		fmt.Sprintf("INSERT INTO child SELECT %d, id, %d FROM parent WHERE id = %d ON CONFLICT (id) DO UPDATE SET parent = %[3]d, v = %[2]d;\n", j, v, k),
		fmt.Sprintf("DELETE FROM child WHERE parent = %d;\nDELETE FROM parent WHERE id = %[1]d;\n", k),
		fmt.Sprintf("DELETE FROM child WHERE id = %d;\n", j),
		fmt.Sprintf("DELETE FROM child WHERE parent = %d;\nUPDATE parent SET id = id + 100 WHERE id = %[1]d;\n", k),
		fmt.Sprintf("INSERT INTO node SELECT %d, (SELECT max(id) FROM node), %d WHERE NOT EXISTS (SELECT 1 FROM node WHERE id = %[1]d);\n", k, v),
		fmt.Sprintf("UPDATE node SET up = %d, v = %d WHERE id <= %[1]d AND EXISTS (SELECT 1 FROM node WHERE id = %[1]d);\n", k, v),
		fmt.Sprintf("UPDATE node SET up = NULL WHERE up = %d;\nDELETE FROM node WHERE id = %[1]d;\n", k),
		fmt.Sprintf("INSERT INTO late_node VALUES (%[1]d, %[2]d), (%[2]d, %[1]d) ON CONFLICT (id) DO UPDATE SET up = EXCLUDED.up;\n", k, k+few),
		fmt.Sprintf("DELETE FROM late_node WHERE id = %d;\nUPDATE late_node SET up = NULL WHERE up = %[1]d;\n", k),
		fmt.Sprintf("SET CONSTRAINTS ALL DEFERRED;\nINSERT INTO egg VALUES (%[1]d, %[1]d);\nINSERT INTO hen VALUES (%[1]d, %[1]d);\n", k),
		fmt.Sprintf("SET CONSTRAINTS ALL DEFERRED;\nUPDATE hen SET egg = %d WHERE id = %d;\nDELETE FROM egg WHERE hen = %[2]d AND id <> %[1]d;\n", k, j),
		fmt.Sprintf("SET CONSTRAINTS ALL DEFERRED;\nDELETE FROM hen WHERE egg IN (SELECT id FROM egg WHERE hen = %d);\nDELETE FROM egg WHERE hen = %[1]d;\n", k),
		fmt.Sprintf("INSERT INTO house VALUES (%d, %d) ON CONFLICT (id) DO UPDATE SET v = %[2]d;\nINSERT INTO room VALUES (%d, %[1]d, %[2]d) ON CONFLICT (id) DO UPDATE SET house = %[1]d;\n", k, v, j),
		fmt.Sprintf("INSERT INTO lodger VALUES (%d, (SELECT min(id) FROM room WHERE id >= %d)) ON CONFLICT (id) DO UPDATE SET room = EXCLUDED.room;\n", k, j),
		fmt.Sprintf("DELETE FROM house WHERE id = %d;\n", k),
		fmt.Sprintf("UPDATE house SET id = id + 100 WHERE id = %d AND NOT EXISTS (SELECT 1 FROM house WHERE id = %d);\n", k, k+100),
		fmt.Sprintf("DELETE FROM house WHERE id >= 100;\nINSERT INTO house VALUES (%d, %d) ON CONFLICT DO NOTHING;\n", k, v),
		fmt.Sprintf("DELETE FROM room WHERE id = %d;\nINSERT INTO room SELECT %[1]d, id, %d FROM house LIMIT 1;\n", j, v),
	}[r.IntN(19)]
}

// uniqueSQL has values besides the key that must differ, checked at once and
// checked late.
const uniqueSQL = `
CREATE TABLE seat (id int PRIMARY KEY, guest int UNIQUE, v int NOT NULL);
CREATE TABLE late_seat (id int PRIMARY KEY, guest int NOT NULL UNIQUE DEFERRABLE INITIALLY IMMEDIATE, v int NOT NULL);
CREATE TABLE span (id int PRIMARY KEY, at int4range NOT NULL, EXCLUDE USING gist (at WITH &&));
INSERT INTO seat SELECT i, i * 10, 0 FROM generate_series(0, 11) i;
INSERT INTO late_seat SELECT i, i * 10, 0 FROM generate_series(0, 11) i;
INSERT INTO span SELECT i, int4range(i * 10, i * 10 + 10) FROM generate_series(0, 11) i;
`

// CO-10 UniqueSwap: rows swap values that must be unique, and keys are deleted
// and inserted again; no batch makes it fail (P1, P3).
func TestCO10UniqueSwap(t *testing.T) {
	splitCase{
		schema: uniqueSQL,
		tables: []string{"seat", "late_seat", "span"},
		next:   swaps,
		count:  400,
	}.run(t)
}

func swaps(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(3) {
		b.WriteString(swapOf(r))
	}
	return b.String()
}

func swapOf(r *rand.Rand) string {
	i, v := r.IntN(few), r.IntN(1000)
	j := (i + 1 + r.IntN(few-1)) % few
	pair := fmt.Sprintf("id IN (%d, %d)", i, j)
	return []string{
		// Through a value that nobody has.
		fmt.Sprintf("CREATE TEMP TABLE IF NOT EXISTS two (i int, g int);\nDELETE FROM two;\nINSERT INTO two SELECT id, guest FROM seat WHERE %[1]s;\n"+
			"UPDATE seat SET guest = -1 WHERE id = %[2]d;\nUPDATE seat SET guest = (SELECT g FROM two WHERE i = %[2]d) WHERE id = %[3]d;\n"+
			"UPDATE seat SET guest = (SELECT g FROM two WHERE i = %[3]d) WHERE id = %[2]d;\n", pair, i, j),
		// Through NULL.
		fmt.Sprintf("CREATE TEMP TABLE IF NOT EXISTS two (i int, g int);\nDELETE FROM two;\nINSERT INTO two SELECT id, guest FROM seat WHERE %[1]s;\n"+
			"UPDATE seat SET guest = NULL WHERE %[1]s;\nUPDATE seat SET guest = (SELECT g FROM two WHERE i <> id), v = %[2]d WHERE %[1]s;\n", pair, v),
		// In one statement, checked at its end.
		fmt.Sprintf("UPDATE late_seat s SET guest = o.guest, v = %d FROM late_seat o WHERE s.%s AND o.%[2]s AND o.id <> s.id;\n", v, pair),
		"UPDATE late_seat s SET guest = (s.guest + 10) % 120;\n",
		// Checked at the end of the transaction.
		fmt.Sprintf("SET CONSTRAINTS ALL DEFERRED;\nUPDATE late_seat SET guest = 10 * (11 - id) WHERE v %% 3 = %d;\nUPDATE late_seat SET guest = 10 * id;\n", i%3),
		// One key goes and comes back.
		fmt.Sprintf("WITH old AS (DELETE FROM seat WHERE id = %d RETURNING *) INSERT INTO seat SELECT id, guest, %d FROM old;\n", i, v),
		fmt.Sprintf("DELETE FROM late_seat WHERE id = %d;\nINSERT INTO late_seat SELECT %[1]d, g, %d FROM generate_series(0, 110, 10) g WHERE g NOT IN (SELECT guest FROM late_seat) LIMIT 1;\n", i, v),
		// Another key takes the value.
		fmt.Sprintf("CREATE TEMP TABLE IF NOT EXISTS two (i int, g int);\nDELETE FROM two;\nINSERT INTO two SELECT id, guest FROM seat WHERE id = %[1]d;\n"+
			"DELETE FROM seat WHERE id = %[1]d;\nUPDATE seat SET id = %[1]d, guest = (SELECT g FROM two) WHERE id = %[2]d;\n"+
			"INSERT INTO seat SELECT %[2]d, g + 1000 + %[3]d, %[3]d FROM two ON CONFLICT DO NOTHING;\n", i, j, v),
		// Ranges that must not overlap.
		fmt.Sprintf("DELETE FROM span WHERE id = %d;\nUPDATE span SET at = int4range(lower(at) - %[2]d, upper(at) - %[2]d) WHERE id = %d;\n", i, 3, j),
		fmt.Sprintf("UPDATE span SET at = int4range(1000 + %[1]d * 10, 1010 + %[1]d * 10) WHERE id = %[1]d;\nUPDATE span SET at = int4range(%[1]d * 10, %[1]d * 10 + 10) WHERE id = %[2]d;\n", i, j),
		fmt.Sprintf("INSERT INTO span SELECT %d, int4range(g, g + 10) FROM generate_series(0, 300, 10) g WHERE NOT EXISTS (SELECT 1 FROM span WHERE at && int4range(g, g + 10)) LIMIT 1 ON CONFLICT (id) DO NOTHING;\n", i),
		// Keys swap.
		fmt.Sprintf("UPDATE seat SET id = 500 WHERE id = %d;\nUPDATE seat SET id = %[1]d WHERE id = %d;\nUPDATE seat SET id = %[2]d WHERE id = 500;\n", i, j),
	}[r.IntN(12)]
}
