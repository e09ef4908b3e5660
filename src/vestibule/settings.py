"""The operator's file, `vestibule.yaml`: where this gateway listens, keeps its data and finds its secrets.

1. Relative paths start at the folder of the file.
2. Files that are named must be there; keys and secrets must be readable by their owner alone.
3. Durations are seconds here, sizes bytes.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from vestibule.logs import Format
from vestibule.model.errors import ConfigurationError
from vestibule.model.names import SECOND
from vestibule.policy.document import Policy
from vestibule.policy.document import load as load_policy
from vestibule.policy.reading import InvalidFile, Strict, check, show, suggestion
from vestibule.policy.source import LIMIT, Faulty, Place, Problem, Source, parse
from vestibule.policy.values import HostPort, Size, Slug, duration, reference, url

_UNSUPPORTED: Final = "this version cannot use it, so it is refused rather than ignored; remove it"

#: Keys of coming versions, and keys that belong elsewhere.
LATER: Final[Mapping[str, str]] = {
    "stores": f"stores belongs to a coming version: {_UNSUPPORTED}",
    "targets": "targets belong in the policy (policy.yaml)",
    "access": "access belongs in the policy (policy.yaml)",
    "guardrails": "guardrails belong in the policy (policy.yaml)",
    "roles": "roles belong in the policy (policy.yaml)",
    "identity": "identity belongs in the policy (policy.yaml); here write providers",
    "issuer": "the issuer belongs in the policy (identity.oidc.issuer)",
    "client_id": "the client_id belongs in the policy (identity.oidc.client_id)",
}


class SettingsError(InvalidFile):
    """The gateway cannot start with this file; the text names file, line and what to write instead."""


# --- values ----------------------------------------------------------------------------------------------------------


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("must be a path")
    return Path(info.context or "") / value


def _file(path: Path) -> Path:
    try:
        with _open(path) as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; write the path of a file that this user can read") from None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: not a file")
    return path


def _private(path: Path) -> Path:
    if path.stat().st_mode & 0o077:
        raise ValueError(f"{path}: its group or others can use it; run: chmod 600 {path}")
    return path


def _folder(path: Path) -> Path:
    if not path.exists():
        return path
    if not path.is_dir():
        raise ValueError(f"{path}: not a folder")
    if path.stat().st_mode & 0o022:
        raise ValueError(f"{path}: its group or others can write there; run: chmod 700 {path}")
    return path


def _secret(text: str, info: ValidationInfo) -> str:
    """Make the path of a `file:` reference absolute, and see that the file is there and private."""
    if not text.startswith("file:"):
        return text
    return f"file:{_private(_file(_path(text.removeprefix('file:'), info)))}"


def _seconds(least: float, most: float) -> BeforeValidator:
    def read(value: object) -> float:
        seconds = duration(value) / SECOND
        if not least <= seconds <= most:
            raise ValueError(f"{show(value)} is out of bounds; write from {least:g}s to {most:g}s")
        return seconds

    return BeforeValidator(read)


def _bytes(least: int, most: int) -> AfterValidator:
    def bound(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"{value} bytes are out of bounds; write from {least} to {most}, or with KiB, MiB or GiB")
        return value

    return AfterValidator(bound)


def _https(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or parts.path not in ("", "/"):
        raise ValueError("must be https with host and port only; write for example https://vestibule.example:8443")
    return text.rstrip("/")


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{show(value)} is no network; write an address or a network like 10.0.0.0/24") from None
    if network.prefixlen == 0:
        raise ValueError(f"{value} lets everybody say who they are; write the addresses of your balancers")
    return network


_ORIGIN: Final = re.compile(r"[A-Za-z0-9._:-]+(/[A-Za-z0-9._-]+)*")


def _origin(text: str) -> str:
    if len(text) > 200 or not _ORIGIN.fullmatch(text):
        raise ValueError("must be a name like a URL without https://; write for example vestibule.example/log")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


PlainPath = Annotated[Path, BeforeValidator(_path)]
ReadableFile = Annotated[Path, AfterValidator(_file), BeforeValidator(_path)]
PrivateFile = Annotated[Path, AfterValidator(_file), AfterValidator(_private), BeforeValidator(_path)]
Folder = Annotated[Path, AfterValidator(_folder), BeforeValidator(_path)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Secret = Annotated[str, BeforeValidator(reference), AfterValidator(_secret)]

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB


# --- the file --------------------------------------------------------------------------------------------------------


class Listener(Strict):
    """Where connections are accepted, and the certificate that is shown there."""

    address: HostPort = Field(examples=['"127.0.0.1:15432"'])
    certificate: ReadableFile = Field(examples=["tls/server.pem"])
    key: PrivateFile = Field(examples=["tls/server.key"])


class MetricsListener(Strict):
    """Where metrics are served, to anybody who can connect: in the clear on a loopback address, else by TLS."""

    address: HostPort = Field(examples=['"127.0.0.1:9464"'])
    certificate: ReadableFile | None = Field(default=None, examples=["tls/server.pem"])
    key: PrivateFile | None = Field(default=None, examples=["tls/server.key"])

    @model_validator(mode="after")
    def _is_private(self) -> Self:
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("write certificate and key, or neither")
        if self.certificate is None and not _is_loopback(self.address.host):
            raise ValueError("in the clear only on a loopback address; write 127.0.0.1, or a certificate and its key")
        return self


class Listeners(Strict):
    """The doors: the data plane and the control plane, and the metrics' own."""

    postgres: Listener = Field(
        examples=['{address: "0.0.0.0:15432", certificate: tls/server.pem, key: tls/server.key}']
    )
    control: Listener = Field(examples=['{address: "0.0.0.0:8443", certificate: tls/server.pem, key: tls/server.key}'])
    metrics: MetricsListener | None = Field(default=None, examples=['{address: "127.0.0.1:9464"}'])


