"""Getting in with real clients: tokens as passwords, user names, startup parameters; and who is refused, how."""

from __future__ import annotations

import psycopg
import pytest

from tests.end_to_end.conftest import Connect, People
from tests.support.clients import Psql
from tests.support.evidence import Journal
from tests.support.gateway import TARGET, Gateway
from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from tests.support.raw_client import RawClient
from tests.support.signing_in import SignedIn
from tests.support.waiting import wait_for
from vestibule.protocols.postgres import messages as pg

WHO_AM_I = "SELECT current_user, current_setting('application_name')"


@pytest.mark.case("PG-01")
def test_psql_comes_in_with_a_token_over_verified_tls(gateway: Gateway, journal: Journal, name: str) -> None:
    token = gateway.login("dev1")

    done = gateway.psql("dev1", token, appname=name).run(WHO_AM_I, "SELECT count(*) FROM customers")

    session = journal.closed_session(name)
    opened, access = session.one("SessionOpened"), session.one("AccessDecided")
    assert done.rows == [f"{GATEWAY}|{name} vestibule:{str(session.id)[:8]}", "40"]
    assert (access["who"]["name"], access["target"], access["decision"]) == ("dev1", TARGET, "allow")
    assert (opened["who"]["sub"], opened["target_account"], opened["groups"]) == ("u-dev1", GATEWAY, ["engineering"])
    assert session.decisions == [("allow", f"{WHO_AM_I};"), ("allow", "SELECT count(*) FROM customers;")]
    assert session.outcomes == ["ok", "ok"]


@pytest.mark.case("PG-02")
def test_without_tls_psql_is_told_to_use_it(
    gateway: Gateway, journal: Journal, postgres15: PostgresServer, dev1: SignedIn, name: str
) -> None:
    mark, target_mark = journal.mark(), postgres15.mark()

    done = gateway.psql(name, dev1.token, sslmode="disable").run("SELECT 1")

    assert done.status == 2
    assert "FATAL:  vestibule: TLS required" in done.errors
    refused = journal.wait_for(mark, "AccessDecided", attempted=f"{name}+{TARGET}")
    assert (refused["decision"], refused["cause"]) == ("deny", "no TLS")
    assert dialled(postgres15, target_mark) == []


@pytest.mark.case("PG-02")
def test_without_tls_no_password_is_asked_for(gateway: Gateway, name: str) -> None:
    with RawClient.connect(gateway.port) as client:
        client.begin(f"{name}+{TARGET}")

        assert [error_of(message) for message in client.rest()] == [("FATAL", "28000", "vestibule: TLS required")]


@pytest.mark.case("PG-04")
@pytest.mark.parametrize("way", ["PGPASSWORD", "pgpass"])
@pytest.mark.parametrize("length", [8_000, 60_000])
def test_a_long_password_arrives_whole_and_is_refused_cleanly(
    gateway: Gateway, journal: Journal, name: str, way: str, length: int
) -> None:
    mark = journal.mark()

    done = psql_with(gateway, name, jwt_like(length), way).run("SELECT 1")

    assert done.status == 2
    assert 'FATAL:  vestibule: token not accepted; run "vestibule login"\n' in done.errors
    refused = journal.wait_for(mark, "AccessDecided", attempted=f"{name}+{TARGET}")
    assert (refused["decision"], refused["cause"]) == ("deny", "token unknown")


@pytest.mark.case("PG-04")
@pytest.mark.parametrize("length", [47, 8_000, 60_000, 65_531])
def test_a_password_that_is_no_token_is_refused_by_its_code(gateway: Gateway, name: str, length: int) -> None:
    assert refused_password(gateway, name, jwt_like(length)) == (
        "FATAL",
        "28P01",
        'vestibule: token not accepted; run "vestibule login"',
    )


@pytest.mark.case("PG-04")
def test_a_password_beyond_the_limit_breaks_the_protocol(gateway: Gateway, name: str) -> None:
    severity, code, text = refused_password(gateway, name, jwt_like(66_000))

    assert (severity, code) == ("FATAL", "08P01")
    assert "66005" in text


