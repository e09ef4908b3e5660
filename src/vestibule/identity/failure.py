"""Why a log-in is not accepted: one word for the record, one sentence for the person."""

from __future__ import annotations

from enum import StrEnum

from vestibule.model.errors import VestibuleError


class Failure(StrEnum):
    """The `failure` of an `IdentityEvent`; never renamed."""

    SHAPE = "shape"
    ENCRYPTED = "encrypted"
    ALGORITHM = "algorithm"
    CRITICAL = "critical_header"
    TYPE = "token_type"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    AUTHORIZED_PARTY = "authorized_party"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    TOO_OLD = "too_old"
    NONCE = "nonce"
    ACCESS_TOKEN_HASH = "access_token_hash"
    NAME = "name"
    NAME_TAKEN = "name_taken"
    GROUPS = "groups"
    TOO_MANY_GROUPS = "too_many_groups"
    STATE = "state"
    MIX_UP = "mix_up"
    CODE = "code"
    DENIED_BY_PROVIDER = "denied_by_provider"
    PROVIDER = "provider_unavailable"
    DISCOVERY = "discovery"
    TOO_MANY = "too_many"
    TOKEN = "token"


class LoginRefused(VestibuleError):
    """A log-in that is not accepted. The text holds no token, no code and no claim's value."""

    def __init__(self, failure: Failure, message: str) -> None:
        """Say which check failed, and what to do about it."""
        super().__init__(message)
        self.failure = failure
