"""The gateway's own settings, folder, disk, certificates and limits.

Nothing is changed and nothing of a running gateway is touched: to time the disk, one small file is written beside the
data and removed.
"""

from __future__ import annotations

import os
import resource
import ssl
import stat
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from vestibule.app.doctor.findings import Finding, fail, ok, warn
from vestibule.app.measured import certificates
from vestibule.model.errors import ConfigurationError
from vestibule.policy.document import Policy
from vestibule.policy.reading import suggestion
from vestibule.server.tls import ServerTls
from vestibule.settings import Limits, Settings
from vestibule.vault import SecretUnavailable, Vault

DAY: Final = 86_400
SYNCS: Final = 64
#: Above this a sync is what people wait for at every statement.
SLOW_SYNC: Final = 0.010
GIB: Final = 1 << 30
#: File systems that forget, or that do not promise what `fdatasync` says.
FORGETFUL: Final = frozenset({"tmpfs", "ramfs"})
REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse", "9p", "overlay", "fuse.sshfs"})
CORE_PATTERN: Final = Path("/proc/sys/kernel/core_pattern")


def examine(settings: Settings, policy: Policy | None) -> Iterator[Finding]:
    """Check everything that needs nobody else."""
    yield ok("settings", f"{settings.path} is read, and what it names is there")
    if policy is not None:
        yield from _policy(policy)
        yield from limited(settings.limits, policy.targets)
        yield from _secrets(settings, policy)
    yield from _certificates(settings)
    yield from folder(settings)
    yield from _disk(settings)
    yield from _descriptors(settings)
    yield from cores()


def _policy(policy: Policy) -> Iterator[Finding]:
    if policy.warnings:
        yield warn("policy", f"{len(policy.warnings)} warnings", "run: vestibule policy check")
    else:
        yield ok("policy", f"{policy.digest[:12]}: {len(policy.targets)} targets, {len(policy.masks)} masks")


def limited(limits: Limits, targets: Iterable[str]) -> Iterator[Finding]:
    """Say which limits are for no target."""
    known = list(targets)
    for name in limits.without_target(known):
        text = "it limits the sessions of a target that the policy does not have"
        yield warn(f"limits.sessions_per_target.{name}", text, suggestion(name, known))


def _secrets(settings: Settings, policy: Policy) -> Iterator[Finding]:
    vault = Vault()
    wanted = {f"providers.{name}": own.client_secret for name, own in settings.providers.items() if own.client_secret}
    wanted |= {f"targets.{name}": target.credential.password for name, target in policy.targets.items()}
    missing = 0
    for name, reference in wanted.items():
        try:
            vault.read(reference)
        except SecretUnavailable as error:
            missing += 1
            yield fail(f"secret of {name}", str(error), "until then nobody gets through there")
    if not missing:
        yield ok("secrets", f"all {len(wanted)} can be read, and by nobody else")


# --- certificates ----------------------------------------------------------------------------------------------------


def _certificates(settings: Settings) -> Iterator[Finding]:
    keys = {"postgres": settings.listeners.postgres.key, "control": settings.listeners.control.key}
    if settings.listeners.metrics is not None and settings.listeners.metrics.key is not None:
        keys["metrics"] = settings.listeners.metrics.key
    for name, path in certificates(settings.listeners):
        yield from certificate(f"certificate of {name}", path, keys[name], urlsplit(settings.public_url).hostname or "")


def certificate(about: str, path: Path, key: Path, host: str) -> Iterator[Finding]:
    """Check a certificate: its key, its chain, its time, and the name by which people come."""
    try:
        ServerTls(path, key)
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (ConfigurationError, OSError, ValueError, ssl.SSLError) as error:
        yield fail(about, str(error), "put the certificate and the key that belongs to it there")
        return
    begins, ends = (moment.timestamp() for moment in (chain[0].not_valid_before_utc, chain[0].not_valid_after_utc))
    left = ends - time.time()
    # A certificate that is meant to live for a day is no reason to worry on that day.
    soon = min(14 * DAY, (ends - begins) / 3)
    if left <= 0:
        yield fail(about, f"{path} has expired", "put a new one in its place; clients that verify cannot connect")
    elif begins > time.time():
        yield fail(about, f"{path} is not valid yet", "look at the machine's clock, or wait")
    elif not _names(chain[0], host):
        yield fail(
            about, f"{path} does not name {host}, by which public_url sends people here", "have it issued for that name"
        )
    elif not _is_chain(chain):
        yield fail(
            about, f"{path}: a certificate does not sign the one before it", "write leaf first, then its issuers"
        )
    elif left < soon:
        yield warn(about, f"{path} expires in {left / DAY:.1f} days", "put a new one in its place")
    else:
        yield ok(about, f"names {host}, fits its key, {left / DAY:.0f} days left")


