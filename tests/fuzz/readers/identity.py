"""What identity providers and people who log in send: tokens, keys, claims, discovery, addresses."""

from __future__ import annotations

import json
from typing import Final

from tests.fuzz.readers.base import Reader
from tests.support.hostile_issuer import b64, ec_key, ed_key, rsa_key, signed
from vestibule.identity import claims, fetch, jose, keys, oidc, provider, tokens
from vestibule.identity.failure import LoginRefused

ISSUER: Final = "https://idp.bank.example/realms/staff"
NOW: Final = 1_767_323_045
ALGORITHMS: Final = frozenset(jose.KEY_FORMS)
PROVIDER: Final = provider.Provider("corp", ISSUER, "vestibule", "hunter2", algorithms=ALGORITHMS)
EXPECTED: Final = claims.Expected(ISSUER, "vestibule", "nonce", 60, 600, NOW)
CLAIMS: Final = {
    "iss": ISSUER,
    "sub": "u-1",
    "aud": ["vestibule", "other"],
    "azp": "vestibule",
    "exp": NOW + 300,
    "iat": NOW - 5,
    "nbf": NOW - 5.5,
    "auth_time": NOW - 60,
    "nonce": "nonce",
    "at_hash": "77QmUPtjPfzWtF2AnpK9RQ",
    "preferred_username": "ada",
    "email": "ada@bank.example",
    "email_verified": True,
    "groups": ["engineering", "dba"],
    "amr": ["pwd", "hwk"],
    "acr": "phr",
}
METADATA: Final = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/certs",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    "authorization_response_iss_parameter_supported": True,
}
KEYS: Final = (rsa_key("rsa"), ec_key("ec"), ec_key("ec384", "P-384"), ed_key("ed"))
KEY_SET: Final = {"keys": [key.jwk() for key in KEYS]}


def token(data: bytes) -> bool:
    """A token as it is, tried with every key that fits."""
    try:
        unverified = jose.take_apart(data, ALGORITHMS)
    except LoginRefused:
        return False
    assert unverified.token == data
    for key in PUBLISHED.candidates(unverified)[:2]:
        try:
            jose.verify(unverified, keys.usable(key))
        except LoginRefused:
            continue
        # Whoever holds no key can at most hand on what was signed.
        assert any(data.partition(b".")[2] == whole.partition(b".")[2] for whole in WHOLE) or data in WHOLE
        return True
    return False


def header(data: bytes) -> bool:
    """A header before any payload."""
    try:
        jose.take_apart(b64(data).encode() + b".e30.AAAA", ALGORITHMS)
    except LoginRefused:
        return False
    return True


def said(data: bytes) -> bool:
    """Claims that were signed, behind a byte that says which are the name's and the groups'."""
    number, names = data[0] if data else 0, ("preferred_username", "email", "sub", "groups")
    try:
        read = jose.read_object(data[1:])
        claims.check(read, EXPECTED)
        claims.check_access_token(read, "ES256", "access" if number & 4 else None)
    except LoginRefused:
        read = None
    try:
        read = read or {**jose.read_object(data[1:]), "iss": ISSUER}
        subject = claims.subject_of(read, names[number & 3], ("groups", "roles")[number >> 3 & 1])
    except LoginRefused:
        return False
    assert subject.name.isprintable()
    assert len(subject.groups) <= claims.MAX_GROUPS
    return True


def key_set(data: bytes) -> bool:
    """A key set; each key that fits an algorithm is made usable."""
    try:
        read = keys.read_key_set(data)
    except LoginRefused:
        return False
    usable = 0
    fitting = [key for key in read.keys if any(map(key.fits, ALGORITHMS))]
    for key in fitting[:8]:
        try:
            keys.usable(key)
            usable += 1
        except LoginRefused:
            continue
    return bool(usable)


def discovery(data: bytes) -> bool:
    """A discovery document."""
    try:
        read = provider.read_metadata(data, PROVIDER)
    except LoginRefused:
        return False
    assert read.token_endpoint.lower().startswith("https:")
    return True


def answer(data: bytes) -> bool:
    """What a provider gives for a code."""
    try:
        oidc._tokens(jose.read_object(data))
    except LoginRefused:
        return False
    return True


def address(data: bytes) -> bool:
    """An address that a provider names, and how long its answer may be kept."""
    text = data.decode(errors="replace")
    assert fetch.SHORTEST_LIFE <= fetch.life(text) <= fetch.LONGEST_LIFE
    try:
        fetch.check_url(text, insecure_loopback_http=bool(len(data) & 1))
    except LoginRefused:
        return False
    return True


def shown(data: bytes) -> bool:
    """A token of the gateway's own."""
    assert len(tokens.digest(data)) == 32
    return tokens.malformed(data) is None


def _signed() -> list[bytes]:
    names = ("RS256", "ES256", "ES384", "EdDSA")
    return [signed(CLAIMS, key, algorithm).encode() for key, algorithm in zip(KEYS, names, strict=True)]


def _claims() -> list[bytes]:
    plain = {**CLAIMS, "aud": "vestibule"}
    plain.pop("azp"), plain.pop("at_hash")
    return [bytes([number]) + json.dumps(each).encode() for number in range(0, 16, 5) for each in (CLAIMS, plain)]


PUBLISHED: Final = keys.read_key_set(json.dumps(KEY_SET).encode())
WHOLE: Final = tuple(_signed())
_JSON: Final = (
    b'"',
    b":",
    b"{}",
    b"[]",
    b"null",
    b"true",
    b"false",
    b"1e400",
    b"-1",
    b"1.5",
    b'"kid":',
    b'"alg":"none"',
    b'"crit":[]',
)
_URLS: Final = (
    b"https://",
    b"http://",
    b"[::1]",
    b"127.0.0.1",
    b"localhost",
    b":99999",
    b"@",
    b"#",
    b"?",
    b"%",
    b"\\",
    b"max-age=",
    b"no-store",
)

READERS: Final = (
    Reader("identity.token", token, lambda: WHOLE, 40, (b".", b"..", b"=", b"e30", b"AAAA")),
    Reader(
        "identity.header", header, lambda: [b'{"alg":"ES256","kid":"ec","typ":"JWT"}'], 150, (*_JSON, b'"typ":"at+jwt"')
    ),
    Reader("identity.claims", said, _claims, 150, _JSON),
    Reader("identity.key-set", key_set, lambda: [json.dumps(KEY_SET).encode()], 20, (*_JSON, b"AQAB", b'"use":"enc"')),
    Reader("identity.discovery", discovery, lambda: [json.dumps(METADATA).encode()], 80, (*_JSON, *_URLS)),
    Reader(
        "identity.answer", answer, lambda: [b'{"id_token":"a.b.c","access_token":"x","token_type":"Bearer"}'], 80, _JSON
    ),
    Reader(
        "identity.address",
        address,
        lambda: [ISSUER.encode(), b"http://[::1]:8080/x?y=1", b"max-age=600, public"],
        150,
        _URLS,
    ),
    Reader("identity.shown", shown, lambda: [b"vst_" + b"A" * 43, b"vsb_" + b"-" * 43, b"eyJ" + b"a" * 4_092], 60),
)
