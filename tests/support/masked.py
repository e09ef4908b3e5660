"""A small bank's catalog by hand, its labels, and decisions over it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vestibule.analysis.sql.parser import parse
from vestibule.masking.catalog import Snapshot, snapshot
from vestibule.masking.decide import decide
from vestibule.masking.scene import Scene
from vestibule.masking.sensitive import Sensitive, close
from vestibule.model.names import RuleName
from vestibule.model.plan import Label, Plan, Transform
from vestibule.model.statement import Unknown, Unsupported

Row = tuple[str, ...]
Decision = Plan | Unsupported | Unknown

TAIL, HIDE = Transform("keep", 0, 4), Transform("hide")
LABELS = (
    Label(RuleName("tail"), ("*.customers.ssn", "*.accounts.account_number", "*.cards.pan"), TAIL),
    Label(RuleName("all"), ("*.customers.email", "*.customers.home", "*.cards.cvv"), HIDE),
)


def row(*cells: object) -> Row:
    """Write a row of the catalog query."""
    texts = [str(cell) for cell in cells]
    return (*texts, *[""] * (7 - len(texts)))


def relation(
    oid: int, name: str, columns: Sequence[str | tuple[str, int]], kind: str = "r", flags: str = ""
) -> list[Row]:
    """Write the rows of `schema.name`; a column is a name, or a name and its type. The row type is `oid + 1`."""
    schema, _, bare = name.rpartition(".")
    rows = [row("relation", oid, schema or "public", bare, kind, flags, oid + 1)]
    for number, column in enumerate(columns, 1):
        title, type_ = (column, 25) if isinstance(column, str) else column
        rows.append(row("column", oid, number, title, type_, -1, ""))
    return rows


def view(oid: int, name: str, columns: Sequence[str], definition: str, kind: str = "v") -> list[Row]:
    """Write the rows of a view."""
    return [*relation(oid, name, columns, kind), row("definition", oid, definition)]


CUSTOMERS, VIP, ACCOUNTS, CARDS, BRANCHES, TICKETS, HISTORY, FULL, PUBLIC, MADE = range(20_000, 20_100, 10)
BANK: tuple[Row, ...] = (
    *relation(CUSTOMERS, "customers", ["id", "ssn", "email", "state", "segment", ("home", 25_001)]),
    *relation(VIP, "customers_vip", ["id", "ssn", "email", "state", "segment", ("home", 25_001), "level"]),
    row("inherits", VIP, CUSTOMERS),
    *relation(ACCOUNTS, "accounts", ["id", "customer_id", "account_number", "balance", "state"]),
    row("references", ACCOUNTS, CUSTOMERS),
    *relation(CARDS, "cards", ["id", "account_id", "pan", "cvv", "brand"]),
    row("references", CARDS, ACCOUNTS),
    *relation(BRANCHES, "branches", ["id", "name", "city"]),
    *relation(TICKETS, "tickets", ["id", "customer_id", "subject", "note"]),
    *relation(HISTORY, "cust_history", ["hid", "changed_at", ("old_row", CUSTOMERS + 1)]),
    *view(FULL, "reporting.v_full", ["id", "tax_ref"], "SELECT id, ssn AS tax_ref FROM public.customers;"),
    *view(PUBLIC, "reporting.v_public", ["id", "state"], "SELECT id, state FROM public.customers;"),
    *view(
        MADE,
        "reporting.v_expr",
        ["id", "r", "n"],
        "SELECT c.id, reverse(c.ssn) AS r, count(c.ssn) AS n FROM public.customers c;",
    ),
    *relation(25_000, "address", ["street", "city"], "c"),
    *relation(1_255, "pg_catalog.pg_proc", ["oid", "proname", "prosrc"]),
    *relation(1_259, "pg_catalog.pg_class", ["oid", "relname"]),
    *relation(12_000, "pg_catalog.pg_stats", ["tablename", "attname", "most_common_vals"], "v"),
    *relation(12_010, "information_schema.columns", ["table_name", "column_name"], "v"),
    *relation(20_900, "pg_toast.pg_toast_20000", [], "t"),
    row("constraint", "customers_ssn_key"),
)


def catalog(*more: Iterable[Row], without: Iterable[Row] = ()) -> Snapshot:
    """Make the snapshot of the bank, with more rows."""
    gone = set(without)
    return snapshot([*(line for line in BANK if line not in gone), *(line for rows in more for line in rows)])


def sensitive(*more: Iterable[Row], labels: Iterable[Label] = LABELS, clean: Iterable[str] = ()) -> Sensitive:
    """Close the labels over the bank, with more rows."""
    return close(catalog(*more), labels, parse, clean)


SENSITIVE = sensitive()
SCENE = Scene(SENSITIVE, is_fresh=True)


def tree(text: str) -> dict[str, Any]:
    """Parse one statement."""
    trees = parse(text.encode())
    assert isinstance(trees, list), (text, trees)
    assert len(trees) == 1, text
    found: dict[str, Any] = trees[0]
    return found


def decided(text: str, scene: Scene = SCENE, **more: Any) -> Decision:
    """Decide one statement."""
    return decide(tree(text), text.encode(), replace(scene, **more) if more else scene)


def form(decision: Decision) -> str:
    """Write a decision short: `clean`, `plain(ssn)` with the masked columns, or `refused`."""
    match decision:
        case Unsupported():
            return "refused"
        case Unknown(names=names):
            return f"unknown({', '.join(names)})"
        case Plan(columns=columns):
            masked = [column.name for column in columns or () if column.mask is not None]
            return decision.form if decision.form == "clean" else f"plain({', '.join(masked)})"


def masks(found: Sensitive, names: Mapping[str, int]) -> dict[str, list[str]]:
    """Name the masked columns of some relations."""
    relations = found.snapshot.relations
    return {
        name: [column.name for column in relations[oid].columns if (oid, column.number) in found.masks]
        for name, oid in names.items()
    }
