"""Certificates in place of tokens at a real gateway: what ends them ends sessions, and what a forger gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from cryptography import x509

from tests.support.balancing import balancing
from tests.support.evidence import Journal, SessionEvidence
from tests.support.forged import SERVER_AUTH, Pair, forge
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.proxying import header
from tests.support.signing_in import SignedIn, sign_in
from vestibule.cli.certificate import Keys
from vestibule.identity.certificates import Authority, new_authority, read_authority

REFUSED = 'FATAL:  vestibule: certificate not accepted; run "vestibule login", then "vestibule certificate"'


class Person:
    """Somebody with a certificate: what they hold, and what they can do with it."""

    def __init__(self, who: SignedIn, folder: Path, **wanted: Any) -> None:
        keys = Keys()
        made = who._ask("POST", "/api/v1/certificates", {"request": keys.request(), **wanted})
        self.who, self.id, self.pem = who, made["id"], made["certificate"]
        sandbox = who.gateway.sandbox
        private = keys.files(x509.load_pem_x509_certificate(self.pem.encode()), b"x")["client.key"]
        self.files = {
            "sslcert": str(sandbox.write(folder / f"{self.id}.crt", self.pem)),
            "sslkey": str(sandbox.write(folder / f"{self.id}.key", private)),
        }

    def conninfo(self, **more: Any) -> str:
        return self.who.gateway.conninfo(self.who.person, "", **{**self.files, **more})

    def revoke(self) -> None:
        self.who.revoke(self.id)


@pytest.fixture(scope="module")
def house(module_gateways: GatewayFactory, postgres15: PostgresServer) -> Gateway:
    """A gateway with two data processes."""
    return module_gateways.make({TARGET: postgres15}, settings=lambda settings: settings.update(workers=2))


@pytest.fixture
def dev1(house: Gateway) -> Person:
    """dev1, signed in for this test alone, with a certificate."""
    return Person(sign_in(house, "dev1"), house.sandbox.folder("certified"))


def authority_of(house: Gateway) -> Authority:
    """The gateway's own key, as a thief of its folder would have it."""
    return read_authority((house.data / "keys" / "user-ca.pem").read_bytes())


def shown(house: Gateway, pair: Pair, person: str = "dev1", **more: str) -> str:
    """Come in with psql, a certificate and, if it is asked for, a token; give what psql said."""
    folder = house.sandbox.folder("forged")
    certificate, key = pair.write(folder)
    for path in (certificate, key):
        house.sandbox.own(path, 0o600)
    done = house.psql(person, "", sslcert=str(certificate), sslkey=str(key), **more).run("SELECT 41 + 1")
    return done.errors or done.output


# --- ends


def revoke(person: Person, session: SessionEvidence) -> None:
    person.revoke()


def log_out(person: Person, session: SessionEvidence) -> None:
    person.who.log_out()


def kill(person: Person, session: SessionEvidence) -> None:
    person.who.gateway.login("pat")
    done = person.who.gateway.cli("pat", "sessions", "kill", str(session.id))
    assert done.status == 0, done.errors


@pytest.mark.parametrize("end", [revoke, log_out, kill], ids=lambda end: end.__name__)
def test_what_ends_a_certificate_ends_its_sessions_and_no_other(
    house: Gateway, dev1: Person, name: str, end: Callable[[Person, SessionEvidence], None]
) -> None:
    journal = Journal(house.data)
    other = Person(sign_in(house, "dev2"), house.sandbox.folder("certified"))
    with (
        psycopg.connect(dev1.conninfo(application_name=name), autocommit=True) as session,
        psycopg.connect(other.conninfo(), autocommit=True) as bystander,
    ):
        session.execute("SELECT 1")
        end(dev1, journal.session(name))
        closed = journal.closed_session(name)
        with pytest.raises(psycopg.errors.AdminShutdown, match="session ended: "):
            session.execute("SELECT 1")
        assert bystander.execute("SELECT 41 + 1").fetchone() == (42,)

    opened = closed.one("SessionOpened")
    assert opened["proof"]["method"] == "certificate"
    assert opened["proof"]["credential"] == dev1.id
    if end is not kill:
        with pytest.raises(psycopg.OperationalError, match="certificate not accepted; run"):
            psycopg.connect(dev1.conninfo())


