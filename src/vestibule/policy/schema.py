"""What may be written in `policy.yaml`, as models; `document` turns them into the values that decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from vestibule.model.names import SECOND
from vestibule.model.target import AuthMethod, TlsMode
from vestibule.policy.guardrails import parts
from vestibule.policy.masks import column_pattern
from vestibule.policy.reading import Strict, show, suggestion
from vestibule.policy.values import (
    AbsoluteReference,
    Authority,
    Duration,
    FunctionName,
    HostPort,
    Identifier,
    ImpactWord,
    Label,
    Line,
    Slug,
    Span,
    Url,
    distinct,
)
from vestibule.policy.verbs import VERBS

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
RoleWord = Literal["administrator", "auditor"]

_UNENFORCED: Final = "this version cannot enforce it, so it is refused rather than ignored; remove it"

#: Keys of coming versions, and keys that belong elsewhere.
LATER: Final[Mapping[str, str]] = {
    "when": f"conditions (when) belong to a coming version: {_UNENFORCED}",
    "saml": "SAML belongs to a coming version; write oidc",
    "client_secret": "does not belong in the policy; write providers.<name>.client_secret in vestibule.yaml",
}

#: Keys whose value may be the word `null`.
WORDED: Final = frozenset({"transform"})

Groups = Annotated[list[Line], Field(min_length=1), AfterValidator(distinct)]


def _action(value: object) -> object:
    if value == "allow":
        raise ValueError("there is nothing to allow in a guardrail; write deny or hold, or remove the rule")
    if value == "mask":
        raise ValueError("columns are masked by the entries of masks; write deny or hold, or remove the rule")
    return value


def _lifetime(micros: int) -> int:
    if not 60 * SECOND <= micros <= 24 * 3600 * SECOND:
        raise ValueError("a statement waits for a minute at least and for a day at most; write 1m to 24h")
    return micros


def _protocol(value: object) -> object:
    if value in ("ssh", "kubernetes", "mysql", "http", "mcp"):
        raise ValueError(f"{value} belongs to a coming version; write postgres")
    return value


def _algorithm(value: object) -> object:
    if isinstance(value, str) and (value.startswith("HS") or value.lower() == "none"):
        raise ValueError(f"{value} proves nothing with a public key; write asymmetric algorithms only: [RS256, ES256]")
    return value


def _version(value: object) -> object:
    if value != 1:
        raise ValueError("this version of Vestibule reads version 1 of the policy; write version: 1")
    return value


def _leeway(micros: int) -> int:
    if micros > 60_000_000:
        raise ValueError("a clock may be wrong by a minute, not more; write at most 60s")
    return micros


class Oidc(Strict):
    """How tokens of one OpenID provider are checked."""

    issuer: Url = Field(examples=["https://idp.bank.example/realms/staff"])
    client_id: Line = Field(examples=["vestibule"])
    groups_claim: Line = Field(default="groups", examples=["groups"])
    name_claim: Line = Field(default="preferred_username", examples=["preferred_username"])
    scopes: Groups = Field(default=["openid", "profile"], examples=["[openid, profile]"])
    algorithms: Annotated[
        list[Annotated[Algorithm, BeforeValidator(_algorithm)]], Field(min_length=1), AfterValidator(distinct)
    ] = Field(default=["RS256", "ES256"], examples=["[RS256, ES256]"])
    leeway: Annotated[Duration, AfterValidator(_leeway)] = Field(default="60s", validate_default=True, examples=["60s"])
    max_token_age: Span = Field(default="10m", validate_default=True, examples=["10m"])

    @model_validator(mode="after")
    def _asks_for_openid(self) -> Self:
        if "openid" not in self.scopes:
            raise ValueError("scopes without openid give no ID token; write scopes: [openid, profile]")
        return self


class Login(Strict):
    """How long one log-in lasts, whatever the provider says."""

    max: Span = Field(default="8h", validate_default=True, examples=["8h"])


class Identity(Strict):
    """One provider of identities."""

    name: Slug = Field(examples=["corp"])
    oidc: Oidc = Field(examples=["{issuer: https://idp.bank.example/realms/staff, client_id: vestibule}"])
    login: Login = Field(default=Login(), examples=["{max: 8h}"])


class Members(Strict):
    """The groups that hold a role."""

    groups: Groups = Field(examples=["[platform]"])


class Tls(Strict):
    """How the gateway verifies a target."""

    mode: TlsMode = Field(default="verify-full", examples=["verify-full"])
    ca: Authority | None = Field(default=None, examples=["file:/etc/vestibule/db-ca.pem"])
    direct: bool = Field(default=False, examples=["true"])
    channel_binding: Literal["prefer", "require"] = Field(default="prefer", examples=["require"])

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> Self:
        verifies = self.mode in ("verify-full", "verify-ca")
        if self.ca is not None and not verifies:
            raise ValueError(f"mode {self.mode} does not look at ca; write mode: verify-full, or remove ca")
        if self.mode == "disable" and (self.direct or self.channel_binding == "require"):
            raise ValueError("mode disable has no TLS for direct or channel_binding; write mode: verify-full")
        return self


class Account(Strict):
    """The account that only the gateway holds."""

    username: Identifier = Field(examples=["vestibule_rw"])
    password: AbsoluteReference = Field(examples=["file:/etc/vestibule/core.password"])


class Function(Strict):
    """A function of the target's own that the administrator vouches for."""

    name: FunctionName = Field(examples=['"public.state_count(text)"'])
    result: Literal["clean"] = Field(examples=["clean"])