class Provider(Strict):
    """What only the operator knows of a provider of the policy."""

    client_secret: Secret | None = Field(default=None, examples=["file:secrets/corp"])
    ca: ReadableFile | None = Field(default=None, examples=["tls/idp-ca.pem"])


class Journal(Strict):
    """How much room and time evidence takes before something is refused."""

    segment_bytes: Annotated[Size, _bytes(_MIB, 4 * _GIB)] = 64 * _MIB
    min_free: Annotated[Size, _bytes(0, 2**50)] = 2 * _GIB
    stop_free: Annotated[Size, _bytes(0, 2**50)] = 512 * _MIB
    commit_timeout: Annotated[float, _seconds(0.1, 300)] = 10.0

    @model_validator(mode="after")
    def _warns_before_it_stops(self) -> Self:
        if self.min_free < self.stop_free:
            raise ValueError("min_free is below stop_free; write a min_free that leaves room for running sessions")
        return self


class Log(Strict):
    """The public name of the evidence log, and how often its state is signed."""

    origin: Annotated[str, AfterValidator(_origin)] | None = Field(default=None, examples=["vestibule.example/log"])
    publish_every: Annotated[float, _seconds(0.1, 3600)] = 5.0


class Recording(Strict):
    """What is kept of what clients are shown, and how much room it takes before it is in the object store."""

    results: Literal["masked", "digest"] = "masked"
    result_rows: int = Field(default=10_000, ge=0, le=2**40)
    result_bytes: Annotated[Size, _bytes(0, 2**40)] = 8 * _MIB
    spool_max: Annotated[Size, _bytes(16 * _MIB, 2**50)] = 20 * _GIB


class Limits(Strict):
    """Bounds of one data process; those of a person, an address and a target hold over the whole node."""

    sessions: int = Field(default=1000, ge=1, le=1_000_000)
    sessions_per_person: int | None = Field(default=None, ge=1, le=1_000_000, examples=["50"])
    sessions_per_address: int | None = Field(default=None, ge=1, le=1_000_000, examples=["500"])
    sessions_per_target: dict[Slug, Annotated[int, Field(ge=1, le=1_000_000)]] = Field(
        default={}, examples=["{core-banking: 80}"]
    )
    pending: int = Field(default=2000, ge=1, le=1_000_000)
    pending_per_address: int = Field(default=500, ge=1, le=1_000_000)
    startup_timeout: Annotated[float, _seconds(1, 300)] = 10.0
    dial_timeout: Annotated[float, _seconds(1, 300)] = 10.0
    bind_bytes: Annotated[Size, _bytes(64 * _KIB, _GIB)] = 64 * _MIB

    def without_target(self, targets: Iterable[str]) -> list[str]:
        """Name what is limited as a target and is none of those there are: whoever meant one has no limit there."""
        return sorted(self.sessions_per_target.keys() - set(targets))


