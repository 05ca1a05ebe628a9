INSERT INTO shop.t VALUES (1); INSERT INTO public.t VALUES (1);

CREATE TABLE shop.later (id int PRIMARY KEY, v text);

INSERT INTO shop.later VALUES (1, 'a'); UPDATE shop.later SET v = 'b'; INSERT INTO shop.scratch VALUES (1);

ALTER TABLE public.t RENAME TO moved;

BEGIN; ALTER TABLE public.moved SET SCHEMA shop; INSERT INTO shop.moved VALUES (2); ALTER TABLE shop.t SET SCHEMA public; INSERT INTO public.t VALUES (3); COMMIT;
