"""Attempts to see protected values of the leak battery's bank: any column, any expression, any nesting, any way out.

1. The same random source makes the same attempt.
2. An attempt is written as the battery writes its cases, so that what leaks can be added to it as it is.
3. What an attempt writes it rolls back, and names that outlive it carry its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz import wardrobe

Step = str | dict[str, Any]
#: The way out on which nothing is seen, but a value can be told again.
DISGUISED = "disguised"


@dataclass(frozen=True, slots=True)
class Source:
    """A relation with protected values: which rows hold canaries, and columns by the kind of what they hold."""

    relation: str
    key: str
    rows: str
    columns: Mapping[str, str]
    is_table: bool = True


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is said, and the way out that it takes."""

    steps: tuple[Step, ...]
    way: str


CUSTOMER = {
    "ssn": "text",
    "full_name": "text",
    "email": "text",
    "dob": "date",
    "profile": "json",
    "phones": "array",
    "home": "address",
    "attrs": "hstore",
}
#: Transactions whose memo names an account.
WIRES = "37, 58, 70, 71, 112, 134"
SOURCES = (
    Source("customers", "id", "<= 12", CUSTOMER),
    Source("customers", "id", "<= 12", CUSTOMER),
    Source("public.customers", "id", "BETWEEN 1 AND 12", CUSTOMER),
    Source("bank.public.customers", "id", "IN (1, 2, 3)", CUSTOMER),
    Source("ONLY customers", "id", "= ANY ('{1,2,3}')", CUSTOMER),
    Source("customers_vip", "id", "> 1000", CUSTOMER),
    Source("accounts", "id", "<= 12", {"account_number": "text"}),
    Source("cards", "id", "<= 12", {"pan": "text"}),
    Source("transactions", "id", f"IN ({WIRES})", {"memo": "text"}),
    Source("kyc", "customer_id", "<= 12", {"doc": "xml", "scan": "bytes"}),
    Source("cust_history", "hid", "<= 12", {"old_row": "customer"}),
    Source("reporting.v_full", "id", "<= 12", {"tax_ref": "text", "n": "text", "contact": "text"}, is_table=False),
    Source("reporting.v_expr", "id", "<= 12", {"r": "text", "head": "text", "j": "any"}, is_table=False),
    Source("reporting.mv_contact", "id", "<= 12", {"s2": "text", "e2": "text"}),
    Source("get_customer(3)", "id", "<= 12", CUSTOMER, is_table=False),
)


def attempt(random: Random, number: int) -> Attempt:
    """Make one attempt; `number` is its own."""
    way = random.choices(list(WAYS), [weight for weight, _ in WAYS.values()])[0]
    return Attempt(tuple(WAYS[way][1](random, number)), way)


def query(random: Random) -> str:
    """Make a query of one column, `a`, that carries a protected value."""
    text = _core(random)
    for _ in range(random.choice([0, 0, 1, 1, 2, 3])):
        # Whatever its column is called there, it is `a` for the next nest.
        text = f"SELECT n.a FROM ({_line(random, wardrobe.NESTS, text)}) AS n(a)"
        if random.random() < 0.3:
            text = f"SELECT {_dressed_text(random, 's.a::text')} AS a FROM ({text}) AS s"
    return text


def _core(random: Random) -> str:
    source = random.choice(SOURCES)
    column, kind = random.choice(list(source.columns.items()))
    value = _line(random, wardrobe.REFERENCES, column)
    if "ssn" in source.columns and random.random() < 0.1:
        value, kind = random.choice(["t", "(t)"]), "customer"
    expression = _dressed_text(random, value) if kind == "text" else _entry(random, wardrobe.DRESSES[kind], value)
    sample = " TABLESAMPLE BERNOULLI (100)" if source.is_table and random.random() < 0.05 else ""
    order = random.choice(["", "", f" ORDER BY t.{source.key}", f" ORDER BY t.{source.key} DESC LIMIT 9"])
    return f"SELECT {expression} AS a FROM {source.relation} AS t{sample} WHERE t.{source.key} {source.rows}{order}"


def _dressed_text(random: Random, value: str) -> str:
    for _ in range(random.choice([0, 1, 1, 2])):
        value = f"({_entry(random, wardrobe.GARMENTS, value)})"
    return _entry(random, wardrobe.COSTUMES, value) if random.random() < 0.25 else value


def _value(random: Random) -> str:
    """Make an expression for one protected text."""
    plain = random.choice(["SELECT ssn FROM customers WHERE id = 3", "SELECT pan FROM cards WHERE id = 2"])
    text = plain if random.random() < 0.3 else f"SELECT max(s.a::text) FROM ({query(random)}) AS s"
    return f"({text})"


