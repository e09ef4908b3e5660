"""A unit of systemd without systemd: its directives, and a program confined by the ones that need no mount.

`python tests/support/unit.py UNIT COMMAND...` runs COMMAND with the unit's limits, without new privileges, under its
filter of system calls and address families and its ban of memory that is written and executed. The kernel is told by
libseccomp, which comes with systemd, as is the list of calls in each `@group` (`systemd-analyze syscall-filter`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ALLOW: Final = 0x7FFF0000
ERRNO: Final = 0x00050000
#: Comparisons of libseccomp: equal; equal under a mask.
EQUAL: Final = 4
MASKED: Final = 7
NO_NEW_PRIVILEGES: Final = 38
PROT_WRITE_EXEC: Final = 6
PROT_EXEC: Final = 4


class Compare(ctypes.Structure):
    """`struct scmp_arg_cmp`: argument number, operator, and what it is compared with."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def directives(unit: Path) -> dict[str, list[str]]:
    """Read a unit: every directive of every section, with its values in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#;[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def allowed_calls(filters: Sequence[str]) -> set[str]:
    """Give the system calls that lines of `SystemCallFilter` leave, the first of which is a list of allowed ones."""
    calls: set[str] = set()
    for line in filters:
        named = _expand(line.removeprefix("~").split())
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def _expand(names: Sequence[str]) -> set[str]:
    calls: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            calls.add(name)
            continue
        shown = subprocess.run(
            ["systemd-analyze", "--no-pager", "syscall-filter", name], check=True, capture_output=True, text=True
        ).stdout
        lines = [line.strip() for line in shown.splitlines()[1:] if not line.strip().startswith("#")]
        calls |= _expand([line for line in lines if line])
    return calls


def confine(unit: dict[str, list[str]]) -> None:
    """Confine this process, and what it will start, for good."""
    for name, which in (("LimitNOFILE", resource.RLIMIT_NOFILE), ("LimitCORE", resource.RLIMIT_CORE)):
        wanted, most = int(unit[name][-1]), resource.getrlimit(which)[1]
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(which, (limit, limit))
    calls = allowed_calls(unit["SystemCallFilter"])
    families = [getattr(socket, name) for name in unit["RestrictAddressFamilies"][-1].split()]
    libc = ctypes.CDLL(None, use_errno=True)
    if unit["NoNewPrivileges"][-1] == "yes" and libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    _load(calls, families, deny_exec=unit["MemoryDenyWriteExecute"][-1] == "yes")


def _load(calls: set[str], families: Sequence[int], *, deny_exec: bool) -> None:
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(ERRNO | errno.EPERM)))

    def allow(name: str, *compares: Compare) -> None:
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            array = (Compare * len(compares))(*compares)
            status = lib.seccomp_rule_add_array(context, ctypes.c_uint32(ALLOW), number, len(compares), array)
            if status:
                raise OSError(-status, name)

    for name in sorted(calls - {"socket", "mmap", "mprotect", "pkey_mprotect"}):
        allow(name)
    for family in families:
        allow("socket", Compare(0, EQUAL, family, 0))
    if not deny_exec:
        for name in ("mmap", "mprotect", "pkey_mprotect"):
            allow(name)
    else:
        for other in (0, 2, 4):
            allow("mmap", Compare(2, MASKED, PROT_WRITE_EXEC, other))
        allow("mprotect", Compare(2, MASKED, PROT_EXEC, 0))
        allow("pkey_mprotect", Compare(2, MASKED, PROT_EXEC, 0))
    status = lib.seccomp_load(context)
    if status:
        raise OSError(-status, "seccomp_load")


def main() -> None:
    """Confine this process and become the command."""
    unit, command = directives(Path(sys.argv[1])), sys.argv[2:]
    confine(unit)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
