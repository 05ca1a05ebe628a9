package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
)

// bbolt maps its file into memory and trusts it: on a damaged one it can
// panic, fault or loop. So every page is checked here, by plain reads, before
// bbolt sees the file. Both meta pages must be valid: after damage to the newer
// one bbolt would go back to an older state without a word.
//
// The layout is bbolt's: a page has a header of 16 bytes (id, flags, count,
// overflow), branch and leaf pages have elements of 16 bytes, integers are in
// the machine's order.
const (
	headerSize  = 16
	elementSize = 16
	metaSize    = 64
	bucketSize  = 16

	magic       = 0xED0CDAED
	boltVersion = 2

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	bucketElement = 0x01
	maxDepth      = 32
)

var order = binary.NativeEndian

type meta struct {
	pageSize                   int
	root, freelist, end, count uint64 // page ids; count: of transactions
}

// verifier walks the pages of one file.
type verifier struct {
	file *os.File
	size int64
	meta meta
	used map[uint64]string // what each page was found to be
}

// verifyFile reports the first damage of a bbolt file that nobody writes to.
func verifyFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	v := &verifier{file: f, size: info.Size(), used: map[uint64]string{}}
	return v.verify()
}

func (v *verifier) verify() error {
	if err := v.readMetas(); err != nil {
		return err
	}
	if need := int64(v.meta.end) * int64(v.meta.pageSize); v.size < need {
		return fmt.Errorf("%d bytes long, should be at least %d", v.size, need)
	}
	if err := v.tree(v.meta.root, 0); err != nil {
		return err
	}
	if err := v.freelist(); err != nil {
		return err
	}
	if got, want := uint64(len(v.used)), v.meta.end-2; got != want {
		return fmt.Errorf("%d of %d pages are neither used nor free", want-got, want)
	}
	return nil
}

func (v *verifier) readMetas() error {
	first, err := v.readMeta(0)
	if err != nil {
		return fmt.Errorf("first meta page: %w", err)
	}
	second, err := v.readMeta(int64(first.pageSize))
	if err != nil {
		return fmt.Errorf("second meta page: %w", err)
	}
	if second.pageSize != first.pageSize || first.count == second.count {
		return errors.New("the meta pages do not fit each other")
	}
	v.meta = first
	if second.count > first.count {
		v.meta = second
	}
	return nil
}

func (v *verifier) readMeta(at int64) (meta, error) {
	page := make([]byte, headerSize+metaSize)
	if _, err := v.file.ReadAt(page, at); err != nil {
		return meta{}, err
	}
	b := page[headerSize:]
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	m := meta{
		pageSize: int(order.Uint32(b[8:])), root: order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]), end: order.Uint64(b[40:]), count: order.Uint64(b[48:]),
	}
	switch {
	case order.Uint32(b) != magic || order.Uint32(b[4:]) != boltVersion:
		return m, errors.New("not a state file")
	case order.Uint64(b[56:]) != sum.Sum64():
		return m, errors.New("wrong checksum")
	case order.Uint16(page[8:]) != flagMeta:
		return m, errors.New("wrong page type")
	case m.pageSize < 1<<9 || m.pageSize > 1<<20 || m.pageSize&(m.pageSize-1) != 0 || m.end < 4 || m.end > 1<<40:
		return m, errors.New("impossible sizes")
	}
	return m, nil
}

