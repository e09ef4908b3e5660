"""The row kernel in each build that is here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from vestibule.protocols.postgres import rows


def pure() -> ModuleType:
    """Load the kernel from its source, whether or not a compiled one lies beside it."""
    path = Path(rows.__file__).parent / "rows.py"
    spec = importlib.util.spec_from_file_location("pure_rows", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


#: The pure one always, the compiled one where set-up made it.
KERNELS: Final[Mapping[str, ModuleType]] = {"pure": pure()} | {rows.BUILD: rows}
