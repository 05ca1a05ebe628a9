// Package debezium compares the format debezium of package encoding with what
// the real Debezium engine makes of the same changes. It has no code of its
// own; its tests have the engine's recorded output in testdata and, in the wide
// run, the engine itself. The folder engine holds the engine's program.
//
// The wide run also gives the topics of our Kafka sink to a consumer that others
// wrote for Debezium's, Apache Flink's format debezium-json; the folder flink
// holds the program around it.
package debezium
