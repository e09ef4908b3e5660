"""The rules of the house, held by a test rather than by memory."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "vestibule"

#: A package imports only packages with a smaller number; packages of one number never import each other.
LAYERS: Mapping[str, int] = {
    "model": 0,
    "wire": 1,
    "metrics": 1,
    "analysis": 1,
    "policy": 1,
    "masking": 1,
    "evidence": 1,
    "gate": 2,
    "protocols": 3,
    "identity": 4,
    "vault": 4,
    "stores": 4,
    "notify": 4,
    "bus": 4,
    "vitals": 4,
    "logs": 4,
    "server": 5,
    "control": 5,
    "settings": 6,
    "app": 6,
    "cli": 6,
}
#: The top may know itself: `cli` starts `app`, which reads `settings`.
TOP = 6
PURE = 3

#: Modules that read a clock, the network, the file system or randomness, or that run something beside.
IMPURE = frozenset(
    [
        "asyncio",
        "concurrent",
        "datetime",
        "io",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "ssl",
        "subprocess",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uvloop",
    ]
)
#: What of an impure module is only arithmetic or a type.
HARMLESS: Mapping[str, frozenset[str]] = {
    "time": frozenset({"gmtime", "strftime"}),
    "datetime": frozenset({"UTC", "date", "datetime", "time", "timedelta", "timezone"}),
    "io": frozenset({"BytesIO", "StringIO"}),
    "urllib": frozenset({"parse"}),
    "pathlib": frozenset({"PurePath", "PurePosixPath"}),
}
#: Names that read a clock or a file, whatever they are called on.
READING = frozenset({"now", "utcnow", "today", "monotonic", "perf_counter", "read_text", "read_bytes", "write_text"})

#: A program that auditors run by itself: it reads files, and so is not one of the pure engines.
STANDALONE = "evidence/verify.py"

#: Modules without a test file of their own, each with the reason.
UNTESTED: Mapping[str, str] = {
    "model/errors.py": "one attribute is kept; tested where the errors are raised and answered",
}

#: What nobody can keep, or no regulator has said.
FORBIDDEN_WORDS = ("tamper-proof", "tamperproof", "FFIEC-compliant", "FFIEC requires", "non-repudiation")
#: In pages for people; in code it is Python's own word.
FORBIDDEN_IN_PAGES = (*FORBIDDEN_WORDS, "immutable")
LONGEST = 500
#: The program that auditors run stays one file, and what it checks grows.
LONGER = {f"src/vestibule/{STANDALONE}": 800}

#: The conformance cases that this version promises.
CASES = [
    *(f"PG-{number:02d}" for number in (1, 2, 4, *range(9, 26), 28, 29, 30)),
    *(f"ID-{number:02d}" for number in (1, 2, 3)),
    *(f"E-{number:02d}" for number in (20, 21, 22, 23, 40, 44)),
]


def modules() -> list[str]:
    return sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def pure_modules() -> list[str]:
    return [name for name in modules() if 0 <= layer_of(name) <= PURE and name != STANDALONE]


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse((SOURCE / name).read_text(), filename=name)


@cache
def nodes_of(name: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(name)))


def package_of(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def layer_of(name: str) -> int:
    """The layer of a module; the package's own `__init__` has none."""
    return LAYERS.get(package_of(name), -1)


def imports_of(name: str) -> Iterator[tuple[str, str]]:
    """Every import as (module, imported name), wherever it stands."""
    for node in nodes_of(name):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def own_imports(name: str) -> Iterator[str]:
    """What a module imports of ours, as a dotted path below the package."""
    for module, imported in imports_of(name):
        if module == "vestibule":
            yield imported
        elif module.startswith("vestibule."):
            yield module.removeprefix("vestibule.")


def test_every_package_has_a_layer() -> None:
    assert {package_of(name) for name in modules()} - {"__init__", "__main__"} <= set(LAYERS), "add it to LAYERS"


def test_imports_go_downwards_only() -> None:
    assert [wrong for name in modules() for wrong in _upwards(name)] == []


def _upwards(name: str) -> Iterator[str]:
    here, layer = package_of(name), layer_of(name)
    for imported in own_imports(name):
        there = imported.split(".")[0]
        if there in (here, "__version__"):
            continue
        if there not in LAYERS:
            yield f"{name} imports {imported}, which has no layer"
        elif not (LAYERS[there] < layer or LAYERS[there] == layer == TOP):
            yield f"{name} (layer {layer}) imports {imported} (layer {LAYERS[there]})"


def test_protocols_are_blind_to_each_other() -> None:
    assert [wrong for name in modules() if name.startswith("protocols/") for wrong in _looks_aside(name)] == []


def _looks_aside(name: str) -> Iterator[str]:
    folder = name.split("/")[1].removesuffix(".py")
    if folder in ("base", "__init__"):
        return
    for imported in own_imports(name):
        parts = imported.split(".")
        if parts[0] == "protocols" and len(parts) > 1 and parts[1] not in (folder, "base"):
            yield f"{name} imports {imported}"


def test_the_pure_part_imports_nothing_that_reads_the_world() -> None:
    assert [wrong for name in pure_modules() for wrong in _impure_imports(name)] == []


