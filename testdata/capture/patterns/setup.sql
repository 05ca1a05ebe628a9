-- include: public.* shop.order*
-- exclude: public.audit_* *.*_old
CREATE SCHEMA shop;

CREATE SCHEMA entrain;

CREATE TABLE public.kept (id int PRIMARY KEY); CREATE TABLE public.audit_log (id int PRIMARY KEY); CREATE TABLE public.kept_old (id int PRIMARY KEY); CREATE TABLE shop.orders (id int PRIMARY KEY); CREATE TABLE shop.items (id int PRIMARY KEY); CREATE TABLE entrain.position (id int PRIMARY KEY);

CREATE PUBLICATION pub FOR ALL TABLES;
