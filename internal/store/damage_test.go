package store

import (
	"bytes"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// saved makes a state with a history, and returns its bytes.
func saved(t *testing.T, dir string) (path string, text []byte) {
	t.Helper()
	s := open(t, dir, "shop")
	for n := range 20 {
		save(t, s, checkpoint(n+1))
	}
	s.Close()
	path = filepath.Join(Folder(dir, "shop"), fileName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, text
}

// refusedOrWhole opens what text holds: it must be refused as damaged, or be
// exactly the last saved state.
func refusedOrWhole(t *testing.T, dir string, what string, text []byte) (refused bool) {
	t.Helper()
	path := filepath.Join(Folder(dir, "shop"), fileName)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, "shop")
	if err != nil {
		if stopCode(err) != "state_corrupt" {
			t.Errorf("%s: %v", what, err)
		}
		return true
	}
	defer s.Close()
	if got := load(t, s); got.Position != checkpoint(20).Position || !bytes.Equal(got.Mark, checkpoint(20).Mark) {
		t.Errorf("%s: was taken as %+v", what, got)
	}
	return false
}

// A state that was cut short is refused by name, whatever its length (P5).
func TestTruncated(t *testing.T) {
	dir := t.TempDir()
	_, text := saved(t, dir)
	end := usedEnd(t, dir)
	sizes := []int{0, 1, 15, 16, 79, 80, 4095, 4096, 4097, 8191, 8192, end - 1}
	for i := 0; i < 200; i++ {
		sizes = append(sizes, rand.IntN(end))
	}
	for _, size := range sizes {
		if !refusedOrWhole(t, dir, "truncated", text[:size]) {
			t.Errorf("%d of %d bytes were taken as whole", size, end)
		}
	}
	if refusedOrWhole(t, dir, "whole", text) {
		t.Error("the undamaged state was refused")
	}
}

// usedEnd is where the pages end that the state consists of; bbolt keeps some
// room behind them.
func usedEnd(t *testing.T, dir string) int {
	t.Helper()
	f, err := os.Open(filepath.Join(Folder(dir, "shop"), fileName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v := &verifier{file: f, used: map[uint64]string{}}
	if err := v.readMetas(); err != nil {
		t.Fatal(err)
	}
	return int(v.meta.end) * v.meta.pageSize
}

// One changed bit anywhere is found, or was in a byte that means nothing: an
// older state is never taken for the last one (P5).
func TestBitFlips(t *testing.T) {
	dir := t.TempDir()
	_, text := saved(t, dir)
	refused := 0
	for at := range usedEnd(t, dir) {
		if text[at] == 0 && at%97 != 0 {
			continue // mostly empty room
		}
		bit := byte(1) << rand.IntN(8)
		text[at] ^= bit
		if refusedOrWhole(t, dir, "bit flip", text) {
			refused++
		}
		if t.Failed() {
			t.Fatalf("at byte %d, bit %#x", at, bit)
		}
		text[at] ^= bit
	}
	if refused < 100 {
		t.Errorf("only %d flips were refused", refused)
	}
}

// Scribbled pages, from one to all of them, are refused or harmless.
func TestScribbledPages(t *testing.T) {
	dir := t.TempDir()
	_, whole := saved(t, dir)
	end := usedEnd(t, dir)
	for range 300 {
		text := bytes.Clone(whole)
		from := rand.IntN(end)
		to := min(len(text), from+1+rand.IntN(8192))
		for i := from; i < to; i++ {
			text[i] = byte(rand.Uint32())
		}
		refusedOrWhole(t, dir, "scribble", text)
	}
	for _, text := range [][]byte{bytes.Repeat([]byte{0}, 32<<10), bytes.Repeat([]byte{0xff}, 32<<10), []byte("name: shop\n")} {
		if !refusedOrWhole(t, dir, "garbage", text) {
			t.Error("garbage was taken as whole")
		}
	}
}

// The page check knows what bbolt writes when trees are deep, values long and
// pages freed.
func TestVerifyTakesWhatBboltWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := openDB(path)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 12 {
		err := db.Update(func(tx *bbolt.Tx) error { return churn(tx, round) })
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := verifyFile(path); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func churn(tx *bbolt.Tx, round int) error {
	for name := range 3 {
		var keys [][]byte
		b, err := tx.CreateBucketIfNotExists([]byte{byte('a' + name)})
		if err != nil {
			return err
		}
		if _, err := b.CreateBucketIfNotExists([]byte("\x00inner")); err != nil {
			return err
		}
		for range 200 {
			key, value := make([]byte, 1+rand.IntN(30)), make([]byte, rand.IntN(9000)*rand.IntN(2))
			key[0] = byte(1 + rand.IntN(255))
			if err := b.Put(key, value); err != nil {
				return err
			}
		}
		if round%3 != 2 {
			continue
		}
		if err := b.ForEach(func(k, _ []byte) error { keys = append(keys, k); return nil }); err != nil {
			return err
		}
		for _, k := range keys {
			if len(k) > 0 && k[0] != 0 {
				err = errors.Join(err, b.Delete(k))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FuzzOpen damages pages behind valid checksums: what the page check lets pass
// must be safe for bbolt.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	s, err := Open(dir, "shop")
	if err != nil {
		f.Fatal(err)
	}
	for n := range 3 {
		if err := s.Save(f.Context(), checkpoint(n)); err != nil {
			f.Fatal(err)
		}
	}
	s.Close()
	path := filepath.Join(Folder(dir, "shop"), fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), []byte{0})
	f.Add(uint16(headerSize+metaSize-24), []byte{9})
	f.Add(uint16(2*os.Getpagesize()+8), []byte{0x10, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint16, damage []byte) {
		text := bytes.Clone(whole)
		copy(text[at:], damage)
		reseal(text)
		reseal(text[os.Getpagesize():])
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, "shop")
		if err != nil {
			if stopCode(err) == "" {
				t.Fatalf("not a named stop: %v", err)
			}
			return
		}
		defer s.Close()
		if _, err := s.Load(t.Context()); err != nil {
			t.Fatalf("opened, but: %v", err)
		}
		if err := s.Save(t.Context(), checkpoint(7)); err != nil {
			t.Fatalf("opened, but: %v", err)
		}
	})
}

// reseal gives a meta page the checksum of what it holds.
func reseal(page []byte) {
	b := page[headerSize : headerSize+metaSize]
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	order.PutUint64(b[metaSize-8:], sum.Sum64())
}