def test_a_revoked_certificate_leaves_the_token_of_the_same_login(house: Gateway, dev1: Person) -> None:
    dev1.revoke()
    with psycopg.connect(house.conninfo("dev1", dev1.who.token)) as session:
        assert session.execute("SELECT 41 + 1").fetchone() == (42,)


def test_a_login_that_expires_ends_the_sessions_of_its_certificate(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    def policy(document: dict[str, Any]) -> None:
        document["identity"][0]["login"] = {"max": "8s"}

    house = gateways.make({TARGET: postgres15}, policy=policy)
    person = Person(sign_in(house, "dev1"), house.sandbox.folder("certified"))
    with psycopg.connect(person.conninfo(application_name=name), autocommit=True) as session:
        assert Journal(house.data).closed_session(name).one("SessionClosed")["cause"] == "login_expired"
        with pytest.raises(psycopg.errors.AdminShutdown, match="session ended: login expired"):
            session.execute("SELECT 1")
    mark = Journal(house.data).mark()
    with pytest.raises(psycopg.OperationalError, match="certificate expired; run"):
        psycopg.connect(person.conninfo())
    refused = Journal(house.data).wait_for(mark, "AccessDecided")
    assert (refused["cause"], refused["decision"]) == ("certificate expired", "deny")


def test_certificates_and_their_authority_outlast_a_restart(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    house = gateways.make({TARGET: postgres15})
    person = Person(sign_in(house, "dev1"), house.sandbox.folder("certified"))
    house.restart()
    with psycopg.connect(person.conninfo()) as session:
        assert session.execute("SELECT 41 + 1").fetchone() == (42,)

    (house.data / "keys" / "user-ca.pem").unlink()
    house.restart()
    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        psycopg.connect(person.conninfo())


def test_a_certificate_for_one_target_opens_no_other(gateways: GatewayFactory, postgres15: PostgresServer) -> None:
    house = gateways.make({TARGET: postgres15, "payments": postgres15})
    person = Person(sign_in(house, "dev1"), house.sandbox.folder("certified"), targets=["payments"])
    with psycopg.connect(person.conninfo(target="payments")) as session:
        assert session.execute("SELECT 41 + 1").fetchone() == (42,)
    with pytest.raises(psycopg.OperationalError, match=r"choose a target as login\+target; you may use: payments"):
        psycopg.connect(person.conninfo())


def test_a_gateway_that_gives_no_certificates_asks_nobody_for_one(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    house = gateways.make({TARGET: postgres15}, settings=lambda settings: settings.update(client_certificates=False))
    token = house.login("dev1")
    done = house.cli("dev1", "certificate", house.home("dev1") / "certificate")
    assert (done.status, done.errors) == (1, "vestibule: this gateway gives no certificates; use a token\n")

    # A certificate of somebody else's, which libpq would show whoever asks, is in nobody's way.
    assert shown(house, forge(new_authority("elsewhere"), uuid4(), uuid4()), password=token) == "42\n"


# --- forgers


def test_a_certificate_that_the_stolen_key_signed_opens_nothing(house: Gateway, dev1: Person) -> None:
    login, mark = UUID(dev1.who.login), Journal(house.data).mark()
    for pair in (
        forge(authority_of(house), login, uuid4()),
        forge(authority_of(house), login, UUID(dev1.id)),
        forge(authority_of(house), login, uuid4(), name="dora"),
    ):
        assert REFUSED in shown(house, pair)
    refused = Journal(house.data).wait_for(mark, "AccessDecided")
    assert (refused["cause"], refused["proof"], refused["who"]) == ("certificate unknown", None, None)


def test_a_certificate_of_another_authority_or_for_servers_is_refused_with_a_reason(
    house: Gateway, dev1: Person
) -> None:
    login, mark = UUID(dev1.who.login), Journal(house.data).mark()
    for ends in (timedelta(hours=1), timedelta(hours=-1)):
        assert "alert unknown ca" in shown(house, forge(new_authority("vestibule"), login, uuid4(), ends=ends))
        for_servers = forge(authority_of(house), login, UUID(dev1.id), uses=[SERVER_AUTH], ends=ends)
        assert "alert unsupported certificate" in shown(house, for_servers)
    # Repetitions share a record: only the first is looked for.
    refused = Journal(house.data).wait_for(mark, "AccessDecided")
    assert str(refused["cause"]).startswith("certificate not accepted: ")


def test_behind_a_certificate_that_is_refused_no_password_counts(house: Gateway, dev1: Person) -> None:
    pair = forge(authority_of(house), UUID(dev1.who.login), uuid4())
    assert REFUSED in shown(house, pair, password=dev1.who.token)


def test_nobody_comes_in_by_their_certificate_under_another_name(house: Gateway, dev1: Person) -> None:
    conninfo = house.conninfo("dora", "", **dev1.files)
    with pytest.raises(psycopg.OperationalError, match="not the one the certificate proves"):
        psycopg.connect(conninfo)


def test_a_certificate_without_its_key_opens_nothing(house: Gateway, dev1: Person) -> None:
    # The certificate is no secret: it is in no way enough.
    stolen = house.sandbox.write(house.sandbox.folder("stolen") / "client.crt", dev1.pem)
    other = forge(authority_of(house), uuid4(), uuid4()).write(house.sandbox.folder("stolen"), "other")[1]
    house.sandbox.own(other, 0o600)
    with pytest.raises(psycopg.OperationalError, match="key values mismatch"):
        psycopg.connect(house.conninfo("dev1", "", sslcert=str(stolen), sslkey=str(other)))
    with pytest.raises(psycopg.OperationalError, match="token not accepted"):
        psycopg.connect(house.conninfo("dev1", dev1.pem.replace("\n", ""), sslcertmode="disable"))


def test_who_guesses_certificates_is_held_up(house: Gateway, dev1: Person) -> None:
    forged = forge(authority_of(house), uuid4(), uuid4())
    words = ""
    for _ in range(30):
        words = shown(house, forged, person="guesser")
        if "too many" in words:
            break
    assert "vestibule: too many sessions or wrong tokens; wait a minute" in words


# --- what stays as it was


def test_a_certificate_comes_in_through_a_balancer_that_names_its_client(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    house = gateways.make(
        {TARGET: postgres15}, settings=lambda settings: settings.update(trusted_proxies=["127.0.0.1"])
    )
    person = Person(sign_in(house, "dev1"), house.sandbox.folder("certified"))
    with (
        balancing([house.port], lambda client: header("198.51.100.7", client[1])) as port,
        psycopg.connect(person.conninfo(port=port, application_name=name)) as session,
    ):
        assert session.execute("SELECT 41 + 1").fetchone() == (42,)
    opened = Journal(house.data).closed_session(name).one("SessionOpened")
    assert (opened["client"]["ip"], opened["proof"]["method"]) == ("198.51.100.7", "certificate")


def test_sessions_of_certificates_count_among_those_of_their_person(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    house = gateways.make(
        {TARGET: postgres15}, settings=lambda settings: settings.update(limits={"sessions_per_person": 2})
    )
    person = Person(sign_in(house, "dev1"), house.sandbox.folder("certified"))
    with (
        psycopg.connect(person.conninfo()),
        psycopg.connect(house.conninfo("dev1", person.who.token)),
        pytest.raises(psycopg.OperationalError, match="as many sessions as one person may have"),
    ):
        psycopg.connect(person.conninfo())


def test_tokens_work_beside_certificates(house: Gateway, dev1: Person) -> None:
    assert house.psql("dev1", dev1.who.token).run("SELECT 41 + 1").output == "42\n"


def test_a_cancel_reaches_the_session_of_a_certificate(house: Gateway, dev1: Person) -> None:
    with psycopg.connect(dev1.conninfo(), autocommit=True) as session:
        session.execute("SELECT 1")
        session.cancel_safe()
        assert session.execute("SELECT 41 + 1").fetchone() == (42,)


def test_the_authoritys_key_is_its_owners_and_in_no_log_and_no_record(house: Gateway) -> None:
    path = house.data / "keys" / "user-ca.pem"
    assert path.stat().st_mode & 0o077 == 0
    secret = path.read_text().split("-----")[2].strip()
    assert secret
    program = house.program
    assert program is not None
    assert secret not in program.output()
    assert secret not in str([record.body for record in Journal(house.data).records()])