def _entry(random: Random, entries: str, value: str) -> str:
    return random.choice([each for line in entries.strip().splitlines() for each in line.split(" ; ")]).replace(
        "@", value
    )


def _line(random: Random, lines: str, value: str) -> str:
    return random.choice(lines.strip().splitlines()).replace("@", value)


# --- ways out --------------------------------------------------------------------------------------------------------


def _rolled_back(*steps: Step) -> list[Step]:
    return ["BEGIN", *steps, "ROLLBACK"]


def _simple(random: Random, number: int) -> list[Step]:
    return [query(random)]


def _several(random: Random, number: int) -> list[Step]:
    return ["; ".join(random.sample(["SELECT 1", query(random), "SHOW search_path", "SELECT 'x'"], 3)), query(random)]


def _whole(random: Random, number: int) -> list[Step]:
    text = _line(random, wardrobe.WHOLES, "")
    return [random.choice([text, {"ext": text}, {"ext": text, "binary": True}])]


def _extended(random: Random, number: int) -> list[Step]:
    return [{"ext": query(random), "binary": random.random() < 0.5}]


def _parameter(random: Random, number: int) -> list[Step]:
    text = f"SELECT s.a FROM ({query(random)}) AS s, customers AS p WHERE p.id = $1 LIMIT 12"
    return [{"ext": text, "params": [str(random.randint(1, 12))], "binary": random.random() < 0.3}]


def _named(random: Random, number: int) -> list[Step]:
    name = f"s{number}"
    return [{"parse": query(random), "stmt": name}, {"bindexec": name, "describe_stmt": name}, {"bindexec": name}]


def _paged(random: Random, number: int) -> list[Step]:
    return [{"ext": query(random), "max_rows": random.choice([1, 2, 5]), "portal": f"p{number}"}]


def _undescribed(random: Random, number: int) -> list[Step]:
    return [{"ext_nodescribe": query(random)}]


def _pipeline(random: Random, number: int) -> list[Step]:
    return [{"pipeline": ["SELECT 1", query(random), query(random)]}]


def _cursor(random: Random, number: int) -> list[Step]:
    kind = random.choice(
        ["CURSOR", "SCROLL CURSOR", "BINARY CURSOR", "INSENSITIVE CURSOR", "NO SCROLL CURSOR WITHOUT HOLD"]
    )
    fetches = random.choice(
        [["FETCH 5 FROM c", "FETCH ALL c"], ["MOVE 0 IN c", "FETCH NEXT FROM c"], ["FETCH FORWARD 3 c"]]
    )
    fetched = [random.choice([each, {"ext": each}, {"ext": each, "binary": True}]) for each in fetches]
    return _rolled_back(f"DECLARE c {kind} FOR {query(random)}", *fetched)


def _held_cursor(random: Random, number: int) -> list[Step]:
    return [f"DECLARE h{number} CURSOR WITH HOLD FOR {query(random)}", f"FETCH ALL FROM h{number}", f"CLOSE h{number}"]


def _copy(random: Random, number: int) -> list[Step]:
    shape = random.choice(
        ["", " (FORMAT csv)", " (FORMAT csv, HEADER, FORCE_QUOTE *)", " (DELIMITER '~')", " WITH CSV QUOTE '!'"]
    )
    whole = random.choice(
        ["COPY customers TO STDOUT", "COPY accounts (account_number) TO STDOUT", "COPY cards (id, pan) TO STDOUT"]
    )
    text = whole + shape if random.random() < 0.15 else f"COPY ({query(random)}) TO STDOUT{shape}"
    return [random.choice([text, {"ext": text}])]


def _binary_copy(random: Random, number: int) -> list[Step]:
    return [f"COPY ({query(random)}) TO STDOUT (FORMAT binary)"]


def _prepared(random: Random, number: int) -> list[Step]:
    name, table = f"e{number}", f"x{number}"
    run = random.choice(
        [
            [f"EXECUTE {name}"],
            [f"SELECT 1; EXECUTE {name}"],
            [{"ext": f"EXECUTE {name}", "binary": True}],
            [f"CREATE TEMP TABLE {table} AS EXECUTE {name}", f"TABLE {table}"],
        ]
    )
    return _rolled_back(f"PREPARE {name} AS {query(random)}", *run, f"DEALLOCATE {name}")