def _impure_imports(name: str) -> Iterator[str]:
    for module, imported in imports_of(name):
        top, _, below = module.partition(".")
        harmless = HARMLESS.get(top, frozenset())
        if top in IMPURE and imported not in harmless and below not in harmless:
            uses = uses_of(name, top) if not imported and not below else {imported or module}
            if not uses <= harmless:
                yield f"{name} uses {sorted(uses - harmless)} of {top}"


def uses_of(name: str, module: str) -> set[str]:
    """The attributes that a module takes of an imported one."""
    return {
        node.attr
        for node in nodes_of(name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }


def test_the_pure_part_reads_no_clock_and_no_file_and_never_awaits() -> None:
    assert [wrong for name in pure_modules() for wrong in _impure_acts(name)] == []


def _impure_acts(name: str) -> Iterator[str]:
    for node in nodes_of(name):
        match node:
            case ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                yield f"{name}:{node.lineno} awaits"
            case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in READING:
                yield f"{name}:{node.lineno} calls {attribute}()"
            case ast.Call(func=ast.Name(id="open" | "input" | "print" | "eval" | "exec" as called)):
                yield f"{name}:{node.lineno} calls {called}()"


def test_the_standalone_verifier_needs_nothing_but_an_old_python() -> None:
    text = (SOURCE / STANDALONE).read_text()

    tree = ast.parse(text, feature_version=(3, 8))

    imported = {module.partition(".")[0] for module, _ in imports_of(STANDALONE)}
    assert imported <= sys.stdlib_module_names, imported - sys.stdlib_module_names
    # A newer grammar is refused above; what is new in the library is not, so the usual ones are named here.
    newer = {"removeprefix", "removesuffix", "file_digest", "is_relative_to", "bit_count", "tomllib", "zoneinfo"}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & newer


def has_behaviour(name: str) -> bool:
    """Tell whether a module computes anything: names, types, tables and contracts alone do not."""
    functions = (node for node in nodes_of(name) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(not isinstance(step, ast.Expr | ast.Pass) for function in functions for step in function.body)


def modules_with_behaviour() -> list[str]:
    return [name for name in modules() if has_behaviour(name) and not name.endswith("__init__.py")]


def test_every_module_has_its_test_at_the_same_path() -> None:
    lacking = [name for name in modules_with_behaviour() if not place_of_test_of(name).exists()]

    assert [name for name in lacking if name not in UNTESTED] == []


def place_of_test_of(name: str) -> Path:
    return (ROOT / "tests" / name).with_name(f"test_{Path(name).name}")


def test_a_module_in_the_list_of_untested_ones_exists_and_has_no_test() -> None:
    assert set(UNTESTED) <= set(modules())
    assert not [name for name in UNTESTED if place_of_test_of(name).exists()]


def test_one_module_imports_the_sql_parser() -> None:
    importers = [
        name for name in modules() if any(module.partition(".")[0] == "postgast" for module, _ in imports_of(name))
    ]

    assert len(importers) == 1, importers


def test_only_the_gates_permit_module_makes_permits() -> None:
    makers = {
        name
        for name in modules()
        for node in nodes_of(name)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and _called(node) == "Permit"
    }

    assert makers == {"gate/permit.py"}


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


@cache
def cases_with_tests() -> frozenset[str]:
    paths = (ROOT / "tests").rglob("test_*.py")
    return frozenset(case for path in paths for case in re.findall(r'mark\.case\("([^"]+)"', path.read_text()))


@pytest.mark.parametrize("case", CASES)
def test_every_promised_case_has_a_test_that_carries_its_id(case: str) -> None:
    assert case in cases_with_tests()


@pytest.mark.parametrize("folder", ["src", "tests", "demo", "scripts", "benchmarks"])
def test_no_file_is_longer_than_one_reads_in_a_sitting(folder: str) -> None:
    paths = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / folder).rglob("*.py")}
    sizes = {name: path.read_text().count("\n") for name, path in paths.items()}

    assert {name: size for name, size in sizes.items() if size > LONGER.get(name, LONGEST)} == {}


def texts() -> list[str]:
    """What people read: the pages, and every docstring and message of the package."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *SOURCE.rglob("*.py")]
    return sorted(path.relative_to(ROOT).as_posix() for path in pages)


def test_nothing_is_promised_that_cannot_be_kept() -> None:
    assert {name: words for name in texts() if (words := _overstatements(name))} == {}


def _overstatements(name: str) -> list[str]:
    text = " ".join((ROOT / name).read_text().split()).lower()
    forbidden = FORBIDDEN_IN_PAGES if name.endswith(".md") else FORBIDDEN_WORDS
    return [word for word in forbidden if word.lower() in text]


def pinned() -> list[Path]:
    return [*(ROOT / "requirements").glob("*.txt"), ROOT / "tests" / "support" / "node" / "package-lock.json"]


@pytest.mark.parametrize("path", pinned(), ids=lambda path: path.name)
def test_locks_pin_by_hash_and_name_no_place_to_fetch_from(path: Path) -> None:
    text = path.read_text()

    assert not re.search(r"--(index|extra-index|find)|\"resolved\"|registry", text)
    if path.suffix == ".txt":
        packages = re.findall(r"^[A-Za-z0-9_.\[\]-]+==\S+", text, flags=re.MULTILINE)
        assert packages
        assert len(packages) == len(re.findall(r"^[A-Za-z0-9].*\\\n    --hash=sha256:", text, flags=re.MULTILINE))
    else:
        assert text.count('"version"') == text.count('"integrity": "sha512-')
