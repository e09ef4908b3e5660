"""The gateway's own conversation with a real target."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.support.postgres import DATABASE, GATEWAY, PostgresServer
from vestibule.app.data import reach
from vestibule.app.doctor.asking import QuestionRefused, open_target
from vestibule.model.errors import TargetUnavailable
from vestibule.model.names import TargetName
from vestibule.model.target import Address, Credential, Target, TargetTls
from vestibule.server.dialer import Dialer

pytestmark = pytest.mark.asyncio

SESSION = UUID("12345678-1234-1234-1234-123456789abc")


class Secrets:
    def __init__(self, password: str) -> None:
        self.password = password

    async def secret(self, _: str) -> bytes:
        return self.password.encode()


def known(server: PostgresServer) -> Target:
    host, _, port = server.address.rpartition(":")
    return Target(
        name=TargetName("core"),
        protocol="postgres",
        hosts=(Address(host, int(port)),),
        databases=(DATABASE,),
        search_path=("public",),
        tls=TargetTls(ca=str(server.ca)),
        credential=Credential(GATEWAY, "env:X"),
    )


async def test_it_is_asked_as_the_gateway_asks_and_large_answers_arrive_whole(postgres15: PostgresServer) -> None:
    dialer = Dialer(reach, Secrets(postgres15.passwords[GATEWAY]))
    asking = await open_target(known(postgres15), dialer, DATABASE, SESSION)
    [(name, nothing)] = await asking.ask("SELECT current_setting('application_name'), NULL::text")
    rows = await asking.ask("SELECT n::text, repeat('x', 20000) FROM generate_series(1, 100) AS n")
    asking.close()
    assert name == "vestibule:12345678"
    assert nothing == ""
    assert [row[0] for row in rows] == [str(n) for n in range(1, 101)]
    assert {len(row[1]) for row in rows} == {20_000}


async def test_a_question_that_is_refused_gives_the_code_and_no_words_and_the_next_is_answered(
    postgres15: PostgresServer,
) -> None:
    dialer = Dialer(reach, Secrets(postgres15.passwords[GATEWAY]))
    asking = await open_target(known(postgres15), dialer, DATABASE, SESSION)
    with pytest.raises(QuestionRefused) as caught:
        await asking.ask("SELECT 'hunter2'::int")
    assert caught.value.code == "22P02"
    assert "hunter2" not in str(caught.value)
    assert await asking.ask("SELECT '1'") == [("1",)]
    asking.close()


async def test_a_wrong_password_is_the_target_s_refusal(postgres15: PostgresServer) -> None:
    with pytest.raises(TargetUnavailable, match="28P01") as caught:
        await open_target(known(postgres15), Dialer(reach, Secrets("hunter2")), DATABASE, SESSION)
    assert "hunter2" not in str(caught.value)