def _explained(random: Random, number: int) -> list[Step]:
    options = random.choice(["VERBOSE", "ANALYZE, VERBOSE", "VERBOSE, FORMAT JSON", "ANALYZE, FORMAT XML"])
    return [f"EXPLAIN ({options}) {query(random)}"]


def _temporary(random: Random, number: int) -> list[Step]:
    name, text = f"x{number}", query(random)
    made = random.choice(
        [
            f"CREATE TEMP TABLE {name} AS {text}",
            f"SELECT s.a INTO TEMP {name} FROM ({text}) s",
            f"CREATE TEMP TABLE {name} (a) AS {text}",
            f"CREATE TEMP VIEW {name} AS {text}",
            f"CREATE TEMP TABLE {name} (a text); INSERT INTO {name} SELECT s.a::text FROM ({text}) s",
        ]
    )
    read = random.choice(
        [f"SELECT * FROM {name}", f"COPY {name} TO STDOUT", f"TABLE {name}", f"SELECT x FROM {name} x"]
    )
    return _rolled_back(*made.split("; "), read)


def _returning(random: Random, number: int) -> list[Step]:
    text = _line(random, wardrobe.RETURNS, _value(random))
    return _rolled_back(random.choice([text, text, {"ext": text, "binary": random.random() < 0.5}]))


def _written(random: Random, number: int) -> list[Step]:
    # Not read back from what was returned, but by another statement.
    value = _value(random)
    write, read = random.choice(
        [
            (
                f"INSERT INTO tickets (id, note) VALUES ({90_000 + number}, {value})",
                f"SELECT note FROM tickets WHERE id > {89_999}",
            ),
            (f"UPDATE branches SET city = {value} WHERE id = 1", "SELECT city FROM branches WHERE id = 1"),
            (f"INSERT INTO merchants (code, name) VALUES ('Z', {value})", "COPY merchants TO STDOUT"),
            ("UPDATE customers SET segment = ssn WHERE id <= 12", "SELECT segment FROM customers WHERE id <= 12"),
            (
                "UPDATE tickets SET subject = email FROM customers c WHERE c.id = tickets.id",
                "SELECT subject FROM tickets",
            ),
        ]
    )
    return _rolled_back(write, read)


def _failing(random: Random, number: int) -> list[Step]:
    text = _line(random, wardrobe.FAILURES, _value(random))
    return _rolled_back(random.choice([text, text, {"ext": text}]))


def _setting(random: Random, number: int) -> list[Step]:
    kept = f"SELECT set_config('app.x', {_value(random)}, true) IS NULL"
    return _rolled_back(kept, random.choice(["SHOW app.x", "SELECT current_setting('app.x')"]))


def _disguised(random: Random, number: int) -> list[Step]:
    column, relation = random.choice(
        [("ssn", "customers"), ("pan", "cards"), ("account_number", "accounts"), ("tax_ref", "reporting.v_full")]
    )
    text = f"SELECT {_entry(random, wardrobe.DISGUISES, f't.{column}')} AS a FROM {relation} AS t WHERE t.id <= 12"
    return [random.choice([text, {"ext": text}, {"ext": text, "binary": True}])]


def _bell(random: Random, number: int) -> list[Step]:
    return [
        f"LISTEN b{number}",
        f"SELECT pg_notify('b{number}', {_value(random)})",
        {"wait": 0.1},
        f"UNLISTEN b{number}",
    ]


def _call(random: Random, number: int) -> list[Step]:
    return [
        {"func": random.choice(["tax_ref(integer)", "warn_customer(integer)"]), "args": [str(random.randint(1, 12))]}
    ]


#: Every way out, how often it is taken, and what is said on it.
WAYS: Mapping[str, tuple[int, Callable[[Random, int], list[Step]]]] = {
    "simple": (16, _simple),
    "several": (5, _several),
    "whole": (5, _whole),
    "extended": (14, _extended),
    "parameter": (4, _parameter),
    "named": (5, _named),
    "paged": (4, _paged),
    "undescribed": (3, _undescribed),
    "pipeline": (4, _pipeline),
    "cursor": (6, _cursor),
    "held cursor": (2, _held_cursor),
    "copy": (6, _copy),
    "binary copy": (2, _binary_copy),
    "prepared": (5, _prepared),
    "explained": (2, _explained),
    "temporary": (6, _temporary),
    "returning": (6, _returning),
    "written": (4, _written),
    "failing": (10, _failing),
    "setting": (2, _setting),
    DISGUISED: (3, _disguised),
    "bell": (1, _bell),
    "call": (1, _call),
}
