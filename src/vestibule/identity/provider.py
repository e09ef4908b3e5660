"""An OpenID provider as the operator configured it, and as it describes itself (discovery).

1. The document's issuer equals the configured one, character for character.
2. Every address in it is https; plain http only on loopback, only where the flag allows it, only if the issuer is such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.fetch import check_url
from vestibule.identity.jose import KEY_FORMS, read_object
from vestibule.model.errors import ConfigurationError

MAX_LEEWAY = 60
ClientAuthentication = Literal["none", "client_secret_basic", "client_secret_post"]


@dataclass(frozen=True, slots=True)
class Provider:
    """One configured issuer; times in seconds, `ca` the path of a file or None for the system's store."""

    name: str
    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    scopes: tuple[str, ...] = ("openid", "profile")
    algorithms: frozenset[str] = frozenset({"RS256", "ES256"})
    leeway: int = MAX_LEEWAY
    max_token_age: int = 600
    login_life: int = 8 * 60 * 60
    stale_keys: int = 24 * 60 * 60
    ca: str | None = None
    insecure_loopback_http: bool = False

    def __post_init__(self) -> None:
        """Refuse a configuration that could not prove anything."""
        _check_issuer(self)
        if not 0 <= self.leeway <= MAX_LEEWAY:
            raise ConfigurationError(f"identity {self.name}: leeway is {self.leeway} s; write at most {MAX_LEEWAY}s")
        if unknown := sorted(self.algorithms - KEY_FORMS.keys()):
            raise ConfigurationError(
                f"identity {self.name}: {', '.join(unknown)} proves nothing with a public key; "
                f"write some of {', '.join(KEY_FORMS)}"
            )
        if not self.algorithms or "openid" not in self.scopes:
            raise ConfigurationError(f"identity {self.name}: write at least one algorithm, and openid among the scopes")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an issuer says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    client_authentication: ClientAuthentication
    #: The authorization response carries `iss` (RFC 9207).
    names_issuer: bool


def discovery_url(issuer: str) -> str:
    """Say where an issuer describes itself (OpenID Connect Discovery, 4)."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def read_metadata(body: bytes, provider: Provider) -> Metadata:
    """Read the discovery document of `provider`."""
    document = read_object(body)
    if document.get("issuer") != provider.issuer:
        raise LoginRefused(
            Failure.DISCOVERY,
            f"the provider {provider.name} calls itself by another issuer than configured; write it exactly, "
            "a trailing slash matters",
        )
    return Metadata(
        _address(document, "authorization_endpoint", provider),
        _address(document, "token_endpoint", provider),
        _address(document, "jwks_uri", provider),
        _address(document, "userinfo_endpoint", provider) if "userinfo_endpoint" in document else None,
        _client_authentication(document, provider),
        document.get("authorization_response_iss_parameter_supported") is True,
    )


def _address(document: Mapping[str, Any], member: str, provider: Provider) -> str:
    # An issuer of the open net does not get to send us to a service of this machine.
    insecure = provider.insecure_loopback_http and urlsplit(provider.issuer).scheme == "http"
    return check_url(document.get(member), insecure_loopback_http=insecure)


#: What discovery means when it says nothing (OpenID Connect Discovery, 3).
_BASIC_ONLY: Final = ("client_secret_basic",)


def _client_authentication(document: Mapping[str, Any], provider: Provider) -> ClientAuthentication:
    offered = document.get("token_endpoint_auth_methods_supported", _BASIC_ONLY)
    if provider.client_secret is None:
        return "none"
    if not isinstance(offered, list | tuple) or "client_secret_basic" in offered:
        return "client_secret_basic"
    if "client_secret_post" in offered:
        return "client_secret_post"
    raise LoginRefused(Failure.DISCOVERY, f"the provider {provider.name} takes no client secret at its token endpoint")


def _check_issuer(provider: Provider) -> None:
    try:
        check_url(provider.issuer, insecure_loopback_http=provider.insecure_loopback_http)
    except LoginRefused as error:
        raise ConfigurationError(
            f"identity {provider.name}: the issuer {provider.issuer!r} is not an https address "
            "(plain http needs insecure_loopback_http and a loopback address)"
        ) from error
    if "?" in provider.issuer:
        raise ConfigurationError(f"identity {provider.name}: an issuer has no query; write it as the provider does")
