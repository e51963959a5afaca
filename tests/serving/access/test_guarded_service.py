"""A real service with keys: who gets in, what is shown, what never shows in its log."""

import time
from typing import Any

import pytest

from serving.access.keys import Scope

WHO = {"actor": "ada", "reason": "tests"}


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("POST", "/v1/score", {"score", "admin"}),
        ("POST", "/v1/score/batch", {"score", "admin"}),
        ("POST", "/v1/models/shop/score", {"score", "admin"}),
        ("POST", "/v1/labels", {"label", "admin"}),
        ("GET", "/v1/model", {"score", "label", "audit", "admin"}),
        ("GET", "/v1/models", {"score", "label", "audit", "admin"}),
        ("GET", "/v1/models/shop", {"score", "label", "audit", "admin"}),
        ("GET", "/docs", {"score", "label", "admin"}),
        ("GET", "/openapi.json", {"score", "label", "admin"}),
        ("GET", "/", {"score", "label", "admin"}),
        ("GET", "/v1/decisions/01890a5d-ac96-774b-bcce-b302099a8057", {"audit", "admin"}),
    ],
)
def test_each_route_opens_to_its_scopes_only(
    guarded, shop_row, method: str, path: str, scopes: set[str]
) -> None:
    body: Any = {"rows": [shop_row()]} if path.endswith("batch") else shop_row()
    for key in ("score", "label", "audit", "admin", None):
        with guarded.client(key) as client:
            response = client.request(method, path, json=body if method == "POST" else None)
        if key in scopes:
            assert response.status_code not in {401, 403}, (key, response.text)
            continue
        assert response.status_code == (401 if key is None else 403), key
        code = response.json()["error"]["code"]
        assert code == ("missing_key" if key is None else "missing_scope")
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_large_batch_without_a_valid_key_reads_why(guarded, shop_row) -> None:
    rows = {"rows": [shop_row(ORDER_ID=at) for at in range(1000)] * 5}
    with guarded.client() as client:
        for _ in range(5):
            response = client.post("/v1/score/batch", json=rows)
            assert (response.status_code, response.json()["error"]["code"]) == (401, "missing_key")


def test_health_and_metrics_ask_for_no_key(guarded) -> None:
    with guarded.client() as client:
        assert [client.get(path).status_code for path in ("/livez", "/readyz", "/metrics")] == [
            200, 200, 200,
        ]  # fmt: skip


def test_details_of_models_are_for_admins(guarded) -> None:
    with guarded.client("score") as client:
        brief = client.get("/v1/model").json()
    with guarded.client("admin") as client:
        whole = client.get("/v1/model").json()

    assert brief.items() <= whole.items()
    assert set(brief) == {"name", "version", "policy_version", "default", "state", "auth"}
    assert brief["auth"] == "keys"
    assert "model_sha256" in whole


def test_an_auditor_reads_decisions_and_models_and_nothing_else(guarded, shop_row) -> None:
    with guarded.client("score") as client:
        decision_id = client.post("/v1/score", json=shop_row()).json()["decision_id"]
    with guarded.client("admin") as client:
        whole = client.get("/v1/model").json()
    with guarded.client("audit") as client:
        read = client.get(f"/v1/decisions/{decision_id}")
        changed = client.post(f"/v1/decisions/{decision_id}", json={})
        model = client.get("/v1/model").json()
        scored = client.post("/v1/score", json=shop_row())

    assert read.status_code == 200
    assert read.json()["decision_id"] == decision_id
    assert "CUSTOMER" not in read.json()["row"]
    assert model == whole
    assert (changed.status_code, scored.status_code) == (405, 403)
    assert scored.json()["error"]["code"] == "missing_scope"


def test_a_new_key_opens_and_a_revoked_one_closes_a_running_service(guarded, shop_row) -> None:
    key, guarded.keys["late"] = guarded.store.create([Scope.SCORE], **WHO)
    with guarded.client("late") as client:
        assert _until(client, shop_row(), status=200) == 200
        guarded.store.revoke(key.key_id, **WHO)
        assert _until(client, shop_row(), status=401) == 401


def test_too_fast_is_429_with_a_time_to_wait(guarded, shop_row) -> None:
    with guarded.client("slow") as client:
        client.post("/v1/score", json=shop_row())
        response = client.post("/v1/score", json=shop_row())

    assert (response.status_code, response.json()["error"]["code"]) == (429, "rate_limited")
    assert int(response.headers["retry-after"]) > 50


def test_neither_keys_nor_rows_are_ever_in_the_log(guarded, shop_row) -> None:
    secret = "wc_0123456789_" + "s" * 43
    with guarded.client("score") as client:
        row = shop_row(CUSTOMER="4111-1111-1111-1111", COUNTRY="Atlantis")
        client.post("/v1/score", json=row)
        client.post("/v1/score", json=row | {"AMOUNT": "4111-1111"})
        client.post("/v1/score", content=b'{"card": "4111-1111')
        client.get(f"/v1/{secret}?key={secret}")
        for header in (f"Bearer {secret}", f"Basic {secret}", secret, f"Bearer {secret}\xff"):
            headers = {"Authorization": header.encode("latin-1")}
            client.post("/v1/score", json=row, headers=headers)
            client.get("/docs", headers=headers)
    time.sleep(0.2)

    log = guarded.log
    assert "API keys are required" in log
    for text in (*guarded.keys.values(), secret):
        assert text.split("_", 2)[2] not in log
    for word in ("4111-1111", "Atlantis", "uthorization", "Traceback"):
        assert word not in log


def _until(client: Any, row: dict[str, Any], *, status: int) -> int:
    """Send a row until it is answered with a status; return the last one."""
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        seen = client.post("/v1/score", json=row).status_code
        if seen == status:
            return int(seen)
        time.sleep(0.05)
    return int(seen)