// page reads a page with its overflow and notes it as used.
func (v *verifier) page(id uint64, what string) ([]byte, error) {
	if id < 2 || id >= v.meta.end {
		return nil, fmt.Errorf("%s page %d is out of bounds", what, id)
	}
	size := int64(v.meta.pageSize)
	header := make([]byte, headerSize)
	if _, err := v.file.ReadAt(header, int64(id)*size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	overflow := uint64(order.Uint32(header[12:]))
	if order.Uint64(header) != id || id+overflow >= v.meta.end {
		return nil, fmt.Errorf("page %d has a wrong header", id)
	}
	for p := id; p <= id+overflow; p++ {
		if err := v.use(p, what); err != nil {
			return nil, err
		}
	}
	page := make([]byte, (overflow+1)*uint64(size))
	if _, err := v.file.ReadAt(page, int64(id)*size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return page, nil
}

func (v *verifier) use(id uint64, what string) error {
	if before := v.used[id]; before != "" {
		return fmt.Errorf("page %d is %s and %s", id, before, what)
	}
	v.used[id] = what
	return nil
}

// tree walks the B+tree below a page; depth counts its levels.
func (v *verifier) tree(id uint64, depth int) error {
	page, err := v.page(id, "tree")
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return fmt.Errorf("page %d lies too deep", id)
	}
	flags := order.Uint16(page[8:])
	if flags != flagBranch && flags != flagLeaf {
		return fmt.Errorf("page %d is of type %#x", id, flags)
	}
	children, err := elements(page)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if flags == flagBranch && len(children) == 0 {
		return fmt.Errorf("page %d has no children", id)
	}
	for _, child := range children {
		if err := v.tree(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// elements checks the elements of a branch or leaf page and returns the pages
// below it.
func elements(page []byte) ([]uint64, error) {
	var children []uint64
	var last []byte
	element := leafElement
	if order.Uint16(page[8:]) == flagBranch {
		element = branchElement
	}
	count := int(order.Uint16(page[10:]))
	for i := range count {
		at := headerSize + i*elementSize
		if at+elementSize > len(page) {
			return nil, errors.New("more elements than fit")
		}
		e := element(page[at:])
		first, end := uint64(at)+e.pos, uint64(at)+e.pos+e.keySize+e.valueSize
		if first < uint64(headerSize+count*elementSize) || end > uint64(len(page)) {
			return nil, fmt.Errorf("element %d is out of bounds", i)
		}
		key, value := page[first:first+e.keySize], page[first+e.keySize:end]
		if i > 0 && string(key) <= string(last) {
			return nil, fmt.Errorf("element %d is out of order", i)
		}
		last = key
		below, err := e.children(value)
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		children = append(children, below...)
	}
	return children, nil
}

type pageElement struct {
	pos, keySize, valueSize uint64
	flags                   uint32
	branch                  bool
	child                   uint64 // of a branch
}

func leafElement(b []byte) pageElement {
	return pageElement{
		flags: order.Uint32(b), pos: uint64(order.Uint32(b[4:])),
		keySize: uint64(order.Uint32(b[8:])), valueSize: uint64(order.Uint32(b[12:])),
	}
}

func branchElement(b []byte) pageElement {
	return pageElement{
		pos: uint64(order.Uint32(b)), keySize: uint64(order.Uint32(b[4:])),
		branch: true, child: order.Uint64(b[8:]),
	}
}

// children returns the page below a branch's element or a bucket. A small
// bucket has none: its only page is inside the value.
func (e pageElement) children(value []byte) ([]uint64, error) {
	switch {
	case e.branch:
		return []uint64{e.child}, nil
	case e.flags == 0:
		return nil, nil
	case e.flags != bucketElement || len(value) < bucketSize:
		return nil, errors.New("not a value and not a bucket")
	}
	if root := order.Uint64(value); root != 0 {
		return []uint64{root}, nil
	}
	inside := value[bucketSize:]
	if len(inside) < headerSize || order.Uint16(inside[8:]) != flagLeaf {
		return nil, errors.New("not a bucket")
	}
	return elements(inside)
}

func (v *verifier) freelist() error {
	page, err := v.page(v.meta.freelist, "freelist")
	if err != nil {
		return err
	}
	if order.Uint16(page[8:]) != flagFreelist {
		return errors.New("the freelist's page is of another type")
	}
	ids := page[headerSize:]
	count := uint64(order.Uint16(page[10:]))
	if count == 0xFFFF {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return errors.New("the freelist is longer than its page")
	}
	for i := range count {
		id := order.Uint64(ids[i*8:])
		if id < 2 || id >= v.meta.end {
			return fmt.Errorf("free page %d is out of bounds", id)
		}
		if err := v.use(id, "free"); err != nil {
			return err
		}
	}
	return nil
}
