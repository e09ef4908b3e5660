"""The parser of PostgreSQL itself (libpg_query); the only module that speaks to it.

1. A text is bounded before C sees it: at most `LARGEST` bytes, no NUL (it would end the C string), valid UTF-8.
2. `small` texts may be parsed where a stall or an overflow would hurt: nothing of up to `SMALL` bytes overflows a stack
   of `STACK` bytes, and what costs much for its length is not small. All else belongs in the parser process.
3. Deep trees are refused: the C parser stops at 10,000 open brackets, orjson at 1,024 levels. Both are SQLSTATE 54001.
4. What the library allocates is freed here. Its state is per thread, so calls need no lock.
5. Offsets are bytes. `stmt_location` is left out when it is 0, `stmt_len` when the statement goes to the end.
6. The tree is the parser's own, but for one form of `set_config`, in which a column is a constant (`by_name`).
"""

from __future__ import annotations

import ctypes
import re
from typing import Any, Final

import orjson
from postgast.native import PgQueryError, lib
from postgast.pg_query_pb2 import ScanResult, Token

from vestibule.analysis.sql import by_name
from vestibule.model.statement import Span, Unsupported

#: A node of the tree, the parser's own names and values as JSON has them; and any part of the tree.
Node = dict[str, Any]
Tree = Node | list[Any]

SMALL: Final = 32 << 10
LARGEST: Final = 2 << 20
#: What a thread needs that parses small texts: the deepest chain takes 2.2 MB [measured].
STACK: Final = 4 << 20
#: More literals than a stored text can hold; what follows the last one counts as one literal.
LITERALS: Final = 8_192

_MESSAGE: Final = 300
#: The scanner reads a run of operator characters again for each operator or nested comment in it: the square of the
#: run's length, 4 s for 32 KiB [measured]. `_SQUARE` is half a second for each of the three times a text is scanned.
_RUN: Final = re.compile(rb"[-+*/<>=~!@#%^&|`?]{128,}+")
_SQUARE: Final = 1 << 28
_UNSUSPECTED: Final = 1_024
_STATEMENTS: Final = 256
#: Items of lists and elements of arrays: each costs 5 microseconds for its 2 bytes [measured].
_ITEMS: Final = 4_096

_CONSTANT: Final = frozenset((Token.ICONST, Token.FCONST, Token.SCONST, Token.USCONST, Token.BCONST, Token.XCONST))
#: Without one of these a text has no constant.
_HINT_OF_CONSTANT: Final = re.compile(rb"['$0-9]")

TOO_DEEP: Final = Unsupported(
    "54001",
    "vestibule: the statement is nested too deeply to be understood",
    "Write IN (...) or VALUES instead of long chains of operators, or send it in parts.",
)
_NUL: Final = Unsupported("22021", 'invalid byte sequence for encoding "UTF8": 0x00')


def small(text: bytes) -> bool:
    """Tell whether `text` may be analysed here and now, without the parser process."""
    if len(text) <= _UNSUSPECTED:
        return True
    if len(text) > SMALL or text.count(b";") > _STATEMENTS or text.count(b",") + text.count(b"[") > _ITEMS:
        return False
    return _RUN.search(text) is None


def parse(text: bytes) -> list[Node] | Unsupported:
    """Give the statements of `text` as the parser's raw nodes, or say why it has none."""
    refusal = refuse(text) or _weigh(text)
    if refusal is not None:
        return refusal
    result = lib.pg_query_parse(text)
    try:
        if result.error:
            return _explain(result.error.contents)
        tree: bytes = result.parse_tree
    finally:
        lib.pg_query_free_parse_result(result)
    try:
        statements: list[Node] = orjson.loads(tree)["stmts"]
    except orjson.JSONDecodeError as error:
        # What is not wrong with the text is wrong with its size: too deep, or too large for the memory there is.
        return _not_utf8() if "UTF-8" in error.msg else TOO_DEEP
    for statement in statements:
        by_name.settle(statement)
    return statements


def literals(text: bytes) -> tuple[Span, ...]:
    """Give the constants of a text that parses, ascending and disjoint, at most `LITERALS` and one for the rest."""
    if _HINT_OF_CONSTANT.search(text) is None:
        return ()
    result = lib.pg_query_scan(text)
    try:
        if result.error:
            # It has been parsed; if the scanner reads it differently, all of it may be a constant.
            return (Span(0, len(text)),)
        tokens = ScanResult.FromString(ctypes.string_at(result.pbuf.data, result.pbuf.len)).tokens
    finally:
        lib.pg_query_free_scan_result(result)
    found = [Span(token.start, token.end) for token in tokens if token.token in _CONSTANT]
    if len(found) > LITERALS:
        found[LITERALS:] = [Span(found[LITERALS].start, len(text))]
    return tuple(found)


def fingerprint(text: bytes) -> str:
    """Give the parser's own fingerprint of a text that parses: the same for texts that differ in constants only."""
    result = lib.pg_query_fingerprint(text)
    try:
        return "" if result.error else str(result.fingerprint_str, "ascii")
    finally:
        lib.pg_query_free_fingerprint_result(result)


def refuse(text: bytes) -> Unsupported | None:
    """Say why a text is not even parsed."""
    if len(text) > LARGEST:
        return Unsupported(
            "54000",
            f"vestibule: a statement text of {len(text)} bytes is larger than {LARGEST}",
            "Load rows with COPY ... FROM STDIN, or send the statements in parts.",
        )
    if b"\0" in text:
        return _NUL
    try:
        text.decode()
    except UnicodeDecodeError:
        return _not_utf8()
    return None


def _weigh(text: bytes) -> Unsupported | None:
    if len(text) > _UNSUSPECTED and sum(len(run) ** 2 for run in _RUN.findall(text)) > _SQUARE:
        return TOO_DEEP
    return None


def _not_utf8() -> Unsupported:
    return Unsupported("22021", 'invalid byte sequence for encoding "UTF8"')


def _explain(error: PgQueryError) -> Unsupported:
    """Say what the parser said, cut: it may quote as much of the text as there is."""
    message = (error.message or b"syntax error").decode(errors="replace")
    if message.startswith("memory exhausted"):
        return TOO_DEEP
    if len(message) > _MESSAGE:
        message = message[:_MESSAGE] + "..."
    return Unsupported("42601", message, position=max(error.cursorpos, 0))
