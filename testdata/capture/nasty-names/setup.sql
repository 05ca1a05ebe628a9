CREATE SCHEMA "sch.ema ""q""";

CREATE TABLE "sch.ema ""q"""."ta.ble'""; DROP TABLE x; --" ("co""l.1" int PRIMARY KEY, "select" text, "a\b%_" text);

CREATE TABLE public."new
line	tab" ("🎉" int PRIMARY KEY, "ünï" text);

CREATE TABLE public."Twin" ("A" int PRIMARY KEY, a int);

CREATE TABLE public.twin (a int PRIMARY KEY, "A" int);

CREATE TABLE public."user" ("table" int PRIMARY KEY, "order" text, "*" text, "?" text);

CREATE TABLE public.x23456789012345678901234567890123456789012345678901234567890123 (y23456789012345678901234567890123456789012345678901234567890123 int PRIMARY KEY);

CREATE TYPE "sch.ema ""q"""."ty.pe '🎉'" AS ENUM ('a''b', 'c"d', E'e\\f');

CREATE TABLE public." " (" " int PRIMARY KEY, t "sch.ema ""q"""."ty.pe '🎉'");
