"""A database with one of everything that clients list: what `\\d` and its like, dumps and tools have to read.

`build` makes it on a server, in a database of its own; the gateway's role owns what a plain role can own.
"""

from __future__ import annotations

from typing import Final

from tests.support.postgres import GATEWAY, PostgresServer

#: What the gateway's role makes itself.
OWN: Final = r"""
CREATE SCHEMA zoo;
COMMENT ON SCHEMA zoo IS 'one of everything';
CREATE TYPE zoo.mood AS ENUM ('sad', 'fine', 'glad');
COMMENT ON TYPE zoo.mood IS 'as animals say';
CREATE TYPE zoo.place AS (street text, "Postal Code" varchar(10));
CREATE TYPE zoo.span AS RANGE (subtype = numeric);
CREATE DOMAIN zoo.weight AS numeric(8, 3) DEFAULT 1 NOT NULL CONSTRAINT positive CHECK (VALUE > 0);
CREATE SEQUENCE zoo.tickets AS integer START 100 INCREMENT BY 5 MAXVALUE 100000 CYCLE;
CREATE TABLE zoo.keepers (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    "Mixed Case" varchar(20) DEFAULT 'it''s',
    home zoo.place
);
CREATE TABLE zoo.animals (
    id bigserial PRIMARY KEY,
    name text NOT NULL,
    feeling zoo.mood DEFAULT 'fine',
    kilograms numeric(8, 3) CHECK (kilograms > 0),
    pounds numeric GENERATED ALWAYS AS (kilograms * 2.2) STORED,
    keeper integer REFERENCES zoo.keepers ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    born date, tags text[], about jsonb, picture bytea, reference uuid, seen timestamptz, ratio float8, is_big boolean,
    open int4range, address inet, since interval, bits bit varying(8),
    CONSTRAINT named UNIQUE (name, born)
);
COMMENT ON TABLE zoo.animals IS 'who lives here';
COMMENT ON COLUMN zoo.animals.name IS 'given by the keeper';
CREATE INDEX animals_lower ON zoo.animals (lower(name) DESC NULLS LAST, born) WHERE kilograms > 10;
CREATE INDEX animals_about ON zoo.animals USING gin (about jsonb_path_ops);
COMMENT ON INDEX zoo.animals_lower IS 'for the search';
CREATE STATISTICS zoo.together (dependencies) ON name, born FROM zoo.animals;
ALTER TABLE zoo.animals ALTER COLUMN about SET STORAGE EXTERNAL, ALTER COLUMN name SET STATISTICS 500;
CREATE TABLE zoo.visits (day date NOT NULL, ticket integer, price numeric(6, 2)) PARTITION BY RANGE (day);
CREATE TABLE zoo.visits_2025 PARTITION OF zoo.visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE zoo.visits_rest PARTITION OF zoo.visits DEFAULT;
CREATE INDEX visits_day ON zoo.visits (day);
CREATE TABLE zoo.ancestor (a integer, b text);
CREATE TABLE zoo.descendant (c integer) INHERITS (zoo.ancestor);
CREATE UNLOGGED TABLE zoo.scratch (a integer);
CREATE TABLE zoo.log (at timestamptz, what text);
CREATE VIEW zoo.big WITH (security_barrier) AS SELECT id, name, kilograms FROM zoo.animals WHERE kilograms > 100;
COMMENT ON VIEW zoo.big IS 'handle with care';
CREATE MATERIALIZED VIEW zoo.per_keeper AS SELECT keeper, count(*) AS n FROM zoo.animals GROUP BY keeper;
CREATE UNIQUE INDEX per_keeper_key ON zoo.per_keeper (keeper);
CREATE FUNCTION zoo.double(amount integer DEFAULT 1, VARIADIC more integer[] DEFAULT '{}') RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 7 AS 'SELECT $1 * 2';
COMMENT ON FUNCTION zoo.double IS 'twice as many';
CREATE FUNCTION zoo.counted(OUT animals bigint, OUT keepers bigint) LANGUAGE sql STABLE
    BEGIN ATOMIC SELECT (SELECT count(*) FROM zoo.animals), (SELECT count(*) FROM zoo.keepers); END;
CREATE FUNCTION zoo.note() RETURNS trigger LANGUAGE plpgsql AS
    $body$BEGIN INSERT INTO zoo.log VALUES (now(), TG_OP); RETURN NULL; END$body$;
CREATE PROCEDURE zoo.feed(INOUT portions integer) LANGUAGE plpgsql AS $$BEGIN portions := portions - 1; END$$;
CREATE AGGREGATE zoo.product(integer) (SFUNC = int4mul, STYPE = integer, INITCOND = '1');
CREATE OPERATOR zoo.<+> (FUNCTION = int4pl, LEFTARG = integer, RIGHTARG = integer, COMMUTATOR = OPERATOR(zoo.<+>));
CREATE CAST (zoo.mood AS integer) WITH INOUT;
CREATE COLLATION zoo.german (provider = icu, locale = 'de-DE');
CREATE TEXT SEARCH DICTIONARY zoo.plain (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION zoo.words (COPY = simple);
CREATE TRIGGER noted AFTER INSERT OR DELETE ON zoo.keepers FOR EACH STATEMENT EXECUTE FUNCTION zoo.note();
CREATE RULE quiet AS ON DELETE TO zoo.scratch DO INSTEAD NOTHING;
ALTER TABLE zoo.log ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON zoo.log FOR SELECT TO PUBLIC USING (what <> 'DELETE');
CREATE PUBLICATION told FOR TABLE zoo.animals, zoo.keepers;
GRANT SELECT (id, name) ON zoo.animals TO PUBLIC;
GRANT SELECT ON zoo.big TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA zoo GRANT SELECT ON TABLES TO PUBLIC;
INSERT INTO zoo.keepers (name, home) VALUES ('Ina', ROW('Elm, 1', '12 "3"')), ('Jörg', NULL);
INSERT INTO zoo.animals (name, feeling, kilograms, keeper, born, tags, about, picture, reference, seen, ratio, is_big,
        open, address, since, bits)
    SELECT 'n' || n, (enum_range(NULL::zoo.mood))[1 + n % 3], n * 1.5, 1 + n % 2, date '2001-01-01' + n,
        ARRAY['a' || n, NULL, '{,"\'], jsonb_build_object('n', n, 'text', E'tab\there'),
        decode(lpad(to_hex(n), 8, '0'), 'hex'), ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid,
        timestamptz '2026-01-01 UTC' + n * interval '1 hour', n / 7.0, n % 2 = 0,
        int4range(n, n + 5), ('10.0.0.' || n)::inet,
        n * interval '1 day 2 hours', n::bit(6)
    FROM generate_series(1, 60) n;
INSERT INTO zoo.animals (name) VALUES (E'back\\slash\nline \\. \u00fc \U0001f9a9');
INSERT INTO zoo.visits SELECT date '2025-12-01' + n, n, n / 3.0 FROM generate_series(1, 60) n;
INSERT INTO zoo.ancestor VALUES (1, 'one');
INSERT INTO zoo.descendant VALUES (2, 'two', 3);
SELECT nextval('zoo.tickets'), setval('zoo.animals_id_seq', 500);
SELECT lo_from_bytea(0, 'a large object');
REFRESH MATERIALIZED VIEW zoo.per_keeper;
"""
#: What takes a superuser.
BY_SUPERUSER: Final = f"""
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere OPTIONS (host 'far.example');
CREATE USER MAPPING FOR {GATEWAY} SERVER elsewhere OPTIONS (password 'a-secret-of-the-mapping');
CREATE FOREIGN TABLE zoo.away (id integer, name text) SERVER elsewhere OPTIONS (remote 'x');
CREATE FUNCTION zoo.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watched ON ddl_command_end EXECUTE FUNCTION zoo.watch();
ALTER EVENT TRIGGER watched DISABLE;
ALTER TABLE zoo.away OWNER TO {GATEWAY};
"""


def build(server: PostgresServer, database: str) -> str:
    """Make the database `database` with the bank and the zoo in it; give its name."""
    server.create_database(database)
    fill(server, database)
    return database


def fill(server: PostgresServer, database: str) -> None:
    """Make the zoo in a database that holds the bank."""
    for user, text in ((GATEWAY, OWN), (server.superuser, BY_SUPERUSER)):
        with server.connect(user, database) as connection:
            connection.execute(text)
    server.execute("ANALYZE", database=database)
