import json
from base64 import urlsafe_b64decode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile_issuer import (
    ABSENT,
    SigningKey,
    b64,
    ec_key,
    ed_key,
    hmac_signed,
    jws,
    rsa_key,
    signed,
    unsigned,
)
from tests.support.watching import watched
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.jose import MAX_TOKEN, read_object, take_apart, verify
from vestibule.identity.keys import read_key_set, usable

ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS512"})
CLAIMS = {"iss": "https://idp.example", "sub": "u-1"}


def read(token: str, key: SigningKey | None = None, algorithms: frozenset[str] = ALGORITHMS) -> dict[str, object]:
    """Take apart and verify with the published half of `key`."""
    published = read_key_set(json.dumps({"keys": [(key or rsa_key()).jwk()]}).encode())
    unverified = take_apart(token.encode(), algorithms)
    candidates = published.candidates(unverified)
    if not candidates:
        raise LoginRefused(Failure.KEY, "none")
    return dict(verify(unverified, usable(candidates[0])))


def failure_of(token: str | bytes, algorithms: frozenset[str] = ALGORITHMS) -> Failure:
    text = token if isinstance(token, str) else token.decode("latin-1")
    with watched() as seen, pytest.raises(LoginRefused) as refused:
        read(text, algorithms=algorithms)
    assert seen == []
    assert not any(segment in str(refused.value) for segment in text.split(".") if len(segment) > 20)
    return refused.value.failure


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa_key(), "RS256"),
        (rsa_key(), "RS512"),
        (rsa_key(), "PS256"),
        (ec_key(), "ES256"),
        (ec_key("k384", "P-384"), "ES384"),
        (ec_key("k521", "P-521"), "ES512"),
        (ed_key(), "EdDSA"),
        (ed_key(), "Ed25519"),
    ],
)
def test_a_token_signed_by_a_configured_algorithm_is_read(key: SigningKey, algorithm: str) -> None:
    assert read(signed(CLAIMS, key, algorithm), key) == CLAIMS


@pytest.mark.case("ID-01")
def test_an_unsigned_token_is_refused() -> None:
    for name in ("none", "None", "NONE", "nOnE"):
        assert failure_of(unsigned(CLAIMS, name)) is Failure.ALGORITHM


@pytest.mark.case("ID-01")
def test_a_token_signed_with_the_public_key_as_hmac_secret_is_refused() -> None:
    jwk = json.dumps(rsa_key().jwk()).encode()
    modulus = urlsafe_b64decode(str(rsa_key().jwk()["n"]) + "==")

    for secret in (rsa_key().public_pem, jwk, modulus, b""):
        assert failure_of(hmac_signed(CLAIMS, secret)) is Failure.ALGORITHM


def test_an_algorithm_that_is_not_configured_is_refused_even_with_a_good_signature() -> None:
    assert failure_of(signed(CLAIMS, algorithm="PS256"), frozenset({"RS256"})) is Failure.ALGORITHM


@pytest.mark.parametrize("algorithm", [None, 5, "", ["RS256"], ABSENT, "rs256", "RS256 "])
def test_an_algorithm_that_is_no_configured_name_is_refused(algorithm: object) -> None:
    assert failure_of(signed(CLAIMS, alg=algorithm)) is Failure.ALGORITHM


@pytest.mark.case("ID-01")
@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": "b64"}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}],
)
def test_a_header_that_demands_something_is_refused(header: dict[str, object]) -> None:
    assert failure_of(signed(CLAIMS, **header)) is Failure.CRITICAL


@pytest.mark.case("ID-01")
@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_that_the_token_brings_along_is_never_used(name: str) -> None:
    attacker = rsa_key("key-1", 3072)
    brought = {"jwk": attacker.jwk(), "jku": "https://evil.example/jwks", "x5u": "file:///etc/passwd", "x5c": ["AAAA"]}

    assert failure_of(signed(CLAIMS, attacker, **{name: brought[name]})) is Failure.SIGNATURE


def test_a_good_token_may_carry_its_certificate_which_nobody_reads() -> None:
    assert read(signed(CLAIMS, x5c=["not a certificate"], jku="https://evil.example/jwks")) == CLAIMS


@pytest.mark.case("ID-01")
@pytest.mark.parametrize(
    "kid",
    ["../../../../dev/null", "/etc/passwd", "' OR 1=1 --", "key-1\0", "https://evil.example/", "k" * 256, "KEY-1"],
)
def test_a_key_id_is_compared_and_nothing_else(kid: str) -> None:
    assert failure_of(signed(CLAIMS, kid=kid)) is Failure.KEY


