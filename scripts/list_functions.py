"""List the built-in functions of live PostgreSQL servers by what a call of them can do.

    .venv/bin/python scripts/list_functions.py postgresql://.../postgres postgresql://.../postgres \
        > src/vestibule/analysis/sql/built_in.py

1. A name is READ when every callable function of that name, on every server given, may be called by a reader.
2. A function may be called by a reader when it is immutable or stable, written in C or by initdb in SQL, and not on the
   list of those that run SQL, read files or show other sessions; or when it is volatile and listed here by name.
3. WRITE and ADMIN are listed by name. Every other name is UNKNOWN, and listed too: a name in column notation
   (`(x).f`) is a call only if such a function exists.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import psycopg

#: Types that no expression has: a function with such an argument or result is called by the server alone.
INTERNAL: Final = frozenset(
    (
        *("internal", "trigger", "event_trigger", "language_handler", "pg_ddl_command"),
        *("index_am_handler", "table_am_handler", "tsm_handler", "fdw_handler"),
    )
)

#: Stable or immutable functions that run SQL, call a type's or a language's code by its number, read files, show what
#: other sessions do, or quote their argument when it names nothing (`regclass`).
NOT_FOR_READERS: Final = re.compile(
    r"(query|table|schema|database|cursor)_to_xml.*|ts_stat|ts_rewrite|pg_read_.*|pg_ls_.*|lo_.*|loread|lowrite"
    r"|pg_logical_.*|pg_stat_get_(activity|backend_.*|wal_senders|wal_receiver|progress_info|subscription)"
    r"|pg_input_.*|.*_validator|fmgr_.*|binary_upgrade_.*|pg_event_trigger_.*|pg_(show_)?replication_.*"
    r"|pg_get_(backend|shmem)_.*|pg_prepared_xact|pg_lock_status|regclass"
)

#: Volatile functions that read nothing but the clock, the sizes and states of the server, and this session.
VOLATILE_READ: Final = re.compile(
    r"random|random_normal|setseed|array_sample|array_shuffle|gen_random_uuid|uuidv4|uuidv7|clock_timestamp|timeofday"
    r"|current_query|pg_sleep(_for|_until)?|currval|lastval|pg_sequence_last_value"
    r"|pg_(try_)?advisory_(xact_)?(un)?lock(_shared|_all)?"
    r"|pg_(database|indexes|relation|table|tablespace|total_relation)_size"
    r"|txid_.*|pg_xact_(status|commit_timestamp(_origin)?)|pg_last_committed_xact|pg_get_multixact_members"
    r"|pg_is_in_recovery|pg_is_wal_replay_paused|pg_get_wal_replay_pause_state|pg_last_wal_(receive|replay)_lsn"
    r"|pg_last_xact_replay_timestamp|pg_current_wal_(flush_|insert_)?lsn"
    r"|pg_blocking_pids|pg_safe_snapshot_blocking_pids|pg_notification_queue_usage|pg_jit_available"
    r"|pg_partition_(ancestors|tree)|pg_(database_)?collation_actual_version|pg_stat_get_xact_.*"
    r"|pg_stat_clear_snapshot|pg_get_wait_events"
    # pg_dump: its workers see what it sees; the state of sequences
    r"|pg_export_snapshot|pg_get_sequence_data"
)

WRITE: Final = re.compile(
    r"nextval|setval|pg_notify|lo_(creat|create|from_bytea|put|truncate|truncate64|unlink)|lowrite"
    r"|brin_(summarize|desummarize).*|gin_clean_pending_list"
)

ADMIN: Final = re.compile(
    r"pg_(read|ls|file)_.*|pg_stat_file|pg_(hba|ident)_file_.*|pg_show_all_file_settings|pg_current_logfile"
    r"|lo_(import|export)|pg_(cancel|terminate)_backend|pg_log_.*|pg_reload_conf|pg_rotate_logfile.*|pg_promote"
    r"|pg_switch_wal|pg_create_restore_point|pg_backup_.*|pg_wal_replay_.*|pg_stat_reset.*|pg_stat_force_next_flush"
    r"|pg_(create|drop|copy)_.*_slot|pg_drop_replication_slot|pg_replication_(slot|origin)_.*|pg_sync_replication_slots"
    r"|pg_logical_.*|pg_import_system_collations|binary_upgrade_.*|pg_nextoid|pg_stop_making_pinned_objects"
    r"|pg_extension_config_dump|pg_(clear|restore)_.*_stats"
)

#: Functions of extensions that put themselves among the built-in ones.
ELSEWHERE: Final = ("pg_file_read", "pg_file_write", "pg_file_rename", "pg_file_unlink", "pg_file_sync", "pg_logdir_ls")

#: The sections, from harmless to doubtful.
ORDER: Final = ("READ", "WRITE", "ADMIN", "UNKNOWN")

QUERY: Final = """
SELECT p.proname, p.provolatile::text, l.lanname, p.prorettype::regtype::text, p.proargtypes::regtype[]::text[]
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.oid < 16384
"""

CATALOGS: Final = """
SELECT relname FROM pg_catalog.pg_class
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') AND oid < 16384
"""


@dataclass(frozen=True, slots=True)
class Function:
    """One row of pg_proc."""

    name: str
    volatility: str
    language: str
    result: str
    arguments: tuple[str, ...]

    @property
    def is_callable(self) -> bool:
        """Whether an expression can call it."""
        return INTERNAL.isdisjoint((self.result, *self.arguments))

    @property
    def impact(self) -> str:
        """The section that its name belongs in, by this function alone."""
        if ADMIN.fullmatch(self.name):
            return "ADMIN"
        if WRITE.fullmatch(self.name):
            return "WRITE"
        return "READ" if self._is_for_readers else "UNKNOWN"

    @property
    def _is_for_readers(self) -> bool:
        if "cstring" in (self.result, *self.arguments) or NOT_FOR_READERS.fullmatch(self.name):
            return False
        if self.volatility == "v":
            return VOLATILE_READ.fullmatch(self.name) is not None
        return self.language in ("internal", "c", "sql")


def functions(dsn: str) -> Iterator[Function]:
    """Read the callable functions of one server."""
    with psycopg.connect(dsn) as connection:
        for name, volatility, language, result, arguments in connection.execute(QUERY):
            function = Function(name, volatility, language, result, tuple(arguments))
            if function.is_callable:
                yield function


def catalogs(dsn: str) -> Iterator[str]:
    """Read the names of the system catalogs and system views of one server."""
    with psycopg.connect(dsn) as connection:
        for (name,) in connection.execute(CATALOGS):
            yield name


def version(dsn: str) -> str:
    """Name the server's version."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SHOW server_version").fetchone()
        return str(row[0]).split()[0] if row else "?"


