"""The verbs of operations that a guardrail can match.

A verb that no analysis ever says is refused in the policy: a guardrail with a slip of the pen would guard nothing.
"""

from __future__ import annotations

from typing import Final

VERBS: Final = frozenset(
    [
        "alter",
        "analyze",
        "begin",
        "call",
        "cast",
        "checkpoint",
        "close",
        "cluster",
        "comment",
        "commit",
        "commit prepared",
        "copy",
        "create",
        "create function",
        "deallocate",
        "delete",
        "discard",
        "do",
        "drop",
        "execute",
        "explain",
        "fetch",
        "grant",
        "insert",
        "label",
        "listen",
        "load",
        "lock",
        "merge",
        "move",
        "notify",
        "prepare transaction",
        "refresh",
        "reindex",
        "release",
        "reset",
        "revoke",
        "rollback",
        "rollback prepared",
        "rollback to",
        "savepoint",
        "select",
        "set",
        "show",
        "truncate",
        "unknown",
        "unlisten",
        "update",
        "vacuum",
    ]
)
