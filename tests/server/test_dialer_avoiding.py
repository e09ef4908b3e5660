"""The dialer remembers which hosts have failed."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.test_dialer import answering, pinned, reach, secure, serving
from tests.support.little_authority import LittleAuthority
from tests.support.scripted import FakeSecrets, target
from vestibule.model.errors import TargetUnavailable
from vestibule.protocols.postgres import messages as pg
from vestibule.protocols.postgres.codec import encode
from vestibule.server.dialer import Dialer

pytestmark = pytest.mark.asyncio


async def test_a_host_that_has_failed_is_tried_behind_the_others_for_a_while(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    async with serving(answering(b"N")) as lying, serving(secure(leaf)) as good:
        to = target(lying.address, good.address, tls=pinned(little_authority))
        dialer = Dialer(reach, FakeSecrets(), avoid_seconds=3600)
        for _ in range(3):
            link = await dialer.dial(to)
            assert link.peer.port == good.address[1]
            link.transport.abort()
        assert (lying.connections, good.connections) == (1, 3)


async def test_a_host_that_has_failed_is_tried_in_its_turn_again_later(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    async with serving(secure(leaf)) as back, serving(secure(leaf)) as other:
        to = target(back.address, other.address, tls=pinned(little_authority))
        dialer = Dialer(reach, FakeSecrets(), avoid_seconds=0.3)
        dialer.avoid(to.hosts[0])
        first = await dialer.dial(to)
        assert first.peer.port == other.address[1]
        await asyncio.sleep(0.3)
        second = await dialer.dial(to)
        assert second.peer.port == back.address[1]
        for link in (first, second):
            link.transport.abort()


async def test_hosts_that_have_all_failed_are_all_tried(little_authority: LittleAuthority) -> None:
    leaf = little_authority.issue()
    async with serving(secure(leaf)) as only:
        to = target(only.address, tls=pinned(little_authority))
        dialer = Dialer(reach, FakeSecrets(), avoid_seconds=3600)
        dialer.avoid(to.hosts[0])
        link = await dialer.dial(to)
        assert link.route.address == to.hosts[0]
        link.transport.abort()


async def test_a_host_that_cannot_serve_now_is_passed_by_and_the_first_words_reach_the_next(
    little_authority: LittleAuthority,
) -> None:
    leaf = little_authority.issue()
    not_now = encode(pg.ErrorResponse((("C", "57P03"), ("M", "starting up"))))
    async with serving(secure(leaf, say=not_now)) as starting, serving(secure(leaf)) as good:
        to = target(starting.address, good.address, tls=pinned(little_authority))
        dialer = Dialer(reach, FakeSecrets(), avoid_seconds=3600)
        for _ in range(2):
            link = await dialer.dial(to, b"hello")
            assert link.peer.port == good.address[1]
            assert link.ahead + await link.reader.exactly(5) == b"hello"
            link.transport.abort()
        assert (starting.connections, good.connections) == (1, 2)
    async with serving(secure(leaf, say=not_now)) as starting:
        with pytest.raises(TargetUnavailable, match="refused the log-in: 57P03 starting up"):
            await Dialer(reach, FakeSecrets()).dial(target(starting.address, tls=pinned(little_authority)), b"hello")
