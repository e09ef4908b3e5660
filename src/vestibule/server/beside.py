"""What a conversation asks for that takes time: who somebody is, what a large text does, work for a thread.

Whatever fails here is a refusal, or no result; the reason is in the operator's log, without the words of the error.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

import structlog

from vestibule.metrics import Histogram
from vestibule.model.effect import Analyse, Compute, Prove
from vestibule.model.event import Admission
from vestibule.model.identity import Refusal
from vestibule.model.statement import Parsed, Unknown, Unsupported
from vestibule.protocols.base import Conversation
from vestibule.server.services import Analyst, Prover

log = structlog.get_logger(__name__)

#: Of a thread where texts are parsed that may be as hostile as a client's.
_STACK: Final = 16 << 20


async def proven(prover: Prover, proof: Prove, conversation: Conversation) -> Admission | Refusal:
    """Say who somebody is; no answer is a refusal."""
    try:
        return await prover.prove(proof, conversation)
    except Exception as error:  # noqa: BLE001 - no answer is a refusal
        log.error("proof_failed", session=str(conversation.session), error=type(error).__name__)
    return Refusal.UNAVAILABLE


async def analysed(analyst: Analyst, asked: Analyse, conversation: Conversation) -> Parsed | Unsupported | Unknown:
    """Read a large text; one that is not understood never travels."""
    try:
        return await analyst.analyse(asked.text, asked.knowledge)
    except Exception as error:  # noqa: BLE001 - a text that is not understood never travels
        log.error("analysis_failed", session=str(conversation.session), error=type(error).__name__)
    return Unsupported("54000", "vestibule: the statement could not be analysed")


async def computed(effect: Compute, conversation: Conversation, spent: Histogram | None = None) -> object:
    """Do work in a thread, which has its turn between others, so that nobody waits for its end; None if it fails."""
    began = time.perf_counter()
    try:
        return await asyncio.get_running_loop().run_in_executor(_computer(), effect.work)
    except Exception as error:  # noqa: BLE001 - what could not be made ends what needs it
        log.error("computation_failed", session=str(conversation.session), error=type(error).__name__)
    finally:
        if spent is not None:
            spent.observe(time.perf_counter() - began)
    return None


@cache
def _computer() -> ThreadPoolExecutor:
    """Give the one thread that computes beside the pumps; texts are parsed in it, so it has the stack for that."""
    before = threading.stack_size(_STACK)
    try:
        made = ThreadPoolExecutor(1, "compute")
        made.submit(int).result()
    finally:
        threading.stack_size(before)
    return made
