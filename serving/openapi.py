"""The OpenAPI document of a service, generated from the contracts of the models it serves."""

from collections.abc import Sequence
from typing import Any

from balancing.calibration.thresholds import DECISION_NAMES
from serving.answers import answer
from serving.decisions.recorder import MOST_KEY_CHARACTERS
from serving.exploration import FLAG as EXPLORED
from serving.refusals import RequestRefused
from serving.request_fields import RequestField
from serving.request_json import MAX_BATCH_ROWS
from serving.scorer import Scorer
from serving.served_models import ServedModels

ERRORS = {
    "400": "Not JSON, a field named twice, or a time further ahead than clocks may differ",
    "401": "No API key, an unknown one, or one that has expired",
    "403": "The API key has not the scope that this takes",
    "404": "No such path or model",
    "405": "Wrong method",
    "408": "The body came too slowly",
    "409": "The id of another row",
    "413": f"More than 1 MiB, or more than {MAX_BATCH_ROWS} rows",
    "415": "Not application/json",
    "422": "A field is missing, unknown, of the wrong type or out of range",
    "429": "The API key asks for more than its rate, or too much is under way; see Retry-After",
    "500": "The service failed",
    "503": "What the answer needs did not come in time; send the request again",
}
_DECISION_ID = {
    "name": "decision_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the request, where its rows have no id: sent again, it counts once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MOST_KEY_CHARACTERS},
}
_SCHEME = "api_key"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key: whitecrow keys create --scope score --reason TEXT",
}
_OVER_TIME = (
    "What the entities of a row did before counts, and each answered row counts for later ones, "
    "once for an id. The example is answered with the past that it had in training."
)
_ROLE_TEXT = {
    "id": "Identifies the row; comes back in the answer.",
    "event_time": "When it happened.",
    "entity": "Whose history the row belongs to.",
    "number": "A number; null where it is not known.",
    "category": "A category; null where it is not known. Unknown ones are scored and flagged.",
}
_JSON_TYPE = {"integer": "integer", "number": "number", "boolean": "boolean"}


def openapi_document(models: ServedModels) -> dict[str, Any]:
    """Return the document (OpenAPI 3.1) with real requests and answers as examples."""
    paths: dict[str, Any] = {}
    schemas = dict(_SHARED_SCHEMAS)
    for model in models.by_name.values():
        scorer = model.scorer
        schemas[f"{scorer.name}.Row"] = _row_schema(scorer)
        example = example_exchange(scorer)
        prefixes = ["/v1"] if scorer.name == models.default else []
        for prefix in (*prefixes, f"/v1/models/{scorer.name}"):
            paths[f"{prefix}/score"] = {"post": _score_operation(scorer, example, prefix)}
            paths[f"{prefix}/score/batch"] = {"post": _batch_operation(scorer, example, prefix)}
            paths[f"{prefix}/labels"] = {"post": _labels_operation(scorer, example, prefix)}
        paths[f"/v1/models/{scorer.name}"] = {"get": _read_operation(f"Versions of {scorer.name}")}
    if models.default is not None:
        paths["/v1/model"] = {"get": _read_operation("Versions of the default model")}
    paths["/v1/models"] = {"get": _read_operation("Versions of every model")}
    paths["/v1/decisions/{decision_id}"] = {
        "parameters": [_DECISION_ID],
        "get": _read_operation("A stored decision, for keys of the scopes audit and admin", "503"),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "whitecrow scoring service", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {_SCHEME: _BEARER}},
        # A service on loopback without any key answers without one, too.
        "security": [{_SCHEME: []}, {}],
    }


def example_exchange(scorer: Scorer) -> tuple[dict[str, Any], Any]:
    """Return a golden row as a request, the riskiest one, and the answer to it."""
    rows = scorer.bundle.golden.rows
    scored = scorer.score_rows(rows, scorer.bundle.golden.velocity)
    sound = [(row, result) for row, result in zip(rows, scored, strict=True)
             if not isinstance(result, RequestRefused)]  # fmt: skip
    row, result = max(sound, key=lambda pair: pair[1].risk_score)
    return row, answer(result, scorer)


