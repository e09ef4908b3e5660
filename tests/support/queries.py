"""Makes statements over a small bank by chance: names that mean several things, and every way to carry a column on.

Many are wrong and some mean nothing; what counts is that those which a decision lets pass tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

#: The bank, with one placeholder for what its protected values are made of.
SCHEMA = """
CREATE TYPE address AS (street text, city text);
CREATE TABLE customers (id int PRIMARY KEY, ssn text UNIQUE NOT NULL, email text, state text, n int, home address);
CREATE TABLE vip (level int) INHERITS (customers);
CREATE TABLE accounts (id int PRIMARY KEY, customer_id int, number text UNIQUE, balance int, state text);
CREATE TABLE branches (id int PRIMARY KEY, name text, state text, n int);
CREATE TABLE history (hid int PRIMARY KEY, at int, old customers);
CREATE TABLE notes (id int PRIMARY KEY, body text, email text);
INSERT INTO customers SELECT i, md5('{salt}' || i), md5('{salt}e' || i), chr(65 + i % 3), i % 4,
    ROW(md5('{salt}h' || i), 'x')::address FROM generate_series(1, 8) i;
INSERT INTO customers VALUES (9, md5('{salt}9'), NULL, 'A', 0, NULL);
INSERT INTO vip SELECT i, md5('{salt}v' || i), md5('{salt}w' || i), 'B', 1, NULL, i FROM generate_series(11, 13) i;
INSERT INTO accounts SELECT i, i % 9 + 1, md5('{salt}a' || i), i * 10, chr(65 + i % 3) FROM generate_series(1, 10) i;
INSERT INTO branches SELECT i, 'branch ' || i, chr(65 + i % 3), i FROM generate_series(1, 4) i;
INSERT INTO notes SELECT i, 'note ' || i, 'known ' || i FROM generate_series(1, 4) i;
INSERT INTO history SELECT id, 1, c FROM ONLY customers c WHERE id < 4;
CREATE VIEW full_view AS SELECT id, ssn AS tax, email, state FROM customers;
CREATE VIEW made AS SELECT id, reverse(ssn) AS r, to_jsonb(c) AS j, state FROM customers c;
CREATE VIEW clean AS SELECT c.id, c.state, a.balance FROM customers c JOIN accounts a ON a.customer_id = c.id;
CREATE MATERIALIZED VIEW kept AS SELECT id, coalesce(email, ssn) AS either FROM customers;
"""
LABELS = ("*.customers.ssn", "*.customers.email", "*.customers.home", "*.accounts.number")

RELATIONS: Mapping[str, tuple[str, ...]] = {
    "customers": ("id", "ssn", "email", "state", "n", "home"),
    "vip": ("id", "ssn", "email", "state", "n", "home", "level"),
    "accounts": ("id", "customer_id", "number", "balance", "state"),
    "branches": ("id", "name", "state", "n"),
    "history": ("hid", "at", "old"),
    "notes": ("id", "body", "email"),
    "full_view": ("id", "tax", "email", "state"),
    "made": ("id", "r", "j", "state"),
    "clean": ("id", "state", "balance"),
    "kept": ("id", "either"),
}
ALIASES = ("c", "a", "b", "x", "customers", "ssn", "t")
SENSITIVE = ("ssn", "email", "number", "tax", "r", "j", "either", "old", "home")
COLUMNS = ("id", "state", "n", "balance", "name", "customer_id", "level", "hid", "body", "x", "y", "z", *SENSITIVE)


class Statements:
    """An endless source of statements; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        """Begin at `seed`."""
        self._random = Random(seed)
        #: WITH queries, and sources by alias, each with the columns that it seems to have.
        self._queries: dict[str, tuple[str, ...]] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._made: tuple[str, ...] = ()

    def statement(self) -> str:
        """Make the next one."""
        self._queries, self._aliases = {}, {}
        kind = self._random.random()
        if kind < 0.88:
            return self.query(3)
        if kind < 0.92:
            return self._update()
        if kind < 0.95:
            name = self._one_of(RELATIONS)
            self._aliases["c"] = RELATIONS[name]
            return f"DELETE FROM {name} AS c WHERE {self._condition(1)}{self._returning()}"
        if kind < 0.98:
            return f"INSERT INTO notes (id, body) {self.query(2)}{self._returning()}"
        return f"WITH w AS ({self._update()}) SELECT {self._outputs(1)} FROM w"

    def query(self, depth: int) -> str:
        """Make a query of at most this depth."""
        outside = dict(self._aliases)
        text = self._with(depth) + self._body(depth)
        self._aliases = outside
        return text

    # --- parts

    def _one_of(self, choices: Sequence[str] | Mapping[str, object]) -> str:
        return self._random.choice(tuple(choices))

    def _maybe(self, chance: float, make: Callable[[], str]) -> str:
        return make() if self._random.random() < chance else ""

    def _with(self, depth: int) -> str:
        if depth < 2 or self._random.random() < 0.8:
            return ""
        name = self._one_of(["w", "customers", "branches", "v"])
        names = self._maybe(0.3, lambda: "(x, y)")
        text = f"WITH {self._maybe(0.3, lambda: 'RECURSIVE ')}{name}{names} AS ({self.query(depth - 1)}) "
        self._queries[name] = ("x", "y", *self._made[2:]) if names else self._made
        return text

    def _body(self, depth: int) -> str:
        if depth > 1 and self._random.random() < 0.08:
            word = self._one_of(["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])
            return f"({self.query(depth - 1)}) {word} ({self.query(depth - 1)})"
        sources = ", ".join(self._source(depth) for _ in range(self._random.choice([1, 1, 1, 2])))
        outputs = self._outputs(depth)
        text = f"SELECT {self._maybe(0.05, lambda: 'DISTINCT ')}{outputs} FROM {sources}"
        text += self._maybe(0.4, lambda: f" WHERE {self._condition(depth)}")
        text += self._maybe(0.06, lambda: f" GROUP BY {self._by()}")
        text += self._maybe(0.3, lambda: f" ORDER BY {self._by()}")
        return text + self._maybe(0.1, lambda: f" LIMIT {self._random.randrange(1, 5)}")

    def _by(self) -> str:
        return self._one_of(["1", "2", self._column(), self._column(), *self._made])

    def _outputs(self, depth: int) -> str:
        outputs: list[str] = []
        names: list[str] = []
        for _ in range(self._random.choice([1, 2, 2, 3])):
            output = self._output(depth)
            alias = "" if output.endswith("*") else self._maybe(0.3, self._renamed)
            outputs.append(output + alias)
            names.append((alias or output).rpartition(" ")[2].rpartition(".")[2])
        self._made = tuple(
            column for name in names for column in (sum(self._aliases.values(), ()) if name == "*" else (name,))
        )
        return ", ".join(outputs)

    def _renamed(self) -> str:
        return f" AS {self._one_of(COLUMNS)}"

    def _output(self, depth: int) -> str:
        kind = self._random.random()
        if kind < 0.12:
            return "*"
        if kind < 0.2 and self._aliases:
            return f"{self._one_of(self._aliases)}.*"
        return self._column() if kind < 0.8 else self._expression(depth)

    def _source(self, depth: int) -> str:
        kind = self._random.random()
        if kind < 0.6 or depth < 2:
            return self._relation()
        if kind < 0.75:
            left = self._source(depth - 1)
            right = self._source(depth - 1)
            return self._joined(left, right)
        if kind < 0.95:
            lateral = self._maybe(0.3, lambda: "LATERAL ")
            inner = self.query(depth - 1)
            names = self._maybe(0.3, lambda: "(x, y)")
            made = ("x", "y", *self._made[2:]) if names else self._made
            return f"{lateral}({inner}) {self._alias(made)}{names}"
        return f"generate_series(1, 3) {self._alias(())}"

    def _joined(self, left: str, right: str) -> str:
        kind = self._random.random()
        if kind < 0.3:
            joined = f"{left} JOIN {right} USING ({self._one_of(['id', 'state', 'id, state', 'email', 'n'])})"
            joined += self._maybe(0.2, lambda: f" AS {self._alias(('id', 'state'))}")
        elif kind < 0.4:
            joined = f"{left} NATURAL JOIN {right}"
        elif kind < 0.6:
            joined = f"{left} CROSS JOIN {right}"
        else:
            joined = f"{left} LEFT JOIN {right} ON {self._condition(1)}"
        if kind >= 0.15:
            return joined
        names = self._maybe(0.3, lambda: "(x, y, z)")
        return f"({joined}) {self._alias(('x', 'y', 'z', *COLUMNS) if names else COLUMNS)}{names}"

    def _relation(self) -> str:
        name = self._one_of([*RELATIONS, *RELATIONS, *self._queries, *self._queries])
        columns = self._queries.get(name) or RELATIONS.get(name, COLUMNS)
        if self._random.random() < 0.5 and name not in self._aliases:
            self._aliases[name] = columns
            return name
        names = self._maybe(0.15, lambda: "(x, y, z)")
        return f"{name} AS {self._alias(('x', 'y', 'z', *columns[3:]) if names else columns)}{names}"

    def _alias(self, columns: tuple[str, ...]) -> str:
        free = [alias for alias in ALIASES if alias not in self._aliases]
        alias = self._one_of(free if free and self._random.random() < 0.95 else ALIASES)
        self._aliases[alias] = columns
        return alias

    def _column(self) -> str:
        """Name a column: mostly one that is there."""
        kind = self._random.random()
        if kind < 0.06 or not self._aliases:
            return self._one_of(COLUMNS)
        alias = self._one_of(self._aliases)
        if kind < 0.1:
            return alias
        if kind < 0.12:
            return f"public.customers.{self._one_of(COLUMNS)}"
        name = self._one_of(self._aliases[alias] or COLUMNS)
        if not name.isidentifier():
            name = self._one_of(COLUMNS)
        return f"{alias}.{name}" if kind < 0.75 else name

    def _expression(self, depth: int) -> str:
        column = self._column()
        inner = [f"({self.query(depth - 1)})", f"EXISTS ({self.query(depth - 1)})"] if depth > 1 else []
        return self._one_of(
            [
                "1",
                "count(*)",
                f"count({column})",
                f"count(DISTINCT {column})",
                f"{column} IS NULL",
                f"lower({column}::text)",
                f"coalesce({column}, {self._column()})",
                f"CASE WHEN {self._condition(1)} THEN 1 ELSE 2 END",
                f"to_jsonb({column})",
                f"({column}).ssn",
                f"({column}).street",
                f"max({column})",
                f"rank() OVER (ORDER BY {column})",
                f"ssn({column})",
                f"ARRAY[{column}]",
                *inner,
            ]
        )

    def _condition(self, depth: int) -> str:
        column = self._column()
        inner = []
        if depth > 1:
            inner = [f"EXISTS ({self.query(depth - 1)})", f"{column} IN ({self.query(depth - 1)})"]
        return self._one_of(
            [
                "true",
                f"{column} IS NOT NULL",
                f"{column}::text < 'a'",
                f"{column} = {self._column()}",
                "id < 5",
                f"{self._one_of(self._aliases)}.id > 2" if self._aliases else "id > 2",
                *inner,
            ]
        )

    def _update(self) -> str:
        name = self._one_of(["customers", "accounts", "branches", "notes", "full_view"])
        self._aliases["c"] = RELATIONS[name]
        beside = self._maybe(0.4, lambda: f" FROM {self._source(2)}")
        value = self._one_of(["'q'", self._column(), self._expression(2)])
        where = self._maybe(0.7, lambda: f" WHERE {self._condition(2)}")
        return f"UPDATE {name} AS c SET state = {value}{beside}{where}{self._returning()}"

    def _returning(self) -> str:
        return self._maybe(0.5, lambda: f" RETURNING {self._outputs(1)}")
