"""The API is given whatever its own description allows, and what it does not, at a running gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.gateway import Gateway
from tests.support.signing_in import sign_in

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
#: What never ends, and what would end the log-in that all the other requests are made with.
APART = {("GET", "/api/v1/approvals/events"), ("POST", "/api/v1/logout")}
#: An administrator, who may do the most, and an engineer.
PEOPLE = ("pat", "dev1")
EXAMPLES = 15


def description(gateway: Gateway) -> dict[str, Any]:
    status, text = gateway.get("/api/v1/openapi.json")
    assert status == 200
    return json.loads(text)


@pytest.fixture(params=PEOPLE)
def session(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[requests.Session]:
    # A log-in of its own: the tokens that are made end with it.
    person = sign_in(gateway, request.param)
    with requests.Session() as made:
        made.trust_env = False
        made.headers["Authorization"] = f"Bearer {person.token}"
        yield made
    person.log_out()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_the_description_names(
    gateway: Gateway, session: requests.Session, mode: GenerationMode
) -> None:
    asked = set()
    for found in openapi.from_dict(description(gateway)).get_all_operations():
        operation = found.ok()
        place = (operation.method.upper(), operation.path)
        if place in APART:
            continue

        @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case) -> None:
            response = case.call(base_url=gateway.public_url, session=session, verify=str(gateway.ca))
            case.validate_response(response, checks=CHECKS)

        ask()
        asked.add(place)
    assert len(asked) > 10
