from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import ValidationError

from vestibule import settings
from vestibule.policy import schema
from vestibule.policy.document import load
from vestibule.policy.reading import Strict, check
from vestibule.policy.source import parse
from vestibule.policy.verbs import VERBS

DOCS = Path(__file__).parents[2] / "docs/reference"
POLICY, SETTINGS = (DOCS / "policy.md").read_text(), (DOCS / "vestibule.yaml.md").read_text()


def documented(page: str) -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]+)` \|\s*(.*?)\s*\| .+ \|$", page.split("## Every key")[1], re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def keys(model: type[Strict], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        for inner, suffix in _inner(field.annotation, ""):
            yield from keys(inner, f"{prefix}{name}{suffix}.")


def _inner(annotation: Any, suffix: str) -> Iterator[tuple[type[Strict], str]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation, suffix
    elif origin is Annotated:
        yield from _inner(arguments[0], suffix)
    elif origin is dict:
        yield from _inner(arguments[1], f"{suffix}.*")
    elif origin is list:
        yield from _inner(arguments[0], f"{suffix}[]")
    else:
        for argument in arguments:
            yield from _inner(argument, suffix)


def expected(model: type[Strict]) -> dict[str, object]:
    found = dict(keys(model))
    # The two listeners are alike, and described once.
    return {re.sub(r"^listeners\.(postgres|control)", "listeners.*", key): field for key, field in found.items()}


@pytest.mark.parametrize(("model", "page"), [(schema.Document, POLICY), (settings.Settings, SETTINGS)])
def test_every_key_is_documented_and_every_documented_key_exists(model: type[Strict], page: str) -> None:
    assert set(documented(page)) == set(expected(model))


@pytest.mark.parametrize(("model", "page"), [(schema.Document, POLICY), (settings.Settings, SETTINGS)])
def test_the_documentation_says_required_exactly_where_the_model_does(model: type[Strict], page: str) -> None:
    fields = expected(model)
    required = {key for key, field in fields.items() if field.is_required()}
    # Inside another mapping a key is required only once that mapping is there: the labels of a selector.
    required -= {key for key in required if key.endswith("targets.labels")}
    assert {key for key, default in documented(page).items() if default == "required"} == required


@pytest.mark.parametrize(("model", "page"), [(schema.Document, POLICY), (settings.Settings, SETTINGS)])
def test_documented_defaults_are_the_model_s(model: type[Strict], page: str) -> None:
    fields = expected(model)
    for key, default in documented(page).items():
        if written := re.fullmatch(r"`(.*)`", default):
            meant = fields[key].get_default()
            assert _spelled(written[1]) == _spelled(meant), key


def _spelled(value: object) -> object:
    if isinstance(value, str):
        value = parse(f"x: {value}".encode()).data["x"]
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(MiB|GiB)", value):
        return settings.Journal.model_validate({"min_free": value, "stop_free": 0}).min_free
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(s|m|h)", value):
        return float(value[:-1]) * {"s": 1, "m": 60, "h": 3600}[value[-1]]
    return value


def test_every_verb_is_documented() -> None:
    (listed,) = re.findall(r"\*\*Verbs\*\* are (.*?)\. `policy explain`", POLICY, re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", listed)) == VERBS


def test_the_example_of_the_policy_loads_without_a_warning() -> None:
    example = re.search(r"```yaml\n(.*?)```", POLICY, re.DOTALL)[1]
    assert load(example.encode(), "policy.md").warnings == ()


def test_the_example_of_the_settings_loads(tmp_path: Path) -> None:
    for name in ("tls/server.pem", "tls/server.key", "secrets/corp", "tls/idp-ca.pem"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o600)
    example = re.search(r"```yaml\n(.*?)```", SETTINGS, re.DOTALL)[1]
    check(settings.Settings, parse(example.encode()), settings.LATER, context=tmp_path)


@pytest.mark.parametrize("model", [schema.Document, settings.Settings])
def test_every_example_that_an_error_shows_is_right(model: type[Strict], tmp_path: Path) -> None:
    for name in ("server.pem", "server.key", "tls/server.pem", "tls/server.key", "secrets/corp", "tls/idp-ca.pem"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o600)
    shown = 0
    for key, field in keys(model):
        owner, name = _owner(model, key)
        for example in field.examples or ():
            text = f"{name}: {example}"
            errors = _errors(owner, text, tmp_path)
            assert not [error for error in errors if error["loc"][:1] == (name,)], text
            shown += 1
    assert shown > 20


def _owner(model: type[Strict], key: str) -> tuple[type[Strict], str]:
    for step in key.split(".")[:-1]:
        name = step.removesuffix("[]")
        if name != "*":
            (model,) = {inner for inner, _ in _inner(model.model_fields[name].annotation, "")}
    return model, key.split(".")[-1]


def _errors(model: type[Strict], text: str, folder: Path) -> list[dict[str, Any]]:
    try:
        model.model_validate(parse(text.encode()).data, context=folder)
    except ValidationError as error:
        return error.errors()
    return []
