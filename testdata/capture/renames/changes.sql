INSERT INTO a.t VALUES (1, 'old'); INSERT INTO a.u VALUES (1, 1); INSERT INTO a.m VALUES (1, 'sad');

BEGIN; INSERT INTO a.t VALUES (2, 'old'); ALTER TABLE a.t RENAME TO t_old; CREATE TABLE a.t (id int PRIMARY KEY, w int); INSERT INTO a.t VALUES (2, 22); INSERT INTO a.t_old VALUES (3, 'old'); COMMIT;

BEGIN; ALTER TABLE a.t RENAME TO swap; ALTER TABLE a.t_old RENAME TO t; ALTER TABLE a.swap RENAME TO t_old; INSERT INTO a.t VALUES (4, 'was t first'); INSERT INTO a.t_old VALUES (4, 44); COMMIT;

BEGIN; ALTER TABLE a.u SET SCHEMA public; CREATE TABLE a.u (id int PRIMARY KEY, other text); INSERT INTO a.u VALUES (2, 'new'); ALTER TYPE a.mood RENAME TO feeling; INSERT INTO public.u VALUES (3, 3); UPDATE a.m SET id = 3 WHERE id = 1; COMMIT;

BEGIN; DROP TABLE a.u; CREATE TABLE a.u (id int PRIMARY KEY, third bool); INSERT INTO a.u VALUES (3, true); COMMIT;

ALTER TABLE public.u RENAME COLUMN id TO key; UPDATE public.u SET key = 30 WHERE key = 3; ALTER TABLE public.u RENAME n TO id; UPDATE public.u SET id = 0;
