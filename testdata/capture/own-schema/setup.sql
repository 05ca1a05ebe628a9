-- include: entrain.* public.*
CREATE SCHEMA entrain;

CREATE TABLE entrain.position (id int PRIMARY KEY);

CREATE TABLE public.t (id int PRIMARY KEY);
