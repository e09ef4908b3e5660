import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.evidence.secrets import announced, may_hold_secret, shaped

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n-----END EC PRIVATE KEY-----"


def cut(text: str, finder) -> str:
    for start, end in sorted(finder(text), reverse=True):
        text = text[:start] + "#" + text[end:]
    return text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a vst_abcdefghijkl-_xyz b", "a # b"),
        ("a eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln b", "a # b"),
        ("a eyJhbGciOiJFUzI1NiJ9", "a #"),
        (f"a {PEM} b", "a # b"),
        (PEM[:50], "#"),
        ("key AKIAIOSFODNN7EXAMPLE.", "key #."),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = #"),
        ("postgresql://u:hunter2@db/core", "postgresql://u:#@db/core"),
        ("https://db/core", "https://db/core"),
        ("customers_vst and eyJ", "customers_vst and eyJ"),
    ],
)
def test_what_looks_like_a_secret_is_found(text, left) -> None:
    assert cut(text, shaped) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password 'hunter2' x", "password # x"),
        ("PASSWORD  /* c */ E'hunter2'", "PASSWORD  /* c */ #"),
        ("password ''hun''''ter2'' x", "password # x"),
        ("password 'open", "password #"),
        ("password $p$hunter2$p$ x", "password # x"),
        ("host=h password=hunter2 user=u", "host=h password=# user=u"),
        ("password='hun ter2' user=u", "password=# user=u"),
        ('{"password": "hunter2", "a": 1}', '{"password": #, "a": 1}'),
        (r"{\"pwd\":\"hunter2\"}", r"{\"pwd\":#}"),
        ("IDENTIFIED BY 'hunter2'", "IDENTIFIED BY #"),
        ("?sslpassword=hunter2&x=1", "?sslpassword=#&x=1"),
        ("the password is long", "the password is long"),
        ("password_changed_at", "password_changed_at"),
    ],
)
def test_what_a_word_announces_is_found(text, left) -> None:
    assert cut(text, announced) == left


@given(
    st.lists(
        st.sampled_from(["password", "'", "''", "=", " ", "x", "$$", "\\", '"', "://", "@", ":", "vst_", "eyJ", "."])
    )
)
def test_places_lie_within_any_text(words) -> None:
    text = "".join(words)
    for start, end in [*shaped(text), *announced(text)]:
        assert 0 <= start < end <= len(text)
        assert may_hold_secret(text)


def test_behind_a_bounded_number_of_announced_secrets_the_rest_is_one() -> None:
    text = "pwd:x " * 2_000
    found = list(announced(text))
    assert len(found) < 600
    assert found[-1][1] == len(text)


@pytest.mark.parametrize(
    ("text", "secrets"),
    [
        ("postgres://u:hunter2@h", ["hunter2"]),
        ("a://b:c a://u:x:y@h", ["x:y"]),
        ("a://u:p'@h", []),
        ("a://u:@h", []),
        ("a://u:" + "x" * 1_024 + "@h", ["x" * 1_024]),
        ("a://u:" + "x" * 1_025 + "@h", []),
    ],
)
def test_a_password_in_a_url_ends_at_the_at_sign(text: str, secrets: list[str]) -> None:
    assert [text[start:end] for start, end in shaped(text)] == secrets