class Target(Strict):
    """One target; its name is the key."""

    protocol: Annotated[Literal["postgres"], BeforeValidator(_protocol)] = Field(examples=["postgres"])
    hosts: Annotated[list[HostPort], Field(min_length=1), AfterValidator(distinct)] = Field(
        examples=["[db1.internal:5432]"]
    )
    databases: Annotated[list[Identifier], Field(min_length=1), AfterValidator(distinct)] = Field(examples=["[core]"])
    search_path: Annotated[list[Identifier], Field(min_length=1), AfterValidator(distinct)] = Field(
        default=["public"], examples=["[public]"]
    )
    tls: Tls = Field(default=Tls(), examples=["{mode: verify-full, ca: file:/etc/vestibule/db-ca.pem}"])
    credential: Account = Field(examples=["{username: vestibule_rw, password: file:/etc/vestibule/core.password}"])
    authentication: Annotated[list[AuthMethod], Field(min_length=1), AfterValidator(distinct)] = Field(
        default=["scram-sha-256-plus", "scram-sha-256"], examples=["[scram-sha-256-plus, scram-sha-256]"]
    )
    functions: list[Function] = Field(default=[], examples=['[{name: "public.state_count(text)", result: clean}]'])
    labels: dict[Slug, Label] = Field(default={}, examples=["{env: production}"])

    @model_validator(mode="after")
    def _can_bind_its_channel(self) -> Self:
        if self.tls.channel_binding == "require" and "scram-sha-256-plus" not in self.authentication:
            raise ValueError("channel_binding require needs scram-sha-256-plus under authentication")
        return self


class Labelled(Strict):
    """All targets that carry each of these labels."""

    labels: Annotated[dict[Slug, Label], Field(min_length=1)] = Field(examples=["{env: production}"])


def _kind(value: object) -> str:
    return "<labels>" if isinstance(value, dict | Labelled) else "<names>"


Targets = Annotated[
    Annotated[Annotated[list[Slug], Field(min_length=1), AfterValidator(distinct)], Tag("<names>")]
    | Annotated[Labelled, Tag("<labels>")],
    Discriminator(_kind),
]
_TARGETS: Final = ["[core-banking]", "{labels: {env: production}}"]


class Session(Strict):
    """How long a session may last, and how long it may say nothing."""

    max: Span | None = Field(default=None, examples=["8h"])
    idle: Span | None = Field(default=None, examples=["30m"])


class Access(Strict):
    """Who may do what where."""

    name: Line = Field(examples=["engineers work in production"])
    groups: Groups = Field(examples=["[engineering]"])
    targets: Targets = Field(examples=_TARGETS)
    allow: Annotated[list[ImpactWord], Field(min_length=1), AfterValidator(distinct)] = Field(
        examples=["[read, write]"]
    )
    session: Session = Field(default=Session(), examples=["{max: 8h, idle: 30m}"])


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _pattern(text: str) -> str:
    if not parts(text) or ".." in text or text.startswith(".") or text.endswith("."):
        raise ValueError("names no object; write for example public.customers, or *.customers for every schema")
    return text


def _verb(text: str) -> str:
    if text.lower() not in VERBS:
        raise ValueError(f"{show(text)} is no verb; {suggestion(text, VERBS)}")
    return text.lower()


