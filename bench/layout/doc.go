// Package layout holds the benchmarks that decided how a row is laid out in
// memory (docs/adr/0002): the packed row of package entrain against value
// structs, decoded from the same pgoutput message and encoded to native JSON
// and to COPY text. Run: go test -bench . -benchmem ./bench/layout
package layout
