"""The OpenAPI document and the page describe what the service really does."""

import re
from typing import Any

import pytest

from serving.docs_page import docs_page
from serving.openapi import example_exchange, openapi_document
from serving.scored import ScoredRow
from serving.scorer import Scorer
from serving.served_model import ServedModel
from serving.served_models import ServedModels


@pytest.fixture(scope="module")
def document(scorer: Scorer) -> dict[str, Any]:
    return openapi_document(ServedModels([ServedModel(scorer)]))


def test_every_route_of_a_model_is_listed(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {
        "/v1/score", "/v1/score/batch", "/v1/models/shop/score", "/v1/models/shop/score/batch",
        "/v1/labels", "/v1/models/shop/labels",
        "/v1/models/shop", "/v1/model", "/v1/models", "/v1/decisions/{decision_id}",
    }  # fmt: skip


def test_fields_come_from_the_contract(document: dict[str, Any]) -> None:
    row = document["components"]["schemas"]["shop.Row"]

    assert set(row["required"]) == {
        "ORDER_ID", "PLACED_AT", "CUSTOMER", "AMOUNT", "AGE_DAYS", "COUNTRY",
    }  # fmt: skip
    assert row["properties"]["DEVICE"]["type"] == ["integer", "null"]
    assert row["properties"]["AMOUNT"]["type"] == ["number", "null"]
    assert row["properties"]["PLACED_AT"]["type"] == ["string"]
    assert row["additionalProperties"] is False
    assert "IS_NIGHT" not in row["properties"]


def test_the_examples_are_real(document: dict[str, Any], scorer: Scorer) -> None:
    operation = document["paths"]["/v1/score"]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    response = operation["responses"]["200"]["content"]["application/json"]["example"]

    result = scorer.score_rows([request])[0]

    assert request in scorer.bundle.golden.rows
    assert isinstance(result, ScoredRow)
    assert (response.id, response.risk_score) == (result.id, result.risk_score)
    assert response.decision == "decline", "the riskiest golden row shows the most"


def test_every_reference_and_operation_id_resolves(document: dict[str, Any]) -> None:
    text = repr(document)
    references = set(re.findall(r"#/components/schemas/([\w.]+)", text))
    ids = [operation["operationId"] for methods in document["paths"].values()
           for operation in methods.values() if "operationId" in operation]  # fmt: skip

    assert references <= set(document["components"]["schemas"])
    assert len(ids) == len(set(ids)) == 6


def test_the_page_needs_nothing_from_elsewhere(document: dict[str, Any], scorer: Scorer) -> None:
    page = docs_page(ServedModels([ServedModel(scorer)]), document)

    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!/|data:)', page)
    assert "POST /v1/score/batch" in page
    assert str(example_exchange(scorer)[0]["AMOUNT"]) in page


def test_a_key_is_asked_for_and_a_request_may_be_named(document: dict[str, Any]) -> None:
    (scheme,) = document["components"]["securitySchemes"].values()
    (parameter,) = document["paths"]["/v1/score"]["post"]["parameters"]

    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"] == [{"api_key": []}, {}]
    assert (parameter["in"], parameter["name"]) == ("header", "Idempotency-Key")


def test_commands_to_copy_carry_the_key(document: dict[str, Any], scorer: Scorer) -> None:
    page = docs_page(ServedModels([ServedModel(scorer)]), document)

    assert page.count("curl") == page.count("Authorization: Bearer $KEY")