class Settings(Strict):
    """The whole file."""

    public_url: Annotated[str, AfterValidator(url), AfterValidator(_https)] = Field(
        examples=["https://vestibule.example:8443"]
    )
    data: Folder = Field(examples=["/var/lib/vestibule"])
    node: Slug = Field(default="gateway", examples=["gateway"])
    policy: PlainPath = Field(examples=["policy.yaml"])
    workers: int = Field(default=1, ge=1, le=64, examples=["1"])
    listeners: Listeners = Field(
        examples=[
            '{postgres: {address: "0.0.0.0:15432", certificate: server.pem, key: server.key}, '
            'control: {address: "0.0.0.0:8443", certificate: server.pem, key: server.key}}'
        ]
    )
    providers: dict[Slug, Provider] = Field(default={}, examples=["{corp: {client_secret: file:secrets/corp}}"])
    client_certificates: bool = Field(default=True, examples=["true"])
    log_format: Format = Field(default="auto", examples=["json"])
    insecure_loopback_http: bool = Field(default=False, examples=["false"])
    journal: Journal = Field(default=Journal(), examples=["{min_free: 2GiB}"])
    log: Log = Field(default=Log(), examples=["{origin: vestibule.example/log}"])
    recording: Recording = Field(default=Recording(), examples=["{spool_max: 20GiB}"])
    limits: Limits = Field(default=Limits(), examples=["{sessions: 1000}"])
    drain: Annotated[float, _seconds(0, 86_400)] = 10.0
    trusted_proxies: list[Network] = Field(default=[], examples=['["10.0.0.0/24"]'])

    _path: Path = PrivateAttr(default=Path())
    _digest: str = PrivateAttr(default="")
    _source: Source | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path:
        """The file itself."""
        return self._path

    @property
    def digest(self) -> str:
        """The SHA-256 of the file's exact bytes, in hex."""
        return self._digest

    @property
    def origin(self) -> str:
        """The name of the evidence log: as configured, else after the public URL's host."""
        return self.log.origin or f"{urlsplit(self.public_url).hostname}/vestibule"


def load(path: Path) -> Settings:
    """Read the operator's file; raise `ConfigurationError` with everything that is wrong in it."""
    path = path.absolute()
    text = _read(path)
    try:
        source = parse(text)
        settings = check(Settings, source, LATER, context=path.parent)
    except Faulty as faulty:
        raise SettingsError(str(path), faulty.problems) from None
    settings._path, settings._digest, settings._source = path, hashlib.sha256(text).hexdigest(), source
    return settings


def read_policy(settings: Settings) -> Policy:
    """Read the policy that `settings` name, and see that the two files agree."""
    policy = load_policy(_read(settings.policy), str(settings.policy))
    if problems := sorted(_disagreements(settings, policy)):
        raise SettingsError(str(settings.path), problems)
    return policy


def _read(path: Path) -> bytes:
    try:
        with _open(path) as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; write the file, or name another one") from None


def _open(path: Path) -> BinaryIO:
    # Without waiting: a named pipe in the place of the file must not hold the process.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _disagreements(settings: Settings, policy: Policy) -> Iterator[Problem]:
    known = {provider.name for provider in policy.providers}
    for name in settings.providers.keys() - known:
        message = f'providers.{name}: the policy has no provider "{name}"; {suggestion(name, known)}'
        yield Problem(_place(settings, name), message)
    for provider in policy.providers:
        if provider.issuer.startswith("http:") and not settings.insecure_loopback_http:
            message = (
                f'the policy\'s provider "{provider.name}" is reached by plain http; give it an https issuer, '
                "or for tests only write insecure_loopback_http: true"
            )
            yield Problem(Place(1, 1), message)


def _place(settings: Settings, provider: str) -> Place:
    return settings._source.key(("providers", provider)) if settings._source else Place(1, 1)