def sections(found: Iterable[Function]) -> dict[str, set[str]]:
    """Give each name to the worst section of its functions."""
    worst: dict[str, str] = dict.fromkeys(ELSEWHERE, "ADMIN")
    for function in found:
        worst[function.name] = max(worst.get(function.name, "READ"), function.impact, key=ORDER.index)
    return {section: {name for name, at in worst.items() if at == section} for section in ORDER}


#: The head of the module that is written.
HEAD: Final = '''\
"""Built-in functions of PostgreSQL by what a call can do, and its system catalogs. Generated; do not edit.

Made by scripts/list_functions.py from pg_proc and pg_class of PostgreSQL {versions}; the rules are there.
"""

from __future__ import annotations

from typing import Final
'''


def render(versions: Iterable[str], found: Iterable[Function], relations: Iterable[str]) -> str:
    """Write the module."""
    lines = [HEAD.format(versions=" and ".join(versions))]
    lists = {**sections(found), "CATALOGS": set(relations)}
    for section, names in lists.items():
        body = textwrap.fill(" ".join(sorted(names)), 118, break_long_words=False, break_on_hyphens=False)
        lines.append(f'_{section}: Final = """\n{body}\n"""\n')
    lines += [f"{section}: Final = frozenset(_{section}.split())" for section in lists]
    return "\n".join(lines) + "\n"


def main(dsns: list[str]) -> int:
    """Print the module for the servers given."""
    if not dsns:
        print(__doc__, file=sys.stderr)
        return 2
    found = [function for dsn in dsns for function in functions(dsn)]
    relations = [name for dsn in dsns for name in catalogs(dsn)]
    print(render([version(dsn) for dsn in dsns], found, relations), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
