"""A certificate of `vestibule certificate` in real clients: psql, psql with libpq 18, psycopg, the JDBC driver."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest

from tests.support import jdbc
from tests.support.evidence import Journal
from tests.support.gateway import Gateway
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.timeout(240)

FILES = ("client.crt", "client.key", "client.p12")


@pytest.fixture(scope="module")
def certified(clients: Gateway) -> tuple[Path, str]:
    """dev1 logs in and runs `vestibule certificate`: the folder, and the password of the PKCS #12 file."""
    clients.login("dev1")
    folder = clients.home("dev1") / "certificate"
    done = clients.cli("dev1", "certificate", folder)
    assert done.status == 0, done.errors
    return folder, done.output.strip()


def libpq(folder: Path) -> dict[str, str]:
    return {"sslcert": str(folder / "client.crt"), "sslkey": str(folder / "client.key")}


def test_the_files_are_their_owners_alone(certified: tuple[Path, str]) -> None:
    folder, _ = certified
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in FILES} == {0o600}


@pytest.mark.parametrize("modern", [False, True], ids=["libpq 15", "libpq 18"])
def test_psql_comes_in_without_a_password(
    clients: Gateway, certified: tuple[Path, str], target: str, name: str, modern: bool
) -> None:
    psql = clients.psql("dev1", "", target, modern=modern, appname=name, **libpq(certified[0]))
    # `-w`: it would fail rather than ask.
    done = psql.run("SELECT 6 * 7", options=["-w"])

    assert (done.output, done.errors) == ("42\n", "")
    session = Journal(clients.data).closed_session(name)
    for kind in ("AccessDecided", "SessionOpened"):
        assert session.one(kind)["proof"]["method"] == "certificate"
        assert session.one(kind)["who"]["name"] == "dev1"
    assert session.one("SessionOpened")["tls"]["client"]["certificate"]


def test_libpq_18_comes_in_where_it_may_only_come_in_by_certificate(
    clients: Gateway, certified: tuple[Path, str], target: str
) -> None:
    with psycopg.connect(
        clients.conninfo(
            "dev1",
            "",
            target,
            sslcertmode="require",
            require_auth="none",
            sslnegotiation="direct",
            **libpq(certified[0]),
        )
    ) as session:
        assert session.execute("SELECT 42").fetchone() == (42,)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_both_versions_of_tls_carry_it(
    clients: Gateway, certified: tuple[Path, str], target: str, version: str
) -> None:
    versions = {"ssl_min_protocol_version": version, "ssl_max_protocol_version": version}
    with psycopg.connect(clients.conninfo("dev1", "", target, **versions, **libpq(certified[0]))) as session:
        assert session.pgconn.ssl_in_use
        assert session.execute("SELECT 42").fetchone() == (42,)


def test_the_jdbc_driver_comes_in_by_the_pkcs12_file_without_a_password(
    clients: Gateway, certified: tuple[Path, str], target: str
) -> None:
    folder, password = certified
    journal = Journal(clients.data)
    before = journal.mark()
    address, properties = clients.jdbc("dev1", "", target, sslkey=str(folder / "client.p12"), sslpassword=password)
    del properties["password"]
    answer = jdbc.ask(clients.sandbox, jdbc.Job(address, properties, ["SELECT 6 * 7"]), timeout=180)

    assert answer.rows() == [["42"]]
    assert journal.wait_for(before, "SessionOpened", target=target)["proof"]["method"] == "certificate"


def test_java_is_told_why_a_certificate_is_refused(clients: Gateway, sandbox: Sandbox, target: str) -> None:
    folder = clients.home("dev1") / "short"
    secret = sandbox.write(clients.home("dev1") / "pkcs12.password", "correct horse\n", 0o600)
    done = clients.cli("dev1", "certificate", folder, "--life", "1s", "--password-from", f"file:{secret}")
    assert (done.status, done.output) == (0, ""), done.errors
    address, properties = clients.jdbc(
        "dev1", "", target, sslkey=str(folder / "client.p12"), sslpassword="correct horse"
    )
    del properties["password"]

    # The second is over before Java has started.
    [result] = jdbc.ask(sandbox, jdbc.Job(address, properties, ["SELECT 1"]), timeout=180).results
    assert result["state"] == "28000"
    assert 'certificate expired; run "vestibule login", then "vestibule certificate"' in result["message"]
