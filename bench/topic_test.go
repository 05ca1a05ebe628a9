package main

import "testing"

func TestRowID(t *testing.T) {
	for value, want := range map[string]int64{
		`{"v":1,"id":"source/1-2/3/4","op":"insert","table":"t","after":{"id":17,"name":"x"},"tx":{"id":9}}`: 17,
		`{"v":1,"op":"insert","after":{"id":"-200"}}`:                                                        -200,
		`{"before":null,"after":{"id":5,"customer":1},"source":{"lsn":8},"op":"c"}`:                          5,
	} {
		if got, ok := rowID([]byte(value)); !ok || got != want {
			t.Errorf("rowID(%s) = %d, %v, want %d", value, got, ok, want)
		}
	}
	for _, other := range []string{
		"", `{"op":"schema","after":{"fingerprint":"1a"}}`, `{"op":"delete","before":{"id":1}}`, `{"after":{"id":`, `{"after":{"id":null}}`,
	} {
		if got, ok := rowID([]byte(other)); ok {
			t.Errorf("rowID(%s) = %d, want none", other, got)
		}
	}
}
