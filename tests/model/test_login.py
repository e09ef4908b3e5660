from uuid import UUID

from vestibule.model.identity import Who
from vestibule.model.login import Found, Login, Token, identity_of
from vestibule.model.names import GroupName, Instant, LoginName, TargetName

LOGIN = UUID(int=1)
TOKEN = UUID(int=2)


def found(targets: frozenset[TargetName] | None = None) -> Found:
    who = Who("https://idp.example", "sub-1", LoginName("dev1"), "human", LOGIN)
    login = Login(
        who, "corp", frozenset({GroupName("dba")}), ("pwd",), "loa2", Instant(5), "192.0.2.1", Instant(10), Instant(99)
    )
    return Found(Token(TOKEN, LOGIN, "gateway", Instant(10), Instant(50), targets), login, b"digest")


def test_a_live_session_is_bounded_by_the_login_and_not_by_the_token() -> None:
    assert identity_of(found()).expires_at == 99


def test_the_proof_names_the_tokens_public_id_and_how_the_person_was_proven() -> None:
    proof = identity_of(found()).proof

    assert (proof.method, proof.credential) == ("token", str(TOKEN))
    assert (proof.amr, proof.acr, proof.auth_time) == (("pwd",), "loa2", 5)


def test_a_scoped_token_carries_its_targets_into_the_identity() -> None:
    only = frozenset({TargetName("payments")})

    assert identity_of(found(only)).targets == only
    assert identity_of(found()).targets is None
