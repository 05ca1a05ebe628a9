INSERT INTO "sch.ema ""q"""."ta.ble'""; DROP TABLE x; --" VALUES (1, 'x', 'y');

UPDATE "sch.ema ""q"""."ta.ble'""; DROP TABLE x; --" SET "co""l.1" = 2;

INSERT INTO public."new
line	tab" VALUES (1, 'ü');

INSERT INTO public."Twin" VALUES (1, 2); INSERT INTO public.twin VALUES (3, 4);

INSERT INTO public."user" VALUES (1, 'o', 's', 'q');

INSERT INTO public.x23456789012345678901234567890123456789012345678901234567890123 VALUES (1);

INSERT INTO public." " VALUES (1, 'a''b'), (2, 'c"d'), (3, E'e\\f');

TRUNCATE public." ", public."Twin";
