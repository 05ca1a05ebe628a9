INSERT INTO entrain.position VALUES (1); INSERT INTO public.t VALUES (1);
