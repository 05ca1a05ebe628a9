INSERT INTO numbers VALUES (1, 1, 2, 3, 1.50, 1.50, 123456789012345678901234567890, 1200, 0.1, 0.1, 1234.56, 42, true)

INSERT INTO numbers VALUES (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)

INSERT INTO numbers VALUES (3, -32768, -2147483648, -9223372036854775808, -123456789012345678901234567890.000000000000000000001, -999.99, -1, -999900, '-Infinity', '-Infinity', -92233720368547758.08, 4294967295, false)

INSERT INTO numbers VALUES (4, 32767, 2147483647, 9223372036854775807, 0, 0, 0, 0, 'Infinity', 'Infinity', 92233720368547758.07, 0, NULL)

INSERT INTO numbers VALUES (5, 0, 0, 9007199254740993, 128, -1.28, -128, 100, 1e20, 1e300, -0.05, 1, true)

INSERT INTO numbers VALUES (6, 0, 0, 0, 1000000, 2.55, 255, -100, -0.0, -0.0, 0, 1, true)

INSERT INTO numbers VALUES (7, 0, 0, 0, 0.00, 0.00, 99999999999999999999, 0, 1e-10, 1e-7, 1, 1, true)

INSERT INTO numbers VALUES (8, 0, 0, 0, 1e30, 1, 99999999999999999999, 0, 123456.7, 12345678.9, 1, 1, true)

INSERT INTO numbers VALUES (9, 0, 0, 0, -0.000000000000000000000000000000000001, 1, 18446744073709551615, 0, 1234567.8, 0.001, 1, 1, true)

INSERT INTO numbers VALUES (10, 0, 0, 0, 1, 1, 9223372036854775808, 0, 16777216, 9007199254740993, 1, 1, true)

INSERT INTO numbers (id, f4, f8) VALUES (11, 'NaN', 'NaN')

INSERT INTO numbers (id, n) VALUES (12, 'NaN')

INSERT INTO numbers (id, n52) VALUES (13, 'NaN')

INSERT INTO numbers (id, n) VALUES (14, 'Infinity')

INSERT INTO numbers (id, f4, f8) VALUES (15, '-0', '-0')

INSERT INTO times VALUES (1, '2026-11-22', '12:34:56.123456', '12:34:56', '12:34:56.789', '12:34:56.123456+02', '12:34:56.5-03:30', '2026-11-22 12:34:56.123456', '2026-11-22 12:34:56', '2026-11-22 12:34:56.789', '2026-11-22 12:34:56.7891', '2026-11-22 12:34:56.123456+02', '2026-11-22 12:34:56+00', '2026-11-22 12:34:56.120+00', '1 year 2 mons 3 days 04:05:06.789012')

INSERT INTO times (id) VALUES (2)

