"""The account with which the gateway itself logs in: nobody locks it out, not even who may administer."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.evidence import Journal
from tests.support.gateway import TARGET, GatewayFactory
from tests.support.postgres import GATEWAY, PostgresServer
from tests.support.signing_in import sign_in


def test_psqls_password_command_keeps_nobody_out_of_the_target(
    gateways: GatewayFactory, postgres15: PostgresServer, name: str
) -> None:
    rule = {"name": "administer", "groups": ["engineering"], "targets": [TARGET], "allow": ["read", "admin"]}
    house = gateways.make({TARGET: postgres15}, policy=lambda policy: policy["access"].append(rule))
    dev = sign_in(house, "dev1")
    with house.psql("dev1", dev.token, appname=name).terminal() as terminal:
        terminal.expect("=>")
        terminal.type("\\password")
        terminal.expect(f'Enter new password for user "{GATEWAY}"')
        terminal.type("not-the-gateways")
        terminal.expect("Enter it again")
        terminal.type("not-the-gateways")
        terminal.expect(f"{GATEWAY} is the account with which the gateway itself logs in")
        terminal.expect("=>")
        terminal.type("\\q")
    assert Journal(house.data).closed_session(name).decisions[-1][0] == "deny"

    with psycopg.connect(house.conninfo("dev1", dev.token), autocommit=True) as connection:
        for text in (f"ALTER ROLE {GATEWAY} NOLOGIN", f"ALTER ROLE {GATEWAY} RENAME TO x", "DROP ROLE SESSION_USER"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="gateway itself logs in"):
                connection.execute(text)  # type: ignore[arg-type]  # a text of this test's own
        assert connection.execute("SELECT current_user").fetchone() == (GATEWAY,)
