"""The small bank that every target database holds: made-up people, the same in every run.

SSNs have the form and the ranges of real ones, PANs pass Luhn; both are drawn from a fixed seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

CUSTOMERS, ACCOUNTS, CARDS, TRANSACTIONS, LOANS = 40, 60, 50, 400, 25

#: The first customer, whom tests and demo name.
FIRST_CUSTOMER = "Ada Brookfield"
#: Her number, which belongs to nobody: it was printed on a card in wallets for show.
FIRST_SSN = "078-05-1120"

SCHEMA = """
CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    ssn text NOT NULL UNIQUE,
    email text NOT NULL,
    born date NOT NULL,
    state char(2) NOT NULL
);
CREATE TABLE accounts (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    kind text NOT NULL CHECK (kind IN ('checking', 'savings')),
    balance numeric(14, 2) NOT NULL,
    opened date NOT NULL
);
CREATE TABLE cards (
    id integer PRIMARY KEY,
    account_id integer NOT NULL REFERENCES accounts,
    pan text NOT NULL UNIQUE,
    expires date NOT NULL
);
CREATE TABLE transactions (
    id bigint PRIMARY KEY,
    account_id integer NOT NULL REFERENCES accounts,
    amount numeric(14, 2) NOT NULL,
    memo text NOT NULL,
    at timestamptz NOT NULL
);
CREATE TABLE loans (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    principal numeric(14, 2) NOT NULL,
    rate numeric(5, 3) NOT NULL,
    status text NOT NULL CHECK (status IN ('current', 'late', 'paid'))
);
CREATE INDEX ON transactions (account_id);
CREATE FUNCTION state_count(text) RETURNS bigint LANGUAGE sql STABLE
    AS 'SELECT count(*) FROM customers WHERE state = $1';
"""

GIVEN = ("Bela", "Carl", "Dora", "Emil", "Frida", "Gus", "Hana", "Ivo", "June", "Karl", "Lena", "Milo", "Nora", "Otto")
FAMILY = ("Ashdown", "Birch", "Calloway", "Dunmore", "Eastly", "Fenwick", "Garland", "Hollis", "Ingram", "Jarrow")
STATES = ("NY", "TX", "OH", "CA", "ME", "WA")
MEMOS = ("groceries", "rent", "salary", "books", "fuel", "transfer")


def seed() -> str:
    """Write the whole bank as SQL."""
    draw = random.Random(20260131)
    tables = {
        "customers": _customers(draw),
        "accounts": _accounts(draw),
        "cards": _cards(draw),
        "transactions": _transactions(draw),
        "loans": _loans(draw),
    }
    return SCHEMA + "".join(_insert(table, rows) for table, rows in tables.items())


def _customers(draw: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, CUSTOMERS + 1):
        name = FIRST_CUSTOMER if number == 1 else f"{draw.choice(GIVEN)} {draw.choice(FAMILY)}"
        area = draw.choice([*range(1, 666), *range(667, 900)])
        ssn = f"{area:03d}-{draw.randint(1, 99):02d}-{draw.randint(1, 9999):04d}"
        mail = f"{name.lower().replace(' ', '.')}{number}@mail.example"
        ssn = FIRST_SSN if number == 1 else ssn
        yield number, name, ssn, mail, _day(draw, 1945, 2004), draw.choice(STATES)


def _accounts(draw: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, ACCOUNTS + 1):
        customer = 1 + (number - 1) % CUSTOMERS
        kind = draw.choice(("checking", "savings"))
        yield number, customer, kind, f"{draw.uniform(20, 90_000):.2f}", _day(draw, 2001, 2025)


def _cards(draw: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, CARDS + 1):
        pan = with_check_digit("4000" + "".join(str(draw.randint(0, 9)) for _ in range(11)))
        yield number, 1 + (number - 1) % ACCOUNTS, pan, _day(draw, 2027, 2031)


def _transactions(draw: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, TRANSACTIONS + 1):
        at = f"{_day(draw, 2025, 2025)} {draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}:00+00"
        yield number, draw.randint(1, ACCOUNTS), f"{draw.uniform(-900, 900):.2f}", draw.choice(MEMOS), at


def _loans(draw: random.Random) -> Iterator[tuple[object, ...]]:
    for number in range(1, LOANS + 1):
        rate = f"{draw.uniform(2, 9):.3f}"
        status = draw.choice(("current", "current", "late", "paid"))
        yield number, draw.randint(1, CUSTOMERS), f"{draw.uniform(5_000, 400_000):.2f}", rate, status


def _day(draw: random.Random, first: int, last: int) -> str:
    return f"{draw.randint(first, last)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"


def with_check_digit(digits: str) -> str:
    """Append the Luhn digit."""
    doubled = (int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    total = sum(value - 9 if value > 9 else value for value in doubled)
    return digits + str(-total % 10)


def _insert(table: str, rows: Iterable[tuple[object, ...]]) -> str:
    lines = ",\n".join("(" + ", ".join(_literal(value) for value in row) + ")" for row in rows)
    return f"INSERT INTO {table} VALUES\n{lines};\n"


def _literal(value: object) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
