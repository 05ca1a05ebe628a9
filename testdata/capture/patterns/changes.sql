INSERT INTO public.audit_log VALUES (1); INSERT INTO public.kept VALUES (1); INSERT INTO public.kept_old VALUES (1); INSERT INTO shop.items VALUES (1); INSERT INTO shop.orders VALUES (1); INSERT INTO entrain.position VALUES (1);

INSERT INTO public.audit_log VALUES (2);

TRUNCATE public.kept, public.audit_log, shop.items;

TRUNCATE public.audit_log;

CREATE TABLE public.later (id int PRIMARY KEY);

INSERT INTO public.later VALUES (1);
