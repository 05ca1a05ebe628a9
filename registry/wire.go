package registry

import "encoding/binary"

// Type is the language of a schema.
type Type uint8

// The languages.
const (
	Avro Type = iota + 1
	Protobuf
	JSON
)

// AppendHeader appends what Confluent's wire format has in front of a payload:
// a zero, the schema's id in four bytes and, for [Protobuf], which message of the
// schema it is: the first one, which one zero says.
func AppendHeader(dst []byte, t Type, id int) []byte {
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(id))
	if t == Protobuf {
		dst = append(dst, 0)
	}
	return dst
}

// HeaderBytes is more than any header of the wire format has.
const HeaderBytes = 6