@pytest.mark.case("PG-04")
def test_psql_reports_a_password_beyond_the_limit(gateway: Gateway, name: str) -> None:
    done = psql_with(gateway, name, jwt_like(66_000), "PGPASSWORD").run("SELECT 1")

    assert done.status == 2
    assert "FATAL:  vestibule: " in done.errors


def test_a_password_that_a_terminal_has_cut_is_named_as_such(gateway: Gateway, name: str) -> None:
    _, code, text = refused_password(gateway, name, jwt_like(4_095))

    assert code == "28P01"
    assert text.startswith("vestibule: token truncated to 4095 characters by the client; ")


def test_a_token_that_lost_its_end_is_named_as_such(gateway: Gateway, dev1: SignedIn, name: str) -> None:
    _, code, text = refused_password(gateway, name, dev1.token[:-3])

    assert (code, "truncated to 44 characters" in text) == ("28P01", True)


@pytest.mark.parametrize("way", ["PGPASSWORD", "pgpass", "service"])
def test_a_token_is_good_however_libpq_carries_it(gateway: Gateway, dev1: SignedIn, way: str) -> None:
    assert psql_with(gateway, "dev1", dev1.token, way).run("SELECT 41 + 1").rows == ["42"]


def test_an_interactive_psql_asks_for_the_password_and_only_its_second_connection_counts(
    gateway: Gateway, journal: Journal, dev1: SignedIn, name: str
) -> None:
    mark = journal.mark()
    psql = psql_with(gateway, "dev1", "", "prompt", appname=name)

    with psql.terminal() as terminal:
        terminal.expect("Password for user")
        terminal.type(dev1.token)
        terminal.expect("=>")
        terminal.type("SELECT 41 + 1 AS answer;")
        terminal.expect("42")
        terminal.type("\\q")
        assert terminal.wait() == 0

    assert dev1.token not in terminal.text
    assert journal.closed_session(name).outcomes == ["ok"]
    assert [record["decision"] for record in journal.since(mark, "AccessDecided")] == ["allow"]


def test_an_expired_token_is_refused_and_said_to_be_expired(gateway: Gateway, dev1: SignedIn) -> None:
    short = dev1.another_token(life=1)

    def last_words() -> str:
        return refused_or_let_in(gateway, "dev1", short.token)

    wait_for(lambda: last_words() != "let in", "the token's end")
    assert last_words() == 'FATAL 28P01 vestibule: token expired; run "vestibule login"'


def test_a_revoked_token_is_refused_like_an_unknown_one(gateway: Gateway, dev1: SignedIn) -> None:
    other = dev1.another_token()
    assert refused_or_let_in(gateway, "dev1", other.token) == "let in"

    other.revoke()

    refused = 'FATAL 28P01 vestibule: token not accepted; run "vestibule login"'
    assert refused_or_let_in(gateway, "dev1", other.token) == refused


@pytest.mark.case("PG-28")
def test_a_user_name_that_the_token_does_not_prove_is_refused_with_both_names_recorded(
    gateway: Gateway, journal: Journal, postgres15: PostgresServer, dev1: SignedIn
) -> None:
    mark, target_mark = journal.mark(), postgres15.mark()

    done = gateway.psql("dev2", dev1.token).run("SELECT 1")

    assert done.status == 2
    assert "vestibule: the login in the user name is not the one the token proves" in done.errors
    refused = journal.wait_for(mark, "AccessDecided", attempted=f"dev2+{TARGET}")
    assert (refused["who"]["name"], refused["decision"], refused["cause"]) == ("dev1", "deny", "the token is dev1's")
    assert dialled(postgres15, target_mark) == []
    assert (
        refused_or_let_in(gateway, "dev2", dev1.token)
        == "FATAL 28000 vestibule: the login in the user name is not the one the token proves"
    )


@pytest.mark.parametrize("user", ["dev1", "DEV1", "_", ""])
def test_the_login_in_the_user_name_may_be_left_open_or_written_in_capitals(
    gateway: Gateway, dev1: SignedIn, user: str
) -> None:
    assert gateway.psql(user, dev1.token).run("SELECT 41 + 1").rows == ["42"]


