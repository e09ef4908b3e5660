import pytest

from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import catalog
from vestibule.model.statement import Impact, Parsed, Unsupported

OWN = catalog((), account="vestibule_rw")


def refusal(text: str, account: str = "vestibule_rw") -> Unsupported | None:
    answer = analyse(text.encode(), catalog((), account=account))
    assert isinstance(answer, Parsed)
    assert all(each.understood and each.impact >= Impact.SCHEMA for each in answer.statements)
    return next((each.refusal for each in answer.statements if each.refusal is not None), None)


@pytest.mark.parametrize(
    "text",
    [
        "ALTER USER vestibule_rw PASSWORD 'SCRAM-SHA-256$4096:x'",
        "alter role Vestibule_RW with encrypted password 'x'",
        'ALTER ROLE "vestibule_rw" CREATEDB PASSWORD NULL',
        "ALTER ROLE U&\"\\0076estibule_rw\" PASSWORD 'x'",
        "ALTER USER CURRENT_USER PASSWORD 'x'",
        "ALTER ROLE CURRENT_ROLE PASSWORD 'x'",
        "ALTER ROLE SESSION_USER PASSWORD 'x'",
        "ALTER ROLE vestibule_rw NOLOGIN",
        "ALTER ROLE vestibule_rw VALID UNTIL '2000-01-01'",
        "ALTER ROLE vestibule_rw CONNECTION LIMIT 0",
        "ALTER ROLE vestibule_rw RENAME TO another",
        "ALTER GROUP vestibule_rw RENAME TO another",
        "DROP ROLE vestibule_rw",
        "DROP USER IF EXISTS bob, vestibule_rw",
        "DROP GROUP CURRENT_USER",
        "CREATE ROLE bob; DROP ROLE vestibule_rw",
    ],
)
def test_what_could_lock_the_gateway_out_is_refused_and_says_how_the_password_is_rotated(text: str) -> None:
    why = refusal(text)
    assert why is not None
    assert why.code == "42501"
    assert "vestibule_rw is the account with which the gateway itself logs in" in why.message
    assert "credential.password" in why.hint


@pytest.mark.parametrize(
    "text",
    [
        "ALTER USER bob PASSWORD 'x'",
        "ALTER ROLE \"Vestibule_RW\" PASSWORD 'x'",
        "ALTER ROLE \"current_user\" PASSWORD 'x'",
        "ALTER ROLE vestibule_rw CREATEDB",
        "ALTER GROUP vestibule_rw ADD USER bob",
        "ALTER ROLE bob RENAME TO carol",
        "ALTER TABLE vestibule_rw RENAME TO another",
        "DROP ROLE bob",
        "DROP TABLE vestibule_rw",
        "CREATE ROLE carol PASSWORD 'x'",
    ],
)
def test_other_roles_and_other_changes_are_the_policy_s_affair(text: str) -> None:
    assert refusal(text) is None


def test_where_no_account_is_known_none_is_kept() -> None:
    assert refusal("DROP ROLE CURRENT_USER", account="") is None


def test_answers_for_one_account_are_not_remembered_for_another() -> None:
    assert OWN.version not in (catalog(()).version, catalog((), account="other").version)
