import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile_issuer import ABSENT, b64
from vestibule.identity.claims import Expected, check, check_access_token, lacks, subject_of
from vestibule.identity.failure import Failure, LoginRefused
from vestibule.model import wording

NOW = 1_800_000_000
EXPECTED = Expected("https://idp.example/realm", "vestibule", "n-1", leeway=60, max_age=600, now=NOW)


def claims(**members: object) -> dict[str, Any]:
    good = {
        "iss": "https://idp.example/realm",
        "aud": "vestibule",
        "sub": "u-1",
        "exp": NOW + 300,
        "iat": NOW,
        "nonce": "n-1",
        "preferred_username": "dev1",
        "groups": ["dba", "sre"],
    }
    return {name: value for name, value in {**good, **members}.items() if value is not ABSENT}


def failure_of(**members: object) -> Failure:
    with pytest.raises(LoginRefused) as refused:
        check(claims(**members), EXPECTED)
    return refused.value.failure


def subject_failure(**members: object) -> Failure:
    with pytest.raises(LoginRefused) as refused:
        subject_of(claims(**members), "preferred_username", "groups")
    return refused.value.failure


def test_good_claims_are_accepted() -> None:
    check(claims(), EXPECTED)


@pytest.mark.parametrize(
    "issuer",
    [
        "https://idp.example/realm/",
        "https://idp.example",
        "https://IDP.example/realm",
        "http://idp.example/realm",
        "https://idp.example/realm\n",
        "",
        7,
        None,
        ["https://idp.example/realm"],
        ABSENT,
    ],
)
def test_the_issuer_is_compared_exactly(issuer: object) -> None:
    assert failure_of(iss=issuer) is Failure.ISSUER


@pytest.mark.parametrize(
    "audience", ["other", ["other"], [], "", ABSENT, None, 1, ["vestibule", 1], {"vestibule": 1}, "Vestibule"]
)
def test_a_token_for_another_client_is_refused(audience: object) -> None:
    assert failure_of(aud=audience) is Failure.AUDIENCE


def test_an_audience_may_be_a_list_of_one() -> None:
    check(claims(aud=["vestibule"]), EXPECTED)


@pytest.mark.case("ID-03")
def test_several_audiences_need_this_client_as_authorized_party() -> None:
    several = ["vestibule", "other"]

    assert failure_of(aud=several) is Failure.AUTHORIZED_PARTY
    assert failure_of(aud=several, azp="other") is Failure.AUTHORIZED_PARTY
    check(claims(aud=several, azp="vestibule"), EXPECTED)


@pytest.mark.case("ID-03")
@pytest.mark.parametrize("party", ["other", "", None, ["vestibule"], 0])
def test_another_authorized_party_is_refused(party: object) -> None:
    assert failure_of(azp=party) is Failure.AUTHORIZED_PARTY


@pytest.mark.case("ID-02")
@pytest.mark.parametrize("skew", [-59, 59])
def test_a_clock_that_is_a_minute_wrong_is_forgiven(skew: int) -> None:
    now = NOW + skew

    check(claims(iat=now, exp=now + 300), EXPECTED)
    check(claims(iat=now, nbf=now, exp=now + 300), EXPECTED)
    check(claims(exp=NOW - 59), EXPECTED)


@pytest.mark.case("ID-02")
def test_a_clock_that_is_two_minutes_wrong_is_not_forgiven() -> None:
    assert failure_of(exp=NOW - 120) is Failure.EXPIRED
    assert failure_of(nbf=NOW + 120) is Failure.NOT_YET_VALID
    assert failure_of(iat=NOW + 120) is Failure.NOT_YET_VALID


@pytest.mark.case("ID-02")
def test_a_token_without_an_end_or_a_beginning_is_refused() -> None:
    assert failure_of(exp=ABSENT) is Failure.SHAPE
    assert failure_of(iat=ABSENT) is Failure.SHAPE


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1800000000", True, None, [], float("inf"), float("nan"), -1, 10**30])
def test_a_time_that_is_none_is_refused(claim: str, value: object) -> None:
    assert failure_of(**{claim: value}) is Failure.SHAPE


def test_a_token_older_than_the_maximum_age_is_refused() -> None:
    check(claims(iat=NOW - 600), EXPECTED)
    assert failure_of(iat=NOW - 661) is Failure.TOO_OLD


@pytest.mark.case("ID-03")
@pytest.mark.parametrize("nonce", ["n-2", "", ABSENT, None, 1, ["n-1"], "n-1 "])
def test_a_token_of_another_log_in_is_refused(nonce: object) -> None:
    assert failure_of(nonce=nonce) is Failure.NONCE


def test_a_logout_token_is_refused() -> None:
    assert failure_of(events={"http://schemas.openid.net/event/backchannel-logout": {}}) is Failure.TYPE


