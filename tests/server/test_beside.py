"""Work beside the pump: what fails in it is a refusal, or no result."""

from __future__ import annotations

import threading

import pytest

from tests.support.scripted import FakeAnalyst, FakeProver, conversation
from vestibule.analysis.sql.analyse import analyse
from vestibule.analysis.sql.catalog import Catalog
from vestibule.metrics import Histogram
from vestibule.model.effect import Analyse, Compute, Prove
from vestibule.model.identity import Refusal
from vestibule.model.statement import Unsupported
from vestibule.server import beside

pytestmark = pytest.mark.asyncio


class Broken:
    async def prove(self, *_: object) -> Refusal:
        raise ConnectionError("a secret of somebody's")


async def test_whoever_cannot_be_asked_about_is_not_let_in(capsys: pytest.CaptureFixture[str]) -> None:
    proof = Prove("token", b"vst_x", "dev1")
    assert await beside.proven(FakeProver(), proof, conversation()) == FakeProver.answer
    assert await beside.proven(Broken(), proof, conversation()) is Refusal.UNAVAILABLE
    assert "a secret" not in capsys.readouterr().out


async def test_a_text_that_cannot_be_read_never_travels() -> None:
    analyst = FakeAnalyst()
    analyst.error = MemoryError()
    answer = await beside.analysed(analyst, Analyse(b"SELECT 1"), conversation())
    assert isinstance(answer, Unsupported)
    assert answer.code == "54000"


async def test_work_is_done_in_a_thread_of_its_own_and_has_no_result_when_it_fails() -> None:
    def fail() -> object:
        raise ValueError("no")

    assert await beside.computed(Compute(threading.get_ident), conversation()) != threading.get_ident()
    assert await beside.computed(Compute(fail), conversation()) is None
    spent = Histogram()
    await beside.computed(Compute(lambda: None), conversation(), spent)
    await beside.computed(Compute(fail), conversation(), spent)
    assert sum(spent.counts) == 2, "its time is taken, whatever came of it"


async def test_the_thread_has_a_stack_for_deep_texts() -> None:
    deep = b"SELECT " + b"(" * 3_000 + b"1" + b")" * 3_000
    assert await beside.computed(Compute(lambda: analyse(deep, Catalog())), conversation()) is not None
