"""Compile the row kernel: a hook of the wheel's build, which hatchling calls.

1. `VESTIBULE_BUILD=compiled` compiles, `pure` or nothing leaves Python as it is, any other word is refused.
2. A wheel that carries a compiled kernel is for one Python and one kind of machine, and says so in its name.
3. An editable install has the kernel beside its source; a pure one leaves none there, as Python would prefer it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE: Final = Path("src", "vestibule", "protocols", "postgres", "rows.py")
SUFFIX: Final = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
BUILDS: Final = ("pure", "compiled")


def wanted() -> str:
    """Say which build is asked for."""
    build = os.environ.get("VESTIBULE_BUILD") or "pure"
    if build not in BUILDS:
        raise ValueError(f"VESTIBULE_BUILD is {build!r}; write pure or compiled")
    return build


def compile_kernel(root: Path, folder: Path) -> Path:
    """Make the kernel of the checkout `root` in `folder`; give its path."""
    kernel = folder / f"{SOURCE.stem}{SUFFIX}"
    with tempfile.TemporaryDirectory() as work:
        code, made = Path(work, "rows.c"), Path(work, kernel.name)
        subprocess.run([sys.executable, "-m", "cython", "-3", "-Werror", "-o", code, SOURCE], cwd=root, check=True)
        link = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
        include = f"-I{sysconfig.get_path('include')}"
        subprocess.run([*link, "-O3", "-fPIC", "-DNDEBUG", "-s", "-w", include, code, "-o", made], check=True)
        # In one step: a process that has the old kernel open keeps it.
        beside = kernel.with_name(f".{kernel.name}")
        beside.write_bytes(made.read_bytes())
        beside.chmod(0o755)
        beside.replace(kernel)
    return kernel


def remove_kernels(root: Path) -> None:
    """Leave no compiled kernel beside the source."""
    for kernel in (root / SOURCE.parent).glob(f"{SOURCE.stem}.*.so"):
        kernel.unlink()


class KernelHook(BuildHookInterface[Any]):
    """Adds the compiled kernel to what is built, if it is wanted."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for Cython only where something is compiled."""
        return ["cython>=3.1"] if wanted() == "compiled" else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the files are gathered; `version` is `standard` or `editable`."""
        root = Path(self.root)
        if version == "editable":
            remove_kernels(root)
        if wanted() == "pure":
            return
        if version == "editable":
            compile_kernel(root, root / SOURCE.parent)
        else:
            self._work = tempfile.TemporaryDirectory()
            kernel = compile_kernel(root, Path(self._work.name))
            place = SOURCE.with_name(kernel.name).relative_to("src")
            build_data["force_include"][str(kernel)] = place.as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was only to be packed."""
        work = getattr(self, "_work", None)
        if work is not None:
            work.cleanup()