@pytest.mark.parametrize(
    ("algorithm", "name"), [("RS256", "sha256"), ("ES384", "sha384"), ("PS512", "sha512"), ("EdDSA", "sha512")]
)
def test_the_access_token_belongs_to_the_id_token(algorithm: str, name: str) -> None:
    digest = hashlib.new(name, b"access").digest()
    given_hash = {"at_hash": b64(digest[: len(digest) // 2])}

    check_access_token(given_hash, algorithm, "access")
    for other in ("another", "", None):
        with pytest.raises(LoginRefused) as refused:
            check_access_token(given_hash, algorithm, other)
        assert refused.value.failure is Failure.ACCESS_TOKEN_HASH
    check_access_token({}, algorithm, None)


@pytest.mark.parametrize("value", [None, 5, "", ["x"]])
def test_an_access_token_hash_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(LoginRefused):
        check_access_token({"at_hash": value}, "RS256", "access")


def test_a_person_is_read_with_name_groups_and_how_they_were_proven() -> None:
    person = subject_of(claims(amr=["pwd", "otp"], acr="loa2", auth_time=NOW - 5), "preferred_username", "groups")

    assert (person.issuer, person.subject, person.name) == ("https://idp.example/realm", "u-1", "dev1")
    assert person.groups == {"dba", "sre"}
    assert (person.amr, person.acr, person.auth_time) == (("pwd", "otp"), "loa2", (NOW - 5) * 1_000_000)


@pytest.mark.parametrize("subject", [1, None, "", ABSENT, ["u"], "u" * 256, "u\n1", "u\0", "u\u202e"])
def test_a_subject_that_is_no_printable_text_is_refused(subject: object) -> None:
    assert subject_failure(sub=subject) is Failure.SHAPE


@pytest.mark.parametrize("name", [1, None, "", ABSENT, "n" * 257, "dev1\n", "dev\x00"])
def test_a_name_that_is_no_printable_text_is_refused(name: object) -> None:
    assert subject_failure(preferred_username=name) is Failure.NAME


@pytest.mark.parametrize("verified", [False, ABSENT, "true", 1, None])
def test_an_email_is_a_name_only_if_the_provider_verified_it(verified: object) -> None:
    with pytest.raises(LoginRefused) as refused:
        subject_of(claims(email="dev1@bank.example", email_verified=verified), "email", "groups")
    assert refused.value.failure is Failure.NAME


def test_a_verified_email_is_a_name() -> None:
    assert subject_of(claims(email="d@b.example", email_verified=True), "email", "groups").name == "d@b.example"


@pytest.mark.parametrize("groups", ["dba", {"dba": 1}, ["dba", 1], ["dba", None], 7, None, [[]], ["dba\n"], [""]])
def test_groups_that_are_no_list_of_texts_are_refused(groups: object) -> None:
    assert subject_failure(groups=groups) is Failure.GROUPS


def test_no_groups_claim_means_no_groups() -> None:
    assert subject_of(claims(groups=ABSENT), "preferred_username", "groups").groups == frozenset()


@pytest.mark.parametrize(
    "overage",
    [
        {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/x"}}},
        {"hasgroups": True},
        {"hasgroups": "true"},
        {"_claim_names": "groups"},
    ],
)
def test_too_many_groups_for_a_token_are_a_refusal_and_not_no_groups(overage: dict[str, object]) -> None:
    with pytest.raises(LoginRefused) as refused:
        subject_of(claims(groups=ABSENT, **overage), "preferred_username", "groups")
    assert refused.value.failure is Failure.TOO_MANY_GROUPS
    assert str(refused.value) == wording.TOO_MANY_GROUPS


def test_a_renamed_groups_claim_is_watched_for_overage_too() -> None:
    with pytest.raises(LoginRefused) as refused:
        subject_of(claims(_claim_names={"roles": "src1"}), "preferred_username", "roles")
    assert refused.value.failure is Failure.TOO_MANY_GROUPS


def test_more_groups_than_anybody_has_are_refused() -> None:
    assert subject_failure(groups=[f"g{n}" for n in range(2001)]) is Failure.TOO_MANY_GROUPS


@pytest.mark.parametrize("wrong", [{"amr": "pwd"}, {"amr": [1]}, {"acr": 1}, {"auth_time": "now"}, {"amr": ["x"] * 33}])
def test_how_somebody_was_proven_has_the_right_types(wrong: dict[str, object]) -> None:
    assert subject_failure(**wrong) is Failure.SHAPE


def test_user_info_is_wanted_when_name_or_groups_are_missing() -> None:
    assert not lacks(claims(), "preferred_username", "groups")
    assert lacks(claims(groups=ABSENT), "preferred_username", "groups")
    assert lacks(claims(), "email", "groups")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from([*claims(), "azp", "nbf", "amr", "acr", "auth_time", "at_hash", "_claim_names"]), json_values
    )
)
def test_arbitrary_claims_are_accepted_or_refused(changed: dict[str, Any]) -> None:
    mixed = claims(**changed)
    try:
        check(mixed, EXPECTED)
        check_access_token(mixed, "RS256", "access")
        subject_of(mixed, "preferred_username", "groups")
    except LoginRefused:
        assert changed
