"""From a YAML text to a checked model, or to a list of problems that each say what to write instead.

1. All problems of a file are told at once, each at its own line and column.
2. What is not known is refused; what a coming version will know is refused by name, never ignored.
3. A message never repeats the value of a field that may hold a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from vestibule.model.errors import ConfigurationError
from vestibule.policy.source import Faulty, Path, Problem, Source, Tree

#: Keys whose values are never repeated in a message.
SECRET: Final = frozenset({"password", "client_secret", "key"})


class InvalidFile(ConfigurationError):
    """A file of the operator's cannot be used; the text has one line a problem."""

    def __init__(self, filename: str, problems: Iterable[Problem]) -> None:
        """Write each problem with the file's name."""
        self.filename = filename
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.render(filename) for problem in self.problems))


class Strict(BaseModel):
    """A mapping of the file: no unknown keys, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


ModelT = TypeVar("ModelT", bound=Strict)


def check(model: type[ModelT], source: Source, later: Mapping[str, str], context: object = None) -> ModelT:
    """Make a `model` of `source`; raise `Faulty` with all problems; `later` holds keys of coming versions."""
    problems = [_valueless(model, source, path) for path in _empty(source.data)]
    try:
        value = model.model_validate(source.data, context=context)
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if detail["input"] is not None]
        raise Faulty(*problems, *(_problem(model, source, later, detail) for detail in details)) from None
    if problems:
        raise Faulty(*problems)
    return value


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which of the `known` words was probably meant, or list them."""
    words = sorted(known)
    begins = [known for known in words if len(word) >= 3 and known.startswith(word.lower())]
    close = begins or difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known here: {', '.join(words)}" if words else "none is known here"


def spell(path: Path) -> str:
    """Write a path as `targets.core.hosts[0]`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).lstrip(".")


def _empty(node: Tree, path: Path = ()) -> Iterator[Path]:
    """Find the members without a value: `idle:` could mean no limit or a forgotten one, so it means nothing."""
    match node:
        case None:
            yield path
        case dict():
            for key, value in node.items():
                yield from _empty(value, (*path, key))
        case list():
            for index, value in enumerate(node):
                yield from _empty(value, (*path, index))


def _valueless(model: type[Strict], source: Source, path: Path) -> Problem:
    example = _example(model, path, str(path[-1]))
    return Problem(source.key(path), _at(path, f"has no value; write one or remove the key{example}"))


def _problem(model: type[Strict], source: Source, later: Mapping[str, str], detail: ErrorDetails) -> Problem:
    location = detail["loc"]
    path = source.resolve(location)
    match detail["type"]:
        case _ if location[-1:] == ("[key]",):
            return Problem(source.key(path), _at(path, _wrong(model, path, detail)))
        case "extra_forbidden":
            return Problem(source.key(path), _unknown(model, path, later))
        case "missing":
            key = str(location[-1])
            message = f'"{key}" is missing{_example(model, location, key)}'
            return Problem(source.key(path), _at(path, message))
        case _:
            place = source.key(path) if isinstance(detail["input"], dict) else source.place(path)
            return Problem(place, _at(path, _wrong(model, path, detail)))


def _at(path: Path, message: str) -> str:
    return f"{spell(path)}: {message}" if path else message


def _unknown(model: type[Strict], path: Path, later: Mapping[str, str]) -> str:
    key = str(path[-1])
    known = {name for inner in _models(model, path[:-1]) for name in inner.model_fields}
    if key in later:
        return _at(path, later[key])
    return _at(path[:-1], f'unknown key "{key}"; {suggestion(key, known)}')


def _wrong(model: type[Strict], path: Path, detail: ErrorDetails) -> str:
    example = _example(model, path, str(path[-1]) if path else "")
    explain = _WORDING.get(detail["type"])
    return explain(path, detail, example) if explain else detail["msg"].lower()


def _choice(path: Path, detail: ErrorDetails, _example: str) -> str:
    expected = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
    if SECRET.intersection(path):
        return f"write one of {expected}"
    return f"{show(detail['input'])} is not known; write one of {expected}"


def show(value: object) -> str:
    """Write a value that is no secret, cut to what a line can bear."""
    text = str(value) if isinstance(value, bool | int | str) else f"a {type(value).__name__}"
    return f'"{text[:60]}..."' if len(text) > 60 else f'"{text}"'


_Explain = Callable[[Path, ErrorDetails, str], str]
_WORDING: Final[Mapping[str, _Explain]] = {
    "value_error": lambda path, detail, example: str(detail["ctx"]["error"]),
    "literal_error": _choice,
    "string_type": lambda path, detail, example: f"must be text; put it in quotes if it looks like a number{example}",
    "int_type": lambda path, detail, example: f"must be a whole number{example}",
    "bool_type": lambda path, detail, example: "must be true or false",
    "list_type": lambda path, detail, example: f"must be a list{example}",
    "dict_type": lambda path, detail, example: f"must be a mapping of keys to values{example}",
    "model_type": lambda path, detail, example: f"must be a mapping of keys to values{example}",
    "too_short": lambda path, detail, example: f"is empty; write at least one{example}",
    "greater_than_equal": lambda path, detail, example: f"must be at least {detail['ctx']['ge']}",
    "less_than_equal": lambda path, detail, example: f"must be at most {detail['ctx']['le']}",
}


def _example(model: type[Strict], path: Path, key: str) -> str:
    for inner in _models(model, path[:-1]):
        field = inner.model_fields.get(key)
        if field is not None and field.examples:
            return f"; write for example {key}: {field.examples[0]}"
    return ""


def _models(model: type[Strict], path: Path) -> tuple[type[Strict], ...]:
    """Find the models that can stand at `path`."""
    here: tuple[object, ...] = (model,)
    for step in path:
        here = tuple(inner for annotation in here for inner in _inside(annotation, step))
    return tuple(inner for annotation in here for inner in _branches(annotation) if _is_model(inner))


def _inside(annotation: object, step: str | int) -> Iterator[object]:
    for branch in _branches(annotation):
        arguments = get_args(branch)
        if _is_model(branch):
            field: FieldInfo | None = branch.model_fields.get(str(step))
            if field is not None:
                yield field.annotation
        elif get_origin(branch) is dict:
            yield arguments[1]
        elif get_origin(branch) is list:
            yield arguments[0]


def _branches(annotation: object) -> Iterator[Any]:
    """Look through `Annotated` and unions."""
    if get_origin(annotation) is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif get_origin(annotation) in (dict, list) or not get_args(annotation):
        yield annotation
    else:
        for member in get_args(annotation):
            yield from _branches(member)


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Strict)
