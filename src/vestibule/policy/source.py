"""A YAML file as plain values, each with its place, for people who must be told where they went wrong.

1. UTF-8, at most 1 MiB, at most 32 levels deep, one document.
2. No anchors, aliases or tags: a reviewer reads every value where it stands, and nothing can multiply.
3. No key twice: the second would silently win.
4. Plain words are read by the core schema of YAML 1.2: `no` and `8:30` are words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

LIMIT: Final = 1024 * 1024
DEPTH: Final = 32

Tree = None | bool | int | str | list["Tree"] | dict[str, "Tree"]
Path = tuple[str | int, ...]

# libyaml where the wheel brings it: the plain Python reader needs seconds for a megabyte.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: Final[Mapping[str, Tree]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
#: What YAML 1.2 refuses (section 5.1); searched here because its readers do not tell the line.
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NUMBER: Final = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong at a place, and what to write instead."""

    place: Place
    message: str

    def render(self, filename: str, kind: str = "") -> str:
        """Write the problem as `file:line:column: message`, with its kind before the message if one is given."""
        words = f"{kind}: {self.message}" if kind else self.message
        return f"{filename}:{self.place.line}:{self.place.column}: {words}"


class Faulty(Exception):
    """The text cannot be used; `problems` says why, in the order of the file."""

    def __init__(self, *problems: Problem) -> None:
        """Keep the problems."""
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(sorted(set(problems)))


@dataclass(frozen=True, slots=True)
class Source:
    """The values of one file and their places, by path; a member's key has a place of its own."""

    data: Tree
    places: Mapping[Path, Place]
    keys: Mapping[Path, Place]

    def place(self, path: Path) -> Place:
        """Find the value at `path`, or the nearest value around it."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def key(self, path: Path) -> Place:
        """Find the key of the member at `path`, or the value itself where it has no key."""
        return self.keys.get(path) or self.place(path)

    def resolve(self, location: Path) -> Path:
        """Keep of `location` only the steps that exist in the file."""
        here: Path = ()
        node = self.data
        for step in location:
            match node:
                case dict() if step in node:
                    node = node[str(step)]
                case list() if isinstance(step, int) and step < len(node):
                    node = node[step]
                case _:
                    continue
            here = (*here, step)
        return here


def parse(text: bytes, worded: frozenset[str] = frozenset()) -> Source:
    """Read `text`; raise `Faulty` for everything that the rules of this module refuse.

    The value `null` of a key in `worded` is a word like any other, not the lack of a value.
    """
    builder = _Builder(worded)
    try:
        for event in yaml.parse(_decode(text), Loader=_Loader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise Faulty(*builder.problems, _syntax(error)) from None
    return builder.finish()


def _decode(text: bytes) -> str:
    if len(text) > LIMIT:
        raise Faulty(Problem(Place(1, 1), f"the file has {len(text)} bytes; at most {LIMIT} are read"))
    try:
        words = text.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8")
        raise Faulty(Problem(_end(before), "not UTF-8; save the file as UTF-8")) from None
    if found := _UNPRINTABLE.search(words):
        before = words[: found.start()]
        raise Faulty(Problem(_end(before), f"control character U+{ord(found.group()):04X}; remove it"))
    return words


def _end(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _syntax(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    # Never str(error): it quotes the line, which may hold a secret that does not belong there.
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    if getattr(error, "context", None) == "while scanning an alias":
        return Problem(place, "an alias (*) is not read; put a text that begins with * in quotes")
    return Problem(place, f"not valid YAML: {reason}; check indentation, brackets and quotes around here")


@dataclass(slots=True)
class _Frame:
    """An open collection; `key` is the member whose value is awaited."""

    path: Path
    node: list[Tree] | dict[str, Tree]
    key: str | None = None

    def next_path(self) -> Path:
        return (*self.path, len(self.node) if isinstance(self.node, list) else (self.key or ""))


@dataclass(slots=True)
class _Builder:
    """Builds the tree from parser events without recursion, so that depth cannot exhaust the stack."""

    worded: frozenset[str]
    problems: list[Problem] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    places: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    root: list[Tree] = field(default_factory=list)

    def take(self, event: yaml.Event) -> None:
        """Take one event of the parser."""
        for message in _refusals(event):
            self.problems.append(Problem(_place(event), message))
        match event:
            case yaml.DocumentStartEvent() if self.root:
                raise Faulty(*self.problems, Problem(_place(event), "a second document begins here; write one only"))
            case yaml.AliasEvent():
                self._value(event, None)
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.SequenceStartEvent():
                self._open(event, [])
            case yaml.MappingStartEvent():
                self._open(event, {})
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self.stack.pop()
            case _:
                pass

    def finish(self) -> Source:
        """Hand over what was built."""
        if self.problems:
            raise Faulty(*self.problems)
        if not self.root or self.root[0] is None:
            raise Faulty(Problem(Place(1, 1), "the file is empty"))
        return Source(self.root[0], self.places, self.keys)

    def _open(self, event: yaml.Event, node: list[Tree] | dict[str, Tree]) -> None:
        if len(self.stack) >= DEPTH:
            raise Faulty(*self.problems, Problem(_place(event), f"nested deeper than {DEPTH} levels"))
        path = self._value(event, node)
        self.stack.append(_Frame(path, node))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self.stack and isinstance(self.stack[-1].node, dict) and self.stack[-1].key is None:
            self._key(event, event.value)
        elif event.value == "null" and self.stack and self.stack[-1].key in self.worded:
            self._value(event, event.value)
        else:
            self._value(event, _resolve(event))

    def _key(self, event: yaml.Event, key: str) -> None:
        frame = self.stack[-1]
        path = (*frame.path, key)
        if path in self.keys:
            first = self.keys[path].line
            self.problems.append(Problem(_place(event), f'"{key}" is written twice, first in line {first}; keep one'))
        self.keys[path] = _place(event)
        frame.key = key

    def _value(self, event: yaml.Event, value: Tree) -> Path:
        if not self.stack:
            self.root.append(value)
            self.places[()] = _place(event)
            return ()
        frame = self.stack[-1]
        path = frame.next_path()
        self.places[path] = _place(event)
        self._store(frame, event, value)
        return path

    def _store(self, frame: _Frame, event: yaml.Event, value: Tree) -> None:
        if isinstance(frame.node, list):
            frame.node.append(value)
        elif frame.key is None:
            raise Faulty(*self.problems, Problem(_place(event), "a key must be a word, not a list or a mapping"))
        else:
            frame.node[frame.key] = value
            frame.key = None


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _refusals(event: yaml.Event) -> Iterator[str]:
    if getattr(event, "anchor", None):
        yield "anchors and aliases (& and *) are not read; write the value out"
    if getattr(event, "tag", None):
        yield "tags (!) are not read; remove it"
    # Double quotes can spell half a character ("\ud800"), which no protocol can carry.
    if isinstance(event, yaml.ScalarEvent) and not event.value.isascii() and _SURROGATE.search(event.value):
        yield "this text holds half a character (\\ud800 to \\udfff); write the whole one"


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _resolve(event: yaml.ScalarEvent) -> Tree:
    if not event.implicit[0]:
        return str(event.value)
    if event.value in _WORDS:
        return _WORDS[event.value]
    return int(event.value) if _NUMBER.fullmatch(event.value) else str(event.value)
