"""The user name of every protocol: `login+target/role?option&option`.

1. It is split at the last `+`: a login may be an e-mail address with a `+` of its own.
2. Nothing here is trusted: a login is compared with the proven name, a target with those granted.
3. What follows the `+` and is no target's name stays as it is: it is then an unknown target, and so refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_CHOICE: Final = re.compile(
    r"(?P<target>[a-z0-9._-]{1,63})(?:/(?P<role>[A-Za-z0-9._-]{1,63}))?(?:\?(?P<options>[a-z]*(?:&[a-z]*)*))?"
)


@dataclass(frozen=True, slots=True)
class User:
    """A user name taken apart; what it does not name is empty."""

    login: str
    target: str = ""
    role: str = ""
    options: tuple[str, ...] = ()


def read_user(name: str) -> User:
    """Take a user name apart; one without a `+` is a login alone."""
    login, plus, choice = name.rpartition("+")
    if not plus:
        return User(name)
    match = _CHOICE.fullmatch(choice)
    if match is None:
        return User(login, choice)
    options = tuple(option for option in (match["options"] or "").split("&") if option)
    return User(login, match["target"], match["role"] or "", options)