@pytest.mark.parametrize("target", ["no-such-target", f"{TARGET}/owner"])
def test_a_target_that_is_not_granted_looks_like_one_that_does_not_exist(
    gateway: Gateway, journal: Journal, dev1: SignedIn, target: str
) -> None:
    mark = journal.mark()

    assert (
        refused_or_let_in(gateway, "dev1", dev1.token, target)
        == f"FATAL 28000 vestibule: choose a target as login+target; you may use: {TARGET}"
    )
    refused = journal.wait_for(mark, "AccessDecided", attempted=f"dev1+{target}")
    assert (refused["who"]["name"], refused["decision"], refused["cause"]) == ("dev1", "deny", "target not granted")


def test_somebody_in_no_group_may_use_nothing(gateway: Gateway, signed_in: People) -> None:
    eve = signed_in("eve")

    assert refused_or_let_in(gateway, "eve", eve.token).endswith("you may use: none")


def test_without_a_target_in_the_user_name_the_database_names_it_or_there_is_only_one(
    gateway: Gateway, dev1: SignedIn
) -> None:
    for database in (TARGET, "dev1"):
        settings = {**gateway.psql("dev1", dev1.token).settings, "user": "dev1", "database": database}
        assert Psql(gateway.sandbox, settings).run("SELECT current_database()").rows == [DATABASE]


def test_a_database_that_the_target_does_not_offer_is_refused(gateway: Gateway, dev1: SignedIn) -> None:
    done = gateway.psql("dev1", dev1.token, database="postgres").run("SELECT 1")

    assert done.status == 2
    assert f"vestibule: choose a database of {TARGET}: {DATABASE}" in done.errors


def test_a_token_made_for_targets_opens_those_alone(gateway: Gateway, dev1: SignedIn) -> None:
    scoped = dev1.another_token(targets=[TARGET])

    assert refused_or_let_in(gateway, "dev1", scoped.token) == "let in"


# What a client may begin with


def test_a_ticket_in_the_options_is_recorded_and_does_not_travel(
    gateway: Gateway, journal: Journal, dev1: SignedIn, name: str
) -> None:
    options = "-c vestibule.ticket=CHG-1 -c vestibule.reason=month\\ end -c statement_timeout=7s"

    done = gateway.psql("dev1", dev1.token, appname=name, options=options).run("SHOW statement_timeout")

    opened = journal.closed_session(name).one("SessionOpened")
    assert done.rows == ["7s"]
    assert (opened["ticket"], opened["reason"]) == ("CHG-1", "month end")


def test_the_targets_settings_begin_as_the_gateway_pins_them(connect: Connect) -> None:
    shown = {
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
        "backslash_quote": "safe_encoding",
        "bytea_output": "hex",
        "xmlbinary": "base64",
        "search_path": '"public"',
    }
    connection = connect()

    assert {key: connection.execute(f"SHOW {key}").fetchone()[0] for key in shown} == shown


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"options": "-c role=admin"}, "42501"),
        ({"options": "-c session_preload_libraries=evil"}, "42501"),
        ({"options": "-c search_path=$user"}, "42501"),
        ({"client_encoding": "latin1"}, "0A000"),
    ],
)
def test_a_setting_that_nobody_may_begin_with_is_refused(
    gateway: Gateway, dev1: SignedIn, settings: dict[str, str], code: str
) -> None:
    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca)
        client.begin(f"dev1+{TARGET}", **settings)

        (refused,) = client.rest()

    assert error_of(refused)[:2] == ("FATAL", code)
    assert settings.popitem()[1].removeprefix("-c ").split("=")[0] in error_of(refused)[2] or code == "0A000"


@pytest.mark.case("PG-30")
def test_replication_is_refused(gateway: Gateway, dev1: SignedIn) -> None:
    with pytest.raises(psycopg.OperationalError, match="replication is not supported"):
        psycopg.connect(gateway.conninfo("dev1", dev1.token, replication="database"))

    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca).begin(f"dev1+{TARGET}", replication="true")
        assert [error_of(message)[:2] for message in client.rest()] == [("FATAL", "0A000")]


# libpq 18