class Match(Strict):
    """Which operations a guardrail is about: its members are ANDed, the lists within are ORed."""

    impact: Annotated[list[ImpactWord], BeforeValidator(_listed), Field(min_length=1)] | None = Field(
        default=None, examples=["schema"]
    )
    at_least: ImpactWord | None = Field(default=None, examples=["schema"])
    verbs: (
        Annotated[list[Annotated[str, AfterValidator(_verb)]], Field(min_length=1), AfterValidator(distinct)] | None
    ) = Field(default=None, examples=["[drop, truncate]"])
    objects: (
        Annotated[list[Annotated[Line, AfterValidator(_pattern)]], Field(min_length=1), AfterValidator(distinct)] | None
    ) = Field(default=None, examples=["[public.customers]"])
    targets: Targets | None = Field(default=None, examples=_TARGETS)
    groups: Groups | None = Field(default=None, examples=["[engineering]"])

    @model_validator(mode="after")
    def _matches_something_in_particular(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("is empty and would match everything; write for example match: {verbs: [drop]}")
        return self


class Approvers(Strict):
    """Who may let a held statement pass."""

    groups: Groups = Field(examples=["[dba-managers]"])
    quorum: int = Field(default=1, ge=1, le=5, examples=["1"])


class Guardrail(Strict):
    """What is denied or held although access is granted; `checks` says which keys an action needs."""

    name: Line = Field(examples=["no dropping"])
    match: Match = Field(examples=["{verbs: [drop]}"])
    action: Annotated[Literal["deny", "hold"], BeforeValidator(_action)] = Field(examples=["deny"])
    reason: Line | None = Field(default=None, examples=['"Schema objects are dropped by migration only."'])
    approvers: Approvers | None = Field(default=None, examples=["{groups: [dba-managers]}"])
    expires: Annotated[Span, AfterValidator(_lifetime)] = Field(default="15m", validate_default=True, examples=["15m"])


def _transform(value: object) -> object:
    if isinstance(value, dict) and (coming := [key for key in ("token", "date", "hide") if key in value]):
        raise ValueError(
            f"{coming[0]} with a value belongs to a coming version: {_UNENFORCED}, "
            "or write hide, null, {keep_first: n} or {keep_last: n}"
        )
    return value


class Keep(Strict):
    """How much of a value stays readable."""

    keep_first: Annotated[int, Field(ge=1, le=6)] | None = Field(default=None, examples=["6"])
    keep_last: Annotated[int, Field(ge=1, le=4)] | None = Field(default=None, examples=["4"])

    @model_validator(mode="after")
    def _keeps_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("keeps nothing; write for example {keep_last: 4}, or hide")
        return self


def _shape(value: object) -> str:
    return "<keep>" if isinstance(value, dict | Keep) else "<word>"


Transform = Annotated[
    Annotated[
        Annotated[Literal["hide", "null"], Tag("<word>")] | Annotated[Keep, Tag("<keep>")], Discriminator(_shape)
    ],
    BeforeValidator(_transform),
]


class Cleared(Strict):
    """Who sees the columns as they are."""

    groups: Groups = Field(examples=["[fraud-desk]"])


class Unmask(Strict):
    """Who may let one statement see the columns as they are."""

    groups: Groups = Field(examples=["[privacy-office]"])
    quorum: int = Field(default=1, ge=1, le=5, examples=["1"])
    expires: Annotated[Span, AfterValidator(_lifetime)] = Field(default="15m", validate_default=True, examples=["15m"])


class Mask(Strict):
    """Which columns are sensitive, and what is shown of them."""

    name: Line = Field(examples=["ssn"])
    columns: Annotated[
        list[Annotated[str, AfterValidator(column_pattern)]], Field(min_length=1), AfterValidator(distinct)
    ] = Field(examples=['["*.customers.ssn"]'])
    transform: Transform = Field(default="hide", examples=["hide", "{keep_last: 4}", "{keep_first: 6, keep_last: 4}"])
    clear_for: Cleared | None = Field(default=None, examples=["{groups: [fraud-desk]}"])
    unmask: Unmask | None = Field(default=None, examples=["{groups: [privacy-office]}"])
    targets: Targets | None = Field(default=None, examples=_TARGETS)


class Document(Strict):
    """The whole file."""

    version: Annotated[int, BeforeValidator(_version)] = Field(examples=["1"])
    identity: Annotated[list[Identity], Field(min_length=1)] = Field(
        examples=["[{name: corp, oidc: {issuer: https://idp.bank.example, client_id: vestibule}}]"]
    )
    roles: dict[RoleWord, Members] = Field(default={}, examples=["{administrator: {groups: [platform]}}"])
    targets: Annotated[dict[Slug, Target], Field(min_length=1)] = Field(
        examples=[
            "{core: {protocol: postgres, hosts: [db1.internal:5432], databases: [core], "
            "credential: {username: vestibule_rw, password: file:/etc/vestibule/core.password}}}"
        ]
    )
    access: list[Access] = Field(
        default=[],
        examples=["[{name: engineers work, groups: [engineering], targets: [core], allow: [read, write]}]"],
    )
    guardrails: list[Guardrail] = Field(
        default=[],
        examples=["[{name: no dropping, match: {verbs: [drop]}, action: deny, reason: Migrations drop.}]"],
    )
    masks: list[Mask] = Field(default=[], examples=['[{name: ssn, columns: ["*.customers.ssn"]}]'])
