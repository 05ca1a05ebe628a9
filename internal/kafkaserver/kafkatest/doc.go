// Package kafkatest gives tests real Kafka brokers.
//
//	func TestMain(m *testing.M) { pgtest.Main(m, kafkatest.Remove) }
//
//	func TestX(t *testing.T) {
//		broker := kafkatest.Start(t).Addr()
//		...
//	}
//
// A test that cannot have a broker, for want of Java or of a download, is
// skipped and says so; with ENTRAIN_TEST_WIDE=1 it fails.
package kafkatest
