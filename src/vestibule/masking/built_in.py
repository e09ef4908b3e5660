"""What PostgreSQL itself holds that a masked identity never sees: columns of the system, and functions that reach rows.

The columns are other people's values, statements and secrets. The functions read relations, files or statements that
no part of the text names as such, so that no look at the text shows what they give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vestibule.model.names import RuleName
from vestibule.model.plan import Mask, Transform

RULE: Final = RuleName("built-in")
HIDDEN: Final = Mask(RULE, Transform("hide"))
#: All columns of a relation.
ALL: Final = frozenset({"*"})

STATISTICS: Final = frozenset(
    ["most_common_vals", "histogram_bounds", "most_common_elems", "range_length_histogram", "range_bounds_histogram"]
)
#: Columns of system relations.
COLUMNS: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    **{("pg_catalog", name): STATISTICS for name in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs")},
    **{("pg_catalog", name): ALL for name in ("pg_statistic", "pg_statistic_ext_data", "pg_largeobject")},
    ("pg_catalog", "pg_stat_activity"): frozenset({"query"}),
    ("pg_catalog", "pg_authid"): frozenset({"rolpassword"}),
    ("pg_catalog", "pg_shadow"): frozenset({"passwd"}),
    ("pg_catalog", "pg_user_mapping"): frozenset({"umoptions"}),
    ("pg_catalog", "pg_user_mappings"): frozenset({"umoptions"}),
    ("pg_catalog", "pg_subscription"): frozenset({"subconninfo"}),
    ("pg_catalog", "pg_proc"): frozenset({"prosrc", "prosqlbody"}),
    # A default of a column that was added later is kept here as a value.
    ("pg_catalog", "pg_attribute"): frozenset({"attmissingval"}),
    ("information_schema", "routines"): frozenset({"routine_definition"}),
    ("information_schema", "user_mapping_options"): frozenset({"option_value"}),
    ("information_schema", "_pg_user_mappings"): frozenset({"umoptions"}),
}
#: Columns of relations that extensions bring, in whatever schema.
ANYWHERE: Final[Mapping[str, frozenset[str]]] = {"pg_stat_statements": frozenset({"query"})}

_REACHING: Final = re.compile(
    r"""
    (query|table|schema|database|cursor)_to_xml(schema|_and_xmlschema)?
    | ts_stat | ts_rewrite | currtid2?
    | pg_get_functiondef | pg_get_function_sqlbody | pg_mcv_list_items
    | pg_read_\w+ | pg_ls_\w+ | pg_stat_file | pg_file_\w+ | pg_current_logfile
    | pg_hba_file_rules | pg_show_all_file_settings
    | lo_\w+ | loread | lowrite
    | pg_logical_\w+ | pg_create_\w+_slot | pg_copy_\w+_slot | pg_get_wal_\w+ | pg_replication_slot_advance
    | pg_stat_get_activity | pg_stat_get_backend_activity | pg_stat_statements | pg_get_backend_memory_contexts
    | dblink\w* | postgres_fdw_\w+ | crosstab\w* | connectby | xpath_table
    | get_raw_page | page_\w+ | heap_\w+ | tuple_data_split | fsm_page_contents
    | (bt|brin|gin|gist|hash)_\w*(page|metap|data|bitmap|revmap)\w*
    """,
    re.VERBOSE,
)


def is_reaching(name: str) -> bool:
    """Tell whether a function of this name gives what the text does not show."""
    return _REACHING.fullmatch(name) is not None