@pytest.mark.parametrize("kid", ["", "k" * 257, 7, None, ["key-1"], {"a": 1}])
def test_a_key_id_that_is_no_text_of_a_sane_length_is_refused(kid: object) -> None:
    if kid is None:
        assert read(signed(CLAIMS, kid=ABSENT)) == CLAIMS
    else:
        assert failure_of(signed(CLAIMS, kid=kid)) is Failure.KEY


@pytest.mark.parametrize("kind", ["at+jwt", "logout+jwt", "application/at+jwt", "", 1, None])
def test_other_kinds_of_token_are_told_apart(kind: object) -> None:
    assert failure_of(signed(CLAIMS, typ=kind)) is Failure.TYPE


def test_a_nested_token_is_refused() -> None:
    assert failure_of(signed(CLAIMS, cty="JWT")) is Failure.TYPE


def test_the_type_may_be_missing_or_in_small_letters() -> None:
    assert read(signed(CLAIMS, typ=ABSENT)) == CLAIMS
    assert read(signed(CLAIMS, typ="jwt")) == CLAIMS


def test_an_encrypted_token_is_refused() -> None:
    assert failure_of("a.b.c.d.e") is Failure.ENCRYPTED


def test_a_token_of_more_than_64_kib_is_refused_unread() -> None:
    assert failure_of(signed({**CLAIMS, "pad": "x" * MAX_TOKEN})) is Failure.SHAPE


@pytest.mark.parametrize(
    "header",
    [b'{"alg":"none","alg":"RS256","kid":"key-1"}', b'{"alg":"RS256","kid":"x","kid":"key-1"}', b"[]", b"{", b"\xff"],
)
def test_a_header_with_a_member_twice_or_no_object_is_refused(header: bytes) -> None:
    token = jws(header, CLAIMS, lambda data: b"x" * 256)

    assert failure_of(token) is Failure.SHAPE


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub":"u-1","sub":"u-2"}',
        b'{"a":{"b":1,"b":2}}',
        b'{"exp":NaN}',
        b'{"exp":Infinity}',
        b'{"sub":"\\ud800"}',
        b"[" * 20_000,
        b'"text"',
        b"\xff\xfe",
        b"",
    ],
)
def test_claims_that_are_not_one_strict_object_are_refused(payload: bytes) -> None:
    with pytest.raises(LoginRefused):
        read(signed(payload))


def test_a_signature_in_another_spelling_is_refused() -> None:
    head, _, tail = signed(CLAIMS).rpartition(".")

    for spoilt in (
        f"{head}.{tail}=",
        f"{head}.{tail} ",
        f"{head}.",
        f"{head}.{tail[:-2]}",
        f"{head}.{'A' * len(tail)}",
    ):
        assert failure_of(spoilt) in (Failure.SIGNATURE, Failure.SHAPE)


def test_a_changed_payload_is_refused() -> None:
    head, _, tail = signed(CLAIMS).split(".")

    assert failure_of(f"{head}.{b64(json.dumps({**CLAIMS, 'sub': 'root'}).encode())}.{tail}") is Failure.SIGNATURE


def test_nothing_of_a_token_shows_in_its_repr() -> None:
    token = signed(CLAIMS)

    assert repr(take_apart(token.encode(), ALGORITHMS)) == "Unverified(RS256)"


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: f"{text}.{text}.{text}".encode()))
def test_arbitrary_bytes_are_refused_and_nothing_else(token: bytes) -> None:
    with pytest.raises(LoginRefused):
        take_apart(token, ALGORITHMS)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "cty", "jwk"]), st.none() | st.integers() | st.text())
)
def test_arbitrary_headers_are_read_or_refused(header: dict[str, object]) -> None:
    token = jws(header, CLAIMS, lambda _: b"x")
    with suppress(LoginRefused):
        assert take_apart(token.encode(), ALGORITHMS).algorithm in ALGORITHMS


@given(st.binary(max_size=200))
def test_an_object_is_read_or_refused(text: bytes) -> None:
    with suppress(LoginRefused):
        assert isinstance(read_object(text), dict)


HEADER_NAMES = ("jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "kid", "typ", "alg", "cty", "nonce", "b64", "crit", "")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(HEADER_NAMES), json_values, max_size=4))
def test_a_well_signed_token_with_arbitrary_headers_is_read_or_refused(header: dict[str, object]) -> None:
    with suppress(LoginRefused):
        assert read(signed(CLAIMS, **header)) == CLAIMS  # type: ignore[arg-type]
