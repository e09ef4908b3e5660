"""The operator's files: YAML of every shape, the policy, the settings, and the words that both are made of."""

from __future__ import annotations

import tempfile
from atexit import register
from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import rmtree
from typing import Final

from tests.fuzz.readers.base import Reader
from tests.support.policies import HEAD, RULES, identity, operation
from tests.support.wrong_policies import WRONG
from vestibule import settings
from vestibule.model.decision import Allow, Deny, Hold
from vestibule.model.names import TargetName
from vestibule.model.statement import Impact
from vestibule.policy import document, values
from vestibule.policy.engine import Engine
from vestibule.policy.explain import explain, who_can
from vestibule.policy.reading import InvalidFile, check, show, suggestion
from vestibule.policy.source import Faulty, parse

MASKS: Final = """\
masks:
  - name: ssn
    columns: ["*.customers.ssn"]
    transform: {keep_last: 4}
    clear_for: {groups: [fraud-desk]}
  - name: card
    columns: ["public.cards.*"]
    transform: hide
"""
SETTINGS: Final = """\
public_url: https://vestibule.example:8443
data: data
policy: policy.yaml
workers: 2
listeners:
  postgres: {address: "127.0.0.1:15432", certificate: server.pem, key: server.key}
  control: {address: "[::1]:8443", certificate: server.pem, key: server.key}
providers:
  corp: {client_secret: file:corp.secret, ca: idp-ca.pem}
journal: {min_free: 2GiB, segment_bytes: 64MiB}
log: {origin: vestibule.example/log}
limits: {sessions: 1000, startup_timeout: 10s, bind_bytes: 64MiB}
drain: 10s
trusted_proxies: ["10.0.0.0/24", "fd00::/64"]
"""
BOMB: Final = "a: &a [x, x, x]\n" + "".join(
    f"{y}: &{y} [*{x}, *{x}, *{x}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
)
ODD: Final = (
    BOMB,
    "a: 1\nb: {c: [1, 2, {d: null}], e: 'x'}\nf: |\n  text\n  more\ng: >-\n  folded\n",
    "a: 1\na: 2\n",
    "? [a, b]\n: c\n",
    "<<: {a: 1}\nb: !!python/object:os.system x\n",
    "%YAML 1.2\n---\na: &x 1\nb: *x\n...\n---\nc: 1\n",
    "a: 0x1F\nb: 1e400\nc: 0o17\nd: 9999999999999999999999\ne: 12:30:45\nf: 2026-01-31\n",
    '"\\u0041\\x41\\ud83d\\ude00": "\\N\\_\\L\\P\\e"\n',
)
PARSERS: Final[tuple[Callable[[str], object], ...]] = (
    values.slug,
    values.label,
    values.line,
    lambda text: values.spelled(values.positive(values.duration(text))),
    values.size,
    lambda text: str(values.address(text)),
    values.impact,
    values.reference,
    values.absolute,
    values.authority,
    values.url,
    values.function,
    values.identifier,
    settings._network,
    settings._origin,
    lambda text: (show(text), suggestion(text[:200], ("hosts", "databases", "search_path"))),
)


PERSON: Final = identity("engineering", "dba", "fraud-desk")
OPERATIONS: Final = tuple(
    map(operation, ("read select public.customers", "write delete public.loans", "schema drop x"))
)


def source(data: bytes) -> bool:
    """A YAML text."""
    try:
        read = parse(data)
    except Faulty as faulty:
        assert faulty.problems
        assert all(problem.place.line >= 1 for problem in faulty.problems)
        assert str(faulty).isprintable() or "\n" in str(faulty)
        return False
    for path in list(read.places)[:50]:
        assert read.place(path) == read.places[path]
        assert read.resolve(path) == path
    return True


def policy(data: bytes) -> bool:
    """A policy; one that is taken says what it means."""
    try:
        read = document.load(data, "policy.yaml")
    except InvalidFile as error:
        assert str(error).startswith("policy.yaml:")
        return False
    assert document.load(data, "policy.yaml") == read
    assert document.diff(None, read)
    assert all(TargetName(name) == target.name for name, target in read.targets.items())
    engine = Engine(read)
    for target in list(read.targets.values())[:4]:
        assert isinstance(engine.decide(PERSON, target, OPERATIONS), Allow | Deny | Hold)
        assert explain(engine, PERSON.groups, target, OPERATIONS).steps
        assert engine.labels(PERSON, target) is not None
        who_can(engine, target, Impact.WRITE)
        engine.session_limits(PERSON, target)
    return True


def operators(data: bytes) -> bool:
    """A settings file; the files that it names are there."""
    try:
        check(settings.Settings, parse(data), settings.LATER, context=_folder())
    except Faulty as faulty:
        assert faulty.problems
        assert "hunter2" not in str(faulty)
        return False
    return True


def word(data: bytes) -> bool:
    """One value of the files, of the kind that the first byte names."""
    text, accepted = data[1:].decode(errors="replace"), False
    try:
        PARSERS[data[0] % len(PARSERS) if data else 0](text)
        accepted = True
    except ValueError as error:
        assert str(error)
    return accepted


@cache
def _folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="vestibule-fuzz-"))
    register(rmtree, made, ignore_errors=True)
    for name in ("server.pem", "server.key", "corp.secret", "idp-ca.pem", "policy.yaml"):
        (made / name).write_text("hunter2")
        (made / name).chmod(0o600)
    return made


# --- whole ones ------------------------------------------------------------------------------------------------------


def _policies() -> list[bytes]:
    whole = HEAD + RULES + MASKS
    # What is wrong already is refused before most of the rules are asked.
    return [
        *[whole.encode(), (HEAD + RULES).encode()] * len(WRONG),
        *(whole.replace(old, new, 1).encode() for old, new, *_ in WRONG),
    ]


def _settings() -> list[bytes]:
    _folder()
    return [SETTINGS.encode(), SETTINGS[: SETTINGS.index("journal")].encode()]


def _words() -> list[bytes]:
    texts = [
        "core-banking",
        "8h",
        "64MiB",
        "[fd00::1]:5432",
        "db1.internal:5432",
        "file:/etc/x",
        "env:NAME",
        "10.0.0.0/8",
    ]
    texts += ["https://idp.bank.example/realms/staff", "public.f(text, int)", "schema", "engineers work in production"]
    return [bytes([number]) + text.encode() for number in range(len(PARSERS)) for text in texts]


_YAML: Final = (
    *(
        b": ",
        b"- ",
        b"\n",
        b"\n  ",
        b"\n    - ",
        b"&a ",
        b"*a",
        b"!!str ",
        b"!x ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"? ",
        b"| \n",
    ),
    *(
        b">\n",
        b"---\n",
        b"...\n",
        b"%YAML 1.1\n",
        b"<<: ",
        b"# ",
        b"'",
        b'"',
        b"~",
        b"null",
        b"yes",
        b"0o7",
        b"1e9",
        b"\t",
    ),
    *(
        b"groups: [a]",
        b"name: x",
        b"hosts: []",
        b"targets: {labels: {a: b}}",
        b'"\\ud800"',
        b"\xe2\x80\xa8",
        b"\xc2\x85",
    ),
)

READERS: Final = (
    Reader("policy.source", source, lambda: [*map(str.encode, ODD), HEAD.encode()], 60, _YAML),
    Reader("policy.policy", policy, _policies, 16, _YAML),
    Reader("policy.settings", operators, _settings, 20, _YAML),
    Reader("policy.word", word, _words, 250, (b":", b"[", b"]", b"/", b"://", b"@", b"%", b"h", b"MiB", b"::")),
)
