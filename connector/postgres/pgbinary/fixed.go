package pgbinary

// Fixed reports whether a built-in type, or an array of one, has a binary form
// that is the same in all supported versions and means what its text means: one
// server can read what another one sends.
//
// Left out are types whose form depends on more than the value (money, xml, those
// that begin with a version of their own but jsonb) and those whose values name
// objects of one database (regclass).
func Fixed(oid uint32) bool {
	if of, ok := elements[oid]; ok {
		oid = of
	}
	return forms[oid] != nil || others[oid]
}

// others are types without a [Form] here, by the oid of pg_type.
var others = map[uint32]bool{
	600:  true, // point
	601:  true, // lseg
	602:  true, // path
	603:  true, // box
	604:  true, // polygon
	628:  true, // line
	650:  true, // cidr
	718:  true, // circle
	774:  true, // macaddr8
	829:  true, // macaddr
	869:  true, // inet
	1186: true, // interval
	1266: true, // timetz
	1560: true, // bit
	1562: true, // varbit
	3220: true, // pg_lsn
	3614: true, // tsvector
	3904: true, // int4range
	3906: true, // numrange
	3908: true, // tsrange
	3910: true, // tstzrange
	3912: true, // daterange
	3926: true, // int8range
	4451: true, // int4multirange
	4532: true, // nummultirange
	4533: true, // tsmultirange
	4534: true, // tstzmultirange
	4535: true, // datemultirange
	4536: true, // int8multirange
}

// elements are what arrays are made of.
var elements = map[uint32]uint32{
	199: 114, 629: 628, 651: 650, 719: 718, 775: 774,
	1000: 16, 1001: 17, 1003: 19, 1005: 21, 1007: 23, 1009: 25, 1014: 1042, 1015: 1043, 1016: 20, 1017: 600, 1018: 601, 1019: 602,
	1020: 603, 1021: 700, 1022: 701, 1027: 604, 1028: 26, 1040: 829, 1041: 869,
	1115: 1114, 1182: 1082, 1183: 1083, 1185: 1184, 1187: 1186, 1231: 1700, 1270: 1266, 1561: 1560, 1563: 1562,
	2951: 2950, 3221: 3220, 3643: 3614, 3807: 3802,
	3905: 3904, 3907: 3906, 3909: 3908, 3911: 3910, 3913: 3912, 3927: 3926,
	6150: 4451, 6151: 4532, 6152: 4533, 6153: 4534, 6155: 4535, 6157: 4536,
}