@pytest.mark.case("PG-09")
def test_libpq_18_comes_in_by_direct_tls(gateway: Gateway, journal: Journal, dev1: SignedIn, name: str) -> None:
    psql = gateway.psql("dev1", dev1.token, modern=True, appname=name, sslnegotiation="direct")

    assert psql.run("SELECT 41 + 1").rows == ["42"]
    session = journal.closed_session(name)
    assert session.decisions == [("allow", "SELECT 41 + 1;")]
    assert session.one("AccessDecided")["who"]["name"] == "dev1"


def test_libpq_18_is_talked_down_to_protocol_3_0(gateway: Gateway, dev1: SignedIn) -> None:
    psql = gateway.psql("dev1", dev1.token, modern=True, maxprotocolversion="3.2")

    assert psql.run("SELECT 41 + 1").rows == ["42"]


def test_libpq_18_that_insists_on_protocol_3_2_stops_cleanly(gateway: Gateway, dev1: SignedIn) -> None:
    psql = gateway.psql("dev1", dev1.token, modern=True, minprotocolversion="3.2")

    done = psql.run("SELECT 1")

    assert done.status == 2
    assert "server only supports protocol version 3.0" in done.errors


def test_a_client_that_greases_is_told_which_options_are_not_known(gateway: Gateway, dev1: SignedIn) -> None:
    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca)
        parameters = (("user", f"dev1+{TARGET}"), ("_pq_.test_protocol_negotiation", "1"))
        client.send(pg.StartupMessage((3 << 16) + 9_999, parameters))

        assert client.expect(pg.NegotiateProtocolVersion) == pg.NegotiateProtocolVersion(
            3 << 16, ("_pq_.test_protocol_negotiation",)
        )
        client.expect(pg.AuthenticationCleartextPassword)
        client.send(pg.PasswordMessage(dev1.token.encode() + b"\0"))
        assert client.until(pg.ReadyForQuery)


# Small things


def psql_with(gateway: Gateway, user: str, password: str, way: str, **more: str) -> Psql:
    """A psql that gets its password in a certain way."""
    sandbox = gateway.sandbox
    settings = dict(gateway.psql(user, "", **more).settings)
    del settings["password"]
    if way == "PGPASSWORD":
        settings["password"] = password
    elif way == "pgpass":
        line = f"localhost:{gateway.port}:{settings['database']}:{settings['user']}:{password}\n"
        settings["passfile"] = str(sandbox.write(sandbox.folder("pgpass") / "passwords", line))
    elif way == "service":
        lines = "".join(f"{key}={value}\n" for key, value in {**settings, "password": password}.items())
        section = f"[bank]\n{lines}".replace("database=", "dbname=")
        file = sandbox.write(sandbox.folder("service") / "services", section)
        settings = {"servicefile": str(file), "service": "bank"}
    return Psql(sandbox, settings)


def jwt_like(length: int) -> str:
    """What looks like a JWT of a certain length, and is none."""
    return ("eyJhbGciOiJub25lIn0." + "eyJzdWIiOiJ4In0" * (length // 15 + 1))[:length]


def refused_password(gateway: Gateway, user: str, password: str) -> tuple[str, str, str]:
    """The error that a password is answered with, which must be all that comes."""
    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca)
        client.begin(f"{user}+{TARGET}")
        client.expect(pg.AuthenticationCleartextPassword)
        client.send(pg.PasswordMessage(password.encode() + b"\0"))
        (answer,) = client.rest()
    return error_of(answer)


def refused_or_let_in(gateway: Gateway, user: str, token: str, target: str = TARGET) -> str:
    """What becomes of a log-in, in words."""
    with RawClient.connect(gateway.port) as client:
        client.start_tls(gateway.ca)
        client.begin(f"{user}+{target}")
        client.expect(pg.AuthenticationCleartextPassword)
        client.send(pg.PasswordMessage(token.encode() + b"\0"))
        answer = client.next()
    return "let in" if isinstance(answer, pg.AuthenticationOk) else " ".join(error_of(answer))


def error_of(message: object) -> tuple[str, str, str]:
    """Severity, code and text of an error."""
    assert isinstance(message, pg.ErrorResponse), message
    return message.text("V"), message.text("C"), message.text("M")


def dialled(server: PostgresServer, mark: int) -> list[str]:
    """The connections that a server has got behind a mark, from anybody."""
    return [line.message for line in server.since(mark) if line.message.startswith("connection received")]