def _row_schema(scorer: Scorer) -> dict[str, Any]:
    fields = scorer.fields
    return {
        "type": "object",
        "properties": {field.name: _property(field, scorer) for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": scorer.bundle.contract.policy.unknown_fields == "ignore",
    }


def _property(field: RequestField, scorer: Scorer) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": _types(field, scorer), "description": _ROLE_TEXT[field.role]}
    if field.role == "category" and field.kind == "text":
        shape["examples"] = list(scorer.bundle.feature_set.vocabularies[field.name].values[:5])
    return shape


def _types(field: RequestField, scorer: Scorer) -> list[str]:
    if field.role == "event_time":
        event_time = scorer.bundle.contract.columns.event_time
        return ["string", "number"] if event_time and event_time.unit else ["string"]
    if field.role in ("id", "entity"):
        types = ["string", "integer"]
    elif field.role == "category":
        types = [_JSON_TYPE.get(field.kind, "string")]
    else:
        types = ["boolean" if field.kind == "boolean" else "number"]
    return [*types, "null"] if field.nullable else types


def _score_operation(scorer: Scorer, example: tuple[Any, Any], prefix: str) -> dict[str, Any]:
    request, response = example
    row = {"$ref": f"#/components/schemas/{scorer.name}.Row"}
    return _operation(
        f"Score one row with {scorer.name}",
        f"{prefix}/score",
        body=_content(row, request),
        answer_content=_content({"$ref": "#/components/schemas/Answer"}, response),
        description=_description(scorer),
        parameters=[_IDEMPOTENCY_KEY],
    )


def _description(scorer: Scorer) -> str | None:
    """Return what a caller should know of a model beside its fields."""
    found = [_OVER_TIME] if scorer.bundle.contract.velocity_features else []
    exploration = scorer.policy.exploration
    if exploration is not None:
        most = exploration.max_amount
        which = "rows to decline" if most is None else f"rows to decline of at most {most:g}"
        found.append(
            f"Of {which}, {exploration.rate:.3g} (a share, drawn at random) are approved all the "
            f"same, to learn what becomes of them: the flag {EXPLORED} tells."
        )
    return " ".join(found) or None


def _batch_operation(scorer: Scorer, example: tuple[Any, Any], prefix: str) -> dict[str, Any]:
    request, response = example
    rows = {
        "type": "array",
        "maxItems": MAX_BATCH_ROWS,
        # A bad row gets its error in its place, so the batch as such promises nothing of its rows.
        "items": {"type": "object", "description": f"See {scorer.name}.Row."},
    }
    either = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Answer", "Error")]}
    return _operation(
        f"Score up to {MAX_BATCH_ROWS} rows with {scorer.name}; an answer a row, in order",
        f"{prefix}/score/batch",
        body=_content(_object(rows=rows), {"rows": [request]}),
        answer_content=_content(
            _object(results={"type": "array", "items": either}), {"results": [response]}
        ),
        parameters=[_IDEMPOTENCY_KEY],
    )


def _labels_operation(scorer: Scorer, example: tuple[Any, Any], prefix: str) -> dict[str, Any]:
    _, response = example
    reports = {
        "type": "array",
        "maxItems": MAX_BATCH_ROWS,
        "items": {"$ref": "#/components/schemas/LabelReport"},
    }
    report = {
        "id": response.id or response.decision_id,
        "label": 1,
        "reported_at": "2026-01-31T09:00:00Z",
        "source": "chargeback",
    }
    return _operation(
        f"Report what became of rows of {scorer.name}: closes alerts, feeds label rates",
        f"{prefix}/labels",
        body=_content(_object(labels=reports), {"labels": [report]}),
        answer_content=_content(
            {"$ref": "#/components/schemas/LabelCounts"},
            {"accepted": 1, "duplicates": 0, "unknown": 0},
        ),
    )


def _read_operation(summary: str, *more_errors: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": {}}}},
            **_errors("401", "403", "404", "429", *more_errors),
        },
    }


def _operation(
    summary: str,
    path: str,
    *,
    body: dict[str, Any],
    answer_content: dict[str, Any],
    description: str | None = None,
    parameters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "summary": summary,
        **({"description": description} if description else {}),
        **({"parameters": list(parameters)} if parameters else {}),
        "operationId": path.strip("/").replace("/", "_"),
        "requestBody": {"required": True, "content": body},
        "responses": {"200": {"description": "OK", "content": answer_content}, **_errors(*ERRORS)},
    }


def _errors(*statuses: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": ERRORS[status], "content": content} for status in statuses}


def _content(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_NUMBER = {"type": "number"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_SHARED_SCHEMAS: dict[str, Any] = {
    "Answer": _object(
        decision_id=_TEXT,
        id=_TEXT_OR_NULL,
        risk_score={"type": "number", "minimum": 0, "maximum": 1},
        decision={"type": "string", "enum": list(DECISION_NAMES)},
        reasons={"type": "array", "items": _object(column=_TEXT, text=_TEXT, effect=_NUMBER)},
        flags=_TEXTS | {"description": f"What was unusual. {EXPLORED}: would have been declined."},
        at_this_score=_object(false_positive_rate=_NUMBER, alerts_per_day=_NUMBER_OR_NULL),
        model=_object(name=_TEXT, version=_TEXT, policy_version=_TEXT),
        degraded={"type": "boolean"},
    ),
    "LabelReport": {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "integer"], "description": "Of the row."},
            "label": {"type": "integer", "enum": [0, 1], "description": "1: the positive class."},
            "reported_at": {**_TEXT_OR_NULL, "description": "When it became known; default: now."},
            "source": {**_TEXT_OR_NULL, "description": "Who says so.", "maxLength": 64},
        },
        "required": ["id", "label"],
        "additionalProperties": False,
    },
    "LabelCounts": _object(
        accepted=_COUNT,
        duplicates=_COUNT,
        unknown=_COUNT,
        contradictory={
            **_COUNT,
            "description": "Of all of these, those that say another label than a report of the "
            "very same moment; the positive one counts.",
        },
    ),
    "Error": _object(
        error=_object(code=_TEXT, message=_TEXT, field=_TEXT_OR_NULL, retry={"type": "boolean"})
    ),
}
