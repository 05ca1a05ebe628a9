// Package pgtest gives tests real PostgreSQL servers and small ways to talk to
// them. Nothing here skips: a test that cannot have its server fails.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestX(t *testing.T) {
//		for _, major := range pgtest.Majors(t) {
//			url := pgtest.CreateDatabase(t, pgtest.Shared(t, major))
//			pgtest.Exec(t, url, "CREATE TABLE ...")
//		}
//	}
package pgtest
