import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile_issuer import ABSENT, SigningKey, ec_key, ed_key, rsa_key, signed
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.identity.jose import KEY_FORMS, Unverified, take_apart
from vestibule.identity.keys import MAX_KEYS, KeySet, read_key_set, usable

ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "ES384"})


def key_set(*entries: object) -> KeySet:
    return read_key_set(json.dumps({"keys": entries}).encode())


def token(algorithm: str = "RS256", kid: object = "key-1") -> Unverified:
    return take_apart(signed({"sub": "u"}, rsa_key(), algorithm, kid=kid).encode(), ALGORITHMS)


def test_a_key_is_found_by_its_id() -> None:
    keys = key_set(rsa_key().jwk(), rsa_key("key-2", 3072).jwk())

    assert [key.kid for key in keys.candidates(token(kid="key-2"))] == ["key-2"]


def test_without_a_key_id_every_key_that_fits_is_meant() -> None:
    keys = key_set(rsa_key().jwk(), ec_key().jwk(), rsa_key("key-2", 3072).jwk())

    assert [key.kid for key in keys.candidates(token(kid=ABSENT))] == ["key-1", "key-2"]


@pytest.mark.parametrize(
    "unfit",
    [
        {"use": "enc"},
        {"use": 5},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "RS512"},
        {"alg": 5},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"n": 5},
        {"n": ABSENT},
        {"kid": 5},
        {"kid": "k" * 257},
        {"kty": ABSENT},
    ],
)
def test_a_key_that_is_not_meant_for_this_is_no_candidate(unfit: dict[str, object]) -> None:
    assert key_set(rsa_key().jwk(**unfit)).candidates(token()) == []


def test_a_key_for_verifying_by_this_algorithm_is_a_candidate() -> None:
    assert key_set(rsa_key().jwk(key_ops=["verify"], alg="RS256")).candidates(token())
    assert key_set(rsa_key().jwk(use=ABSENT)).candidates(token())


@pytest.mark.parametrize(("algorithm", "curve"), [("ES256", "P-384"), ("ES384", "P-256")])
def test_a_curve_belongs_to_its_algorithm(algorithm: str, curve: str) -> None:
    keys = key_set(ec_key("key-1", curve).jwk())

    assert keys.candidates(Unverified(algorithm, "key-1", b"")) == []


def test_secret_members_are_not_taken_over() -> None:
    keys = key_set(rsa_key().jwk(d="AQAB", p="AQAB"))

    assert set(keys.keys[0].members) == {"n", "e"}
    assert not usable(keys.keys[0]).is_private


def test_an_rsa_key_of_less_than_2048_bits_is_refused() -> None:
    weak = key_set(rsa_key("key-1", 1024).jwk()).keys[0]

    with pytest.raises(LoginRefused, match="2048") as refused:
        usable(weak)
    assert refused.value.failure is Failure.KEY


@pytest.mark.parametrize(
    "members", [{"n": "AA"}, {"n": "*"}, {"e": "AA"}, {"e": "A" * 40}, {"n": "_" * 4000}, {"e": "AQ"}]
)
def test_an_rsa_key_that_is_none_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(LoginRefused) as refused:
        usable(key_set(rsa_key().jwk(**members)).keys[0])
    assert refused.value.failure is Failure.KEY


@pytest.mark.parametrize("key", [ec_key().jwk(y="AAAA"), ec_key().jwk(x="!"), ed_key().jwk(x="AAAA")])
def test_a_point_that_is_not_on_the_curve_is_refused(key: dict[str, object]) -> None:
    with pytest.raises(LoginRefused):
        usable(key_set(key).keys[0])


@pytest.mark.parametrize("key", [rsa_key(), ec_key(), ed_key(None)])
def test_a_published_key_becomes_usable(key: SigningKey) -> None:
    assert usable(key_set(key.jwk()).keys[0]).get("kty") == key.jwk()["kty"]


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"keys":{}}', b'{"keys":1}', b"nonsense", b"\xff", b'{"keys":[],"keys":[]}']
)
def test_a_key_set_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(LoginRefused):
        read_key_set(body)


def test_a_key_set_of_more_keys_than_anybody_has_is_refused() -> None:
    with pytest.raises(LoginRefused):
        key_set(*[{}] * (MAX_KEYS + 1))


def test_what_is_no_key_is_passed_over() -> None:
    assert len(key_set(None, 1, "key", [], {}, {"kty": {}}, rsa_key().jwk()).keys) == 1


@given(
    st.sampled_from(["RSA", "EC", "OKP"]),
    st.dictionaries(st.sampled_from(["n", "e", "x", "y", "kid", "use", "alg"]), st.text(max_size=60)),
    st.sampled_from(["P-256", "P-384", "P-521", "Ed25519"]),
)
def test_arbitrary_keys_become_usable_or_are_refused(kind: str, entry: dict[str, str], curve: str) -> None:
    for key in key_set({**entry, "kty": kind, "crv": curve}).keys:
        if any(key.fits(algorithm) for algorithm in KEY_FORMS):
            with pytest.raises(LoginRefused):
                usable(key)