INSERT INTO times VALUES (3, '1969-12-31', '00:00', '00:00', '00:00', '00:00+00', '00:00:00+15:59', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59', '1969-12-31 23:59:59.999', '0001-01-01 00:00:00', '0001-01-01 00:00:00+00', '1883-11-18 12:03:58+00', '1969-12-31 23:59:59.999+00', '-1 day')

INSERT INTO times (id, t, t0, t3, tz) VALUES (4, '24:00', '24:00', '24:00', '24:00:00+00')

INSERT INTO times (id, d) VALUES (5, '0044-03-15 BC')

INSERT INTO times (id, d) VALUES (6, 'infinity')

INSERT INTO times (id, d) VALUES (7, '-infinity')

INSERT INTO times (id, ts, ts0, ts3) VALUES (8, 'infinity', 'infinity', 'infinity')

INSERT INTO times (id, ts, ts0, ts3) VALUES (9, '-infinity', '-infinity', '-infinity')

INSERT INTO times (id, tstz, tstz0) VALUES (10, 'infinity', '-infinity')

INSERT INTO times (id, ts, tstz) VALUES (11, '0044-03-15 12:00 BC', '0044-03-15 12:00+00 BC')

INSERT INTO times (id, d, ts, tstz) VALUES (12, '12026-01-02', '12026-01-02 03:04:05.6', '12026-01-02 03:04:05.6+00')

INSERT INTO times (id, d, ts) VALUES (13, '5874897-12-31', '294276-12-31 23:59:59.999999')

INSERT INTO times (id, i) VALUES (14, '-1 year -2 mons +3 days -04:05:06.5')

INSERT INTO times (id, i) VALUES (15, '0')

INSERT INTO times (id, i) VALUES (16, '100:00:00.000001')

INSERT INTO times (id, i) VALUES (17, '178000000 years')

INSERT INTO times (id, d, ts) VALUES (18, '1582-10-10', '1500-02-28 12:00')

INSERT INTO times (id, i) VALUES (19, '5 mons')

INSERT INTO texts VALUES (1, E'tab\tquote"back\\slash ünï 😀\x01', 'abc', 'ab', 'x', 'a name', '\x00ff10', '{"b": 1,  "a":[1,2]}', '{"b": 1,  "a":[1,2]}', '<a b="c">d</a>', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'a fat cat', 'fat & cat', '$.a[*]')

INSERT INTO texts (id) VALUES (2)

INSERT INTO texts VALUES (3, '', '', '', '', '', '', '""', 'null', '', '00000000-0000-0000-0000-000000000000', '', '', '$')

INSERT INTO texts (id, t, b, jb) VALUES (4, E'</script>\u2028\u2029\x7f/', '\xfbefbe', '"é"')

INSERT INTO nets VALUES (1, '192.168.0.1', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', '1', '10110', repeat('10', 35)::bit(70), '101', '101', '16/B374D848', '123', '5', '(1,2)')

INSERT INTO nets (id) VALUES (2)

INSERT INTO nets VALUES (3, '2001:db8::1/64', '2001:db8::/32', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', '0', '00000', repeat('1', 70)::bit(70), '', '111111111', '0/0', '18446744073709551615', '0', '(0,0)')

INSERT INTO nets (id, b1, b5, vb) VALUES (4, '1', '00001', '100000000000000000')

INSERT INTO shapes VALUES (1, '(1.5,-2)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '((0,0),(1,1))', '((0,0),(1,0),(1,1))', '<(0,0),1>')

INSERT INTO shapes (id) VALUES (2)

INSERT INTO shapes (id, p) VALUES (3, '(1e300,0.1)')

INSERT INTO ranges VALUES (1, '[1,5)', '[1,5)', '[1.5,2.5]', '[2026-01-01,2026-01-02)', '[2026-01-01 00:00+00,2026-01-02 00:00+00)', '[2026-01-01,2026-01-02)', '{[1,2),[3,4)}')

INSERT INTO ranges (id) VALUES (2)

INSERT INTO ranges VALUES (3, 'empty', '(,)', '(,1]', '[2026-01-01,infinity)', '(,)', 'empty', '{}')

INSERT INTO named VALUES (1, 'ok "quoted"', 7, 12.5, '(1,"a b")', 'a=>1,"b c"=>NULL, "q\"x"=>"y\\z"', 'Top.Science', 'CaSe')

INSERT INTO named (id) VALUES (2)

INSERT INTO named VALUES (3, 'ünï', 1, -0.01, '(,)', '', '', '')

INSERT INTO arrays VALUES (1, '{1,2,NULL}', '{1}', '{9007199254740993}', '{a,"b c","d\"e\\f",NULL,"NULL",""}', '{a}', '{a}', '{{1,2},{3,4}}', '{t,f,NULL}', '{0.1}', '{0.1,1e300}', '{1.5,2}', '{1.5}', '{2026-11-22,NULL}', '{"2026-11-22 12:34:56.123456"}', '{"2026-11-22 12:34:56.123456+02"}', '{12:34:56.5}', '{12:34:56.5+02}', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', ARRAY['{"a": 1}'::json], ARRAY['{"a": 1}'::jsonb, NULL], ARRAY['\x00ff'::bytea], '{10.0.0.1}', '{"[1,5)"}', '{sad,NULL,"ok \"quoted\""}', ARRAY['(1,a)'::pair], '{"1 day"}', '{1,4294967295}', '{<a/>}', '{1.5}', '{101}', '{Ab}', '{10.0.0.0/8}', '{"(1,2)"}', ARRAY['a=>1'::hstore], '{a.b}')

INSERT INTO arrays (id) VALUES (2)

INSERT INTO arrays (id, ai, at, an, ad, amo, ab, aa) VALUES (3, '{}', '{}', '{}', '{}', '{}', '{}', '[0:1]={7,8}')

INSERT INTO arrays (id, amo, abi) VALUES (4, '{sad}', '{}')

INSERT INTO arrays (id, amo, abi) VALUES (5, '{sad,NULL}', '{NULL}')

INSERT INTO arrays (id, amo, aa) VALUES (6, '{"ok \"quoted\""}', '{{1},{2}}')

INSERT INTO pairs VALUES (1, 'one', 'x')

UPDATE pairs SET v = 'y'

UPDATE pairs SET a = 2, v = 'z'

UPDATE pairs SET v = NULL

DELETE FROM pairs

INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (NULL, NULL)

UPDATE keyless SET b = 'y' WHERE a = 1

DELETE FROM keyless

INSERT INTO full_keyed VALUES (1, 'a', 1), (2, NULL, 2)

UPDATE full_keyed SET v = 'b'

UPDATE full_keyed SET id = id + 10

DELETE FROM full_keyed

INSERT INTO big SELECT 1, 1, string_agg(md5(i::text), ''), jsonb_agg(md5(i::text)), string_agg(decode(md5(i::text), 'hex'), ''), array_agg(i), repeat('123456789', 700)::numeric, array_agg(md5(i::text)) FROM generate_series(1, 600) i

UPDATE big SET n = 2

UPDATE big SET id = 2

UPDATE big SET body = 'short'

ALTER TABLE big REPLICA IDENTITY FULL

UPDATE big SET n = 3

DELETE FROM big

INSERT INTO big2 SELECT 1, 1, translate(string_agg(md5(i::text), ''), 'abcdef', '123456')::numeric, array_agg(i), array_agg(md5(i::text)::uuid), array_agg(i), array_agg(i), array_agg('2026-01-01'::date + i), array_agg('2026-01-01'::timestamp + i * interval '1 day'), hstore('k', string_agg(md5(i::text), '')), ('<a>' || string_agg(md5(i::text), '') || '</a>')::xml, string_agg(i::bit(8)::text, '')::varbit, to_tsvector('simple', string_agg(md5(i::text), ' ')), array_agg(i > 5), array_agg('\x00'::bytea), array_agg('sad'::mood), to_json(string_agg(md5(i::text), '')), string_agg(md5(i::text), '') FROM generate_series(1, 3000) i

UPDATE big2 SET n = 2

INSERT INTO required VALUES (1, 5, 'x', 2.5, true, '2026-01-01', NULL)

UPDATE required SET i = 6

UPDATE required SET id = 2

DELETE FROM required

INSERT INTO "od.d"."Na me-ü" VALUES (1, 'x', 'y')

UPDATE "od.d"."Na me-ü" SET "I d" = 2

DELETE FROM "od.d"."Na me-ü"

INSERT INTO indexed VALUES (1, 'one', 'x')

UPDATE indexed SET c = 'y'

UPDATE indexed SET b = 'two'

UPDATE indexed SET a = 2

DELETE FROM indexed

BEGIN; INSERT INTO pairs VALUES (1, 'a', 'x'), (2, 'b', 'y'); INSERT INTO keyless VALUES (5, 'five'); UPDATE pairs SET v = 'q' WHERE a = 1; SELECT pg_logical_emit_message(true, 'app', 'inside'); DELETE FROM pairs WHERE a = 2; COMMIT

SELECT pg_logical_emit_message(true, 'app', 'hello')

SELECT pg_logical_emit_message(false, 'app', '\x00ff10'::bytea)

SELECT pg_logical_emit_message(true, '', '')

TRUNCATE pairs, keyless RESTART IDENTITY CASCADE

INSERT INTO pairs VALUES (3, 'after', 'truncate')

ALTER TABLE pairs ADD extra int DEFAULT 5

INSERT INTO pairs VALUES (4, 'wide', 'x', 6)

COPY pairs (a, b) FROM PROGRAM 'printf "10\tcopy\n11\tcopy\n"'
