CREATE TABLE parent (id int PRIMARY KEY, v text); CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE); CREATE TABLE orphan (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE SET NULL);

CREATE TABLE audit (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);

CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit (what) VALUES (tg_op || ' ' || coalesce(new.id, old.id)); NEW.v = upper(NEW.v); RETURN coalesce(new, old); END $$;

CREATE TRIGGER note BEFORE INSERT OR UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION note();

CREATE TABLE ruled (id int PRIMARY KEY); CREATE RULE away AS ON INSERT TO ruled WHERE new.id < 0 DO INSTEAD INSERT INTO orphan VALUES (new.id, NULL);
