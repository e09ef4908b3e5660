import pytest
from hypothesis import given
from hypothesis import strategies as st

from vestibule.wire.user import User, read_user


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("alice", User("alice")),
        ("alice+core", User("alice", "core")),
        ("+core", User("", "core")),
        ("_+core", User("_", "core")),
        ("dev1@bank.example+pay/ro", User("dev1@bank.example", "pay", "ro")),
        ("dev+tag@bank.example+pay", User("dev+tag@bank.example", "pay")),
        ("alice+core?oauth", User("alice", "core", "", ("oauth",))),
        ("alice+core/RW?oauth&x", User("alice", "core", "RW", ("oauth", "x"))),
        ("alice+core?", User("alice", "core")),
    ],
)
def test_a_user_name_names_login_target_role_and_options(name, user):
    assert read_user(name) == user


@pytest.mark.parametrize(
    "choice", ["", "Core", "a b", "core/", "core/r/s", "x" * 64, "core/" + "r" * 64, "core\n", "ä"]
)
def test_what_is_no_targets_name_stays_an_unknown_target(choice):
    assert read_user(f"alice+{choice}") == User("alice", choice)


@given(st.text())
def test_any_text_is_taken_apart_and_nothing_of_it_is_lost(name):
    user = read_user(name)
    assert name.startswith(user.login)
    assert user.target in name
