"""The compiled kernel is in what is built only where it was asked for, and is then the one of this very source."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts import kernel, setup

CAN_COMPILE = setup.choose_build("") == "compiled"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", ".gitignore"):
        shutil.copy(setup.ROOT / name, folder / name)
    for name in ("src", "scripts"):
        shutil.copytree(setup.ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return folder


def build(checkout: Path, how: str = "") -> tuple[str, list[str]]:
    """Build a wheel; give its name, and what of the kernel is in it."""
    out = checkout / "dist"
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(out)!r}))"
    env = {"PATH": "/usr/bin:/bin", "VESTIBULE_BUILD": how}
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name = done.stdout.split()[-1]
    with zipfile.ZipFile(out / name) as wheel:
        return name, [Path(each).name for each in wheel.namelist() if Path(each).name.startswith("rows.")]


def test_a_wheel_is_pure_unless_more_is_asked_for(checkout: Path) -> None:
    place = checkout / kernel.SOURCE.parent / f"rows{kernel.SUFFIX}"
    place.write_bytes(b"the kernel of an editable install")

    for how in ("", "pure"):
        name, files = build(checkout, how)

        assert name.endswith("-py3-none-any.whl")
        assert files == ["rows.py"]
    assert place.exists()


def test_a_word_that_is_no_build_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VESTIBULE_BUILD", "fast")

    with pytest.raises(ValueError, match="VESTIBULE_BUILD is 'fast'; write pure or compiled"):
        kernel.wanted()


def test_a_pure_kernel_leaves_no_compiled_one_beside_it(checkout: Path) -> None:
    folder = checkout / kernel.SOURCE.parent
    for name in (f"rows{kernel.SUFFIX}", "rows.of-another-python.so"):
        (folder / name).touch()

    kernel.remove_kernels(checkout)

    assert [path.name for path in folder.glob("rows*")] == ["rows.py"]


if CAN_COMPILE:

    @pytest.mark.slow
    def test_a_compiled_wheel_is_for_this_python_and_carries_both_builds(checkout: Path) -> None:
        name, files = build(checkout, "compiled")

        version = f"cp3{sys.version_info.minor}"
        assert f"-{version}-{version}-" in name
        assert sorted(files) == sorted(["rows.py", f"rows{kernel.SUFFIX}"])

    @pytest.mark.slow
    def test_a_kernel_is_compiled_from_the_source_as_it_is(checkout: Path, tmp_path: Path) -> None:
        source = checkout / kernel.SOURCE
        source.write_text(source.read_text() + "\nMARK = 'changed'\n")

        made = kernel.compile_kernel(checkout, tmp_path)

        code = (
            "from importlib.util import module_from_spec, spec_from_file_location\n"
            f"spec = spec_from_file_location('vestibule.protocols.postgres.rows', {str(made)!r})\n"
            "rows = module_from_spec(spec); spec.loader.exec_module(rows); print(rows.BUILD, rows.MARK)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "compiled changed\n", done.stderr
