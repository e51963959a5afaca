"""A real service under requests made from its own OpenAPI document, good ones and bad ones."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from serving.launch import free_port, running_service, wait_until_ready

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    response_schema_conformance,
    content_type_conformance,
]
FEW = settings(max_examples=15, suppress_health_check=list(HealthCheck), derandomize=True)
MANY = settings(max_examples=100, suppress_health_check=list(HealthCheck))


# Of schemathesis's own strategies.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the .random. module:hypothesis.errors.HypothesisDeprecationWarning"
)


@pytest.fixture(scope="module")
def served(new_home, corner_contract, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server for a model without features over time and one with them."""
    home: Path = tmp_path_factory.mktemp("fuzzed")
    new_home(home)
    new_home(home, contract=corner_contract)
    port = free_port()
    with (
        (home / "service.log").open("w") as log,
        running_service(["corner", "shop"], port=port, home=home, log=log.fileno()),
    ):
        wait_until_ready(f"http://127.0.0.1:{port}", timeout=60)
        yield f"http://127.0.0.1:{port}"
        assert "Traceback" not in (home / "service.log").read_text()


def test_a_few_requests_for_each_route(served: str) -> None:
    statuses = _fuzz(served, FEW)

    assert 200 in statuses
    assert {400, 422} & statuses, "bad ones are sent, too"


@pytest.mark.slow
def test_many_requests_for_each_route(served: str) -> None:
    _fuzz(served, MANY)


def test_the_document_names_every_status_of_a_refusal(served: str) -> None:
    paths = httpx.get(f"{served}/openapi.json").json()["paths"]

    assert {"401", "403", "429", "503"} <= set(paths["/v1/score"]["post"]["responses"])
    assert {"401", "429"} <= set(paths["/v1/model"]["get"]["responses"])


def _fuzz(url: str, effort: settings) -> set[int]:
    """Send requests to each route of the document; return the statuses of the answers."""
    statuses: set[int] = set()
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            _fuzz_route(operation.as_strategy(generation_mode=mode), effort, statuses)
    return statuses


def _fuzz_route(
    cases: SearchStrategy[schemathesis.Case], effort: settings, statuses: set[int]
) -> None:
    @effort
    @given(cases)
    def send(case: schemathesis.Case) -> None:
        response = case.call()
        statuses.add(response.status_code)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert set(response.json()["error"]) == {"code", "message", "field", "retry"}

    with contextlib.suppress(Unsatisfiable):  # nothing is wrong about a GET without parameters
        send()
