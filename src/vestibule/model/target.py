"""What stands behind the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vestibule.model.names import TargetName

TlsMode = Literal["verify-full", "verify-ca", "require", "disable"]
AuthMethod = Literal["scram-sha-256-plus", "scram-sha-256", "md5", "cleartext"]


@dataclass(frozen=True, slots=True)
class Address:
    """A host and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write the address as `host:port`, an IPv6 host in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class TargetTls:
    """How the gateway verifies a target; `ca` is a file's path, None means the system's store."""

    mode: TlsMode = "verify-full"
    ca: str | None = None
    direct: bool = False
    channel_binding: Literal["prefer", "require"] = "prefer"


@dataclass(frozen=True, slots=True)
class Credential:
    """The account that only the gateway holds; `password` is a reference for the vault."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class RegisteredFunction:
    """A function of the target's own that the administrator has vouched for, e.g. `public.f(text)`."""

    name: str
    result: Literal["clean"]


@dataclass(frozen=True, slots=True)
class Target:
    """One named target of the policy."""

    name: TargetName
    protocol: str
    hosts: tuple[Address, ...]
    databases: tuple[str, ...]
    search_path: tuple[str, ...]
    tls: TargetTls
    credential: Credential
    authentication: frozenset[AuthMethod] = frozenset({"scram-sha-256-plus", "scram-sha-256"})
    functions: tuple[RegisteredFunction, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