def _names(leaf: x509.Certificate, host: str) -> bool:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    hosts = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return host in addresses or host.lower() in hosts or f"*.{host.lower().partition('.')[2]}" in hosts


def _is_chain(chain: list[x509.Certificate]) -> bool:
    try:
        for lower, upper in pairwise(chain):
            lower.verify_directly_issued_by(upper)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


# --- the data folder -------------------------------------------------------------------------------------------------


def folder(settings: Settings) -> Iterator[Finding]:
    """Check the data folder: whose it is, who can look into it, on what it lies."""
    data, about = settings.data, "data folder"
    if not data.exists():
        parent = next(each for each in data.parents if each.exists())
        if os.access(parent, os.W_OK):
            yield ok(about, f"{data} is made at the first start")
        else:
            yield fail(
                about, f"{data} cannot be made in {parent}", f"make it, and give it to the user that serves: {data}"
            )
        yield from filesystem(parent)
        return
    status = data.stat()
    if status.st_uid != os.geteuid():
        yield fail(about, f"{data} is not this user's", "run this, and serve, as the user that owns it")
        return
    open_ones = sorted(_readable_by_others(data))
    if open_ones:
        yield fail(about, f"others can read {open_ones[0]}", f"run: chmod -R go= {data}")
    else:
        yield ok(about, f"{data} is this user's alone")
    yield from filesystem(data)


def _readable_by_others(data: Path) -> Iterator[str]:
    for path in (
        data,
        *data.glob("keys/*"),
        *data.glob("*.sqlite*"),
        data / "journal",
        data / "spool",
        data / "objects",
    ):
        with suppress(FileNotFoundError):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                yield str(path)


def filesystem(data: Path) -> Iterator[Finding]:
    """Say on what kind of file system the folder lies."""
    kind = _kind_of(data)
    if kind in FORGETFUL:
        yield fail("file system", f"{data} lies on {kind}, which forgets at a restart", "put it on a disk")
    elif kind in REMOTE:
        yield warn(
            "file system",
            f"{data} lies on {kind}",
            "see that a sync is durable there, and that locks hold: ask its vendor",
        )
    else:
        yield ok("file system", kind)


def _kind_of(path: Path) -> str:
    best = ("", "unknown")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")
        if (path.resolve() == Path(point) or Path(point) in path.resolve().parents) and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _disk(settings: Settings) -> Iterator[Finding]:
    there = next(each for each in (settings.data, *settings.data.parents) if each.exists())
    volume = os.statvfs(there)
    free, limits = volume.f_bavail * volume.f_frsize, settings.journal
    said = f"{free / GIB:.1f} GiB free"
    if free < limits.stop_free:
        yield fail("room", f"{said}: below journal.stop_free", "make room; no statement is decided before")
    elif free < limits.min_free:
        yield fail("room", f"{said}: below journal.min_free", "make room; no session begins before")
    elif free < 2 * limits.min_free:
        yield warn("room", f"{said}: less than twice journal.min_free", "make room soon")
    else:
        yield ok("room", said)
    try:
        median, worst = sync_times(there)
    except OSError as error:
        yield fail("sync", f"{there}: {error.strerror}", "see that this user can write there")
        return
    said = f"{median * 1000:.2f} ms at the median, {worst * 1000:.2f} ms at worst, of {SYNCS}"
    if median > SLOW_SYNC:
        yield warn("sync", said, "every statement waits for one: use a disk with a power-safe write cache")
    else:
        yield ok("sync", said)


def sync_times(where: Path) -> tuple[float, float]:
    """Time writes of 4 KiB with `fdatasync`, in seconds: the median and the longest."""
    times = []
    with tempfile.TemporaryFile(dir=where) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times), max(times)


# --- limits ----------------------------------------------------------------------------------------------------------


def _descriptors(settings: Settings) -> Iterator[Finding]:
    limits = settings.limits
    # Two sockets a session, one for each that waits and another while it shakes hands, and what the process holds open.
    needed = 2 * (limits.sessions + limits.pending) + 200
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < needed:
        yield warn(
            "descriptors",
            f"{allowed} may be open; {limits.sessions} sessions and {limits.pending} that wait need {needed}",
            "raise it where the gateway is started (LimitNOFILE=, ulimit -n), or lower limits.sessions",
        )
    else:
        yield ok("descriptors", f"{allowed} may be open, {needed} are needed")


def cores(pattern: Path = CORE_PATTERN) -> Iterator[Finding]:
    """Say whether memory with secrets in it may end in a file."""
    try:
        said = pattern.read_text().strip()
    except OSError:
        said = ""
    if said.startswith("|"):
        yield warn(
            "core dumps",
            f"the kernel hands them to a program ({said[1:].split(' ')[0]}) whatever the limit is",
            "serve sets the limit to 0; see that the program heeds it, or turn it off",
        )
    else:
        yield ok("core dumps", "serve turns them off")
