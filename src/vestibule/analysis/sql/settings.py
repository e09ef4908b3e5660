"""Which settings a session may change, and to what: the pins.

1. Only listed settings may be set. The rest stay as the gateway sent them when the session started, so that the server
   reads each text as the parser here did, and answers in forms that are known. `RESET` returns to those values.
2. A value may be restricted too. It is judged here when the text has it; at Bind, by `judge`, when a parameter has it.
3. `set_config` counts as SET. `role` and `session_authorization` are no settings but other people: policy decides.
4. Names are compared as the server does: without case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from vestibule.model.statement import Unsupported

#: Settings that are people, for the policy to decide.
PEOPLE: Final = frozenset({"role", "session_authorization"})

_FREE: Final = (
    "application_name datestyle intervalstyle timezone bytea_output extra_float_digits statement_timeout lock_timeout "
    "idle_in_transaction_session_timeout idle_session_timeout idle_replication_slot_timeout "
    # transaction characteristics
    "transaction_isolation transaction_read_only transaction_deferrable "
    "default_transaction_isolation default_transaction_read_only default_transaction_deferrable "
    # planner switches
    "constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction "
    "default_statistics_target effective_cache_size from_collapse_limit join_collapse_limit max_parallel_workers "
    # not jit_dump_bitcode, which writes files at the server
    "jit jit_above_cost jit_expressions jit_inline_above_cost jit_optimize_above_cost jit_tuple_deforming "
    "max_parallel_workers_per_gather min_parallel_index_scan_size min_parallel_table_scan_size parallel_setup_cost "
    "parallel_leader_participation parallel_tuple_cost plan_cache_mode random_page_cost recursive_worktable_factor "
    "seq_page_cost debug_parallel_query force_parallel_mode "
    # what pg_dump sets, and the scripts that it writes; none changes how a text is read, or who may do what
    "synchronize_seqscans row_security transaction_timeout restrict_nonsystem_relation_kind "
    "check_function_bodies default_tablespace default_table_access_method"
)
#: Settings of which every value is allowed.
FREE: Final = frozenset(_FREE.split())
_FAMILIES: Final = re.compile(r"(?:enable|geqo)_[a-z_]+|geqo")

_SPOKEN: Final = (
    "application_name, DateStyle, IntervalStyle, TimeZone, bytea_output, extra_float_digits, statement_timeout, "
    "lock_timeout, the idle timeouts, search_path, client_min_messages, client_encoding, standard_conforming_strings, "
    "transaction characteristics, planner switches, and what pg_dump and its scripts set"
)

_ENCODINGS: Final = frozenset({"utf8", "unicode"})
_TRUE: Final = frozenset({"on", "1", "t", "tr", "tru", "true", "y", "ye", "yes"})
_LEVELS: Final = frozenset({"notice", "warning", "error"})
_ELEMENT: Final = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^\s",]+))\s*(,|$)')


def judge(name: str, value: str | None) -> Unsupported | None:
    """Say why `name` may not be set to `value`; a value of None is the default, which is always allowed."""
    key = name.lower()
    if key in PEOPLE or key in FREE or _FAMILIES.fullmatch(key) is not None:
        return None
    check = RESTRICTED.get(key)
    if check is None:
        return Unsupported(
            "42501", f'vestibule: "{_cut(name)}" may not be set in this session', f"May be set: {_SPOKEN}."
        )
    if value is None:
        return None
    problem = check(value)
    return None if problem is None else Unsupported("42501", f"vestibule: {key} may not be set so", problem)


def schemas(value: str) -> tuple[str, ...] | None:
    """Read a `search_path` as `set_config` takes it: names in order, folded unless quoted; None if it is none."""
    names: list[str] = []
    rest = value.strip()
    while rest:
        match = _ELEMENT.match(rest)
        if match is None:
            return None
        quoted, plain, comma = match.groups()
        names.append(plain.lower() if plain is not None else quoted.replace('""', '"'))
        rest = rest[match.end() :]
        if comma and not rest.strip():
            return None
    return tuple(names)


def written(names: Iterable[str]) -> str:
    """Write schema names as a `search_path`, each in quotes; an empty name is no schema."""
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names if name)


def _encoding(value: str) -> str | None:
    spelled = re.sub(r"[^0-9a-z]", "", value.lower())
    return None if spelled in _ENCODINGS else "Only UTF8: the gateway reads every text as UTF8."


def _conforming(value: str) -> str | None:
    return None if value.lower() in _TRUE else "Only on: the gateway reads every string constant so."


def _content(value: str) -> str | None:
    return None if value.lower() == "content" else "Only content."


def _level(value: str) -> str | None:
    return None if value.lower() in _LEVELS else "Only notice, warning or error."


def _path(value: str) -> str | None:
    names = schemas(value)
    if names is None or "$user" in names:
        return "Name the schemas one by one; $user is none."
    return None


#: What is allowed of a setting's values: says what is, if the value is not.
RESTRICTED: Final[Mapping[str, Callable[[str], str | None]]] = {
    "client_encoding": _encoding,
    "standard_conforming_strings": _conforming,
    "client_min_messages": _level,
    "xmloption": _content,
    "search_path": _path,
}


def _cut(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name[:63])
