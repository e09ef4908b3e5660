"""Certificates are renewed in place while people work."""

from __future__ import annotations

import socket
import ssl

import psycopg
import pytest

from tests.support.certificates import Certificate
from tests.support.gateway import TARGET, Gateway, GatewayFactory
from tests.support.postgres import PostgresServer
from tests.support.signing_in import sign_in
from tests.support.waiting import wait_for


def shown(gateway: Gateway, port: int, *alpn: str) -> bytes:
    """The certificate that a listener shows now, verified as a client would."""
    context = ssl.create_default_context(cafile=str(gateway.ca))
    context.set_alpn_protocols(list(alpn))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as secure,
    ):
        return secure.getpeercert(binary_form=True) or b""


def leaf_of(certificate: Certificate) -> bytes:
    """The first certificate of a chain."""
    text = certificate.certificate.read_text()
    return ssl.PEM_cert_to_DER_cert(text[: text.index(ssl.PEM_FOOTER)] + ssl.PEM_FOOTER)


def both(gateway: Gateway) -> tuple[bytes, bytes]:
    return shown(gateway, gateway.port, "postgresql"), shown(gateway, gateway.control_port, "http/1.1")


def put(gateway: Gateway, certificate: Certificate, key: Certificate) -> None:
    """Write over both files in place, as a careless script would."""
    gateway.sandbox.write(gateway.certificate.certificate, certificate.certificate.read_text(), 0o644)
    gateway.sandbox.write(gateway.certificate.key, key.key.read_text(), 0o600)


@pytest.mark.timeout(180)
def test_both_doors_show_a_renewed_certificate_while_sessions_go_on_and_a_broken_one_changes_nothing(
    gateways: GatewayFactory, postgres15: PostgresServer
) -> None:
    house = gateways.make({TARGET: postgres15}, settings=lambda settings: settings.update(workers=2))
    dev1 = sign_in(house, "dev1")
    first = both(house)
    fresh, other = house.authority.issue("fresh"), house.authority.issue("other")
    with psycopg.connect(house.conninfo("dev1", dev1.token), autocommit=True) as session:
        put(house, fresh, fresh)
        second = (leaf_of(fresh),) * 2
        # Each data process looks for itself.
        wait_for(lambda: all(both(house) == second for _ in range(8)), "the renewed certificate", 60)
        assert second != first
        assert session.execute("SELECT 41 + 1").fetchone() == (42,)

        put(house, other, fresh)
        wait_for(lambda: house.program.output().count("certificate_not_reloaded") >= 3, "three complaints", 60)
        assert both(house) == second
        assert house.psql("dev1", dev1.token).run("SELECT 41 + 1").output == "42\n"
        assert session.execute("SELECT 41 + 1").fetchone() == (42,)

        put(house, other, other)
        wait_for(lambda: both(house) != second, "the pair that fits", 60)
    assert "PRIVATE" not in house.program.output()
