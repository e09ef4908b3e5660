"""The table of what a client may say."""

from __future__ import annotations

from typing import get_args

from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.states import CLIENT, Act, State

IN_SESSION = set(get_args(pg.FrontendMessage)) - {pg.PasswordMessage}


def test_ready_knows_every_message_but_a_password() -> None:
    assert set(CLIENT[State.READY]) == IN_SESSION


def test_after_an_error_only_sync_and_terminate_are_heard() -> None:
    assert {kind for kind, act in CLIENT[State.SKIP].items() if act is Act.HANDLE} == {pg.Sync, pg.Terminate}
    assert set(CLIENT[State.SKIP]) == IN_SESSION


def test_in_a_copy_nothing_but_the_copy_is_heard() -> None:
    heard = {kind for kind, act in CLIENT[State.COPY_IN].items() if act is Act.HANDLE}
    assert heard == {pg.CopyData, pg.CopyDone, pg.CopyFail, pg.Terminate}
    assert set(CLIENT[State.COPY_IN]) == heard | {pg.Sync, pg.Flush}
