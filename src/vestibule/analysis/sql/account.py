"""The account with which the gateway itself logs in to a target: nobody may lock it out through the gateway.

1. What decides whether it can log in (its password, name, existence, LOGIN, VALID UNTIL, CONNECTION LIMIT) is not
   changed by a statement, whatever the policy allows: one statement would end every later log-in of everybody.
2. CURRENT_USER and its like may be that account, and are taken for it.
"""

from __future__ import annotations

from typing import Final

from vestibule.analysis.sql import nodes
from vestibule.analysis.sql.parser import Node
from vestibule.model.statement import Unsupported

#: Options of ALTER ROLE without which an account cannot log in.
DECISIVE: Final = frozenset({"password", "canlogin", "validUntil", "connectionlimit"})
_WORDS: Final = frozenset({"current_user", "current_role", "session_user"})
_HINT: Final = (
    "To rotate its password, set the new one at the server by a connection of its own, and put it where the policy's "
    "credential.password of this target points; new sessions use it at once. To change another role, name it."
)


def lockout(kind: str, node: Node, account: str) -> Unsupported | None:
    """Refuse a statement that could keep `account` from logging in; an empty name is no account."""
    named = _named(kind, node) if account else ()
    if not any(name == account or (is_word and name in _WORDS) for name, is_word in named):
        return None
    return Unsupported(
        "42501",
        f"vestibule: {account} is the account with which the gateway itself logs in here; a statement that could lock "
        "it out, and with it everybody, is refused",
        _HINT,
    )


def _named(kind: str, node: Node) -> list[tuple[str, bool]]:
    """Name the roles whose log-in a statement decides about, and whether a word stands for the role."""
    match kind:
        case "AlterRoleStmt":
            options = {option["DefElem"]["defname"] for option in node.get("options", ())}
            return [_role(node["role"])] if options & DECISIVE else []
        case "DropRoleStmt":
            return [_role(each["RoleSpec"]) for each in node["roles"]]
        case "RenameStmt" if node["renameType"] == "OBJECT_ROLE":
            return [(node["subname"], False)]
        case _:
            return []


def _role(spec: Node) -> tuple[str, bool]:
    return nodes.role(spec), "rolename" not in spec
