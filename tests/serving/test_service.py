"""The real BentoML server, over a real socket."""

import json
import socket
from urllib.parse import urlsplit

import httpx


def test_it_is_alive_ready_and_measured(client: httpx.Client, shop_row) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    # Nothing is counted before the first one.
    client.post("/v1/score", json=shop_row(ORDER_ID=2000))
    assert "whitecrow_requests_total" in client.get("/metrics").text


def test_it_scores_a_row_and_a_batch(client: httpx.Client, shop_row) -> None:
    answer = client.post("/v1/score", json=shop_row(ORDER_ID=2001, AMOUNT=300.0))
    batch = client.post("/v1/score/batch", json={"rows": [shop_row(ORDER_ID=2002), {}]})

    assert answer.status_code == 200
    assert answer.json()["decision"] == "review"
    assert answer.json()["model"] == {"name": "shop", "version": "1", "policy_version": "1"}
    assert batch.json()["results"][0]["decision"] == "approve"
    assert batch.json()["results"][1]["error"]["code"] == "missing_field"


def test_labels_are_kept_without_features_over_time(client: httpx.Client, shop_row) -> None:
    client.post("/v1/score", json=shop_row(ORDER_ID=2007, AMOUNT=900.0))
    report = {"id": 2007, "label": 1, "reported_at": "2026-03-09T08:00:00Z"}
    send = lambda: client.post("/v1/labels", json={"labels": [report]}).json()  # noqa: E731

    assert send() == {"accepted": 1, "duplicates": 0, "unknown": 0, "contradictory": 0}
    assert send() == {"accepted": 0, "duplicates": 1, "unknown": 0, "contradictory": 0}


def test_a_label_that_says_no_moment_is_taken_once(client: httpx.Client) -> None:
    send = lambda **more: client.post(  # noqa: E731
        "/v1/labels", json={"labels": [{"id": 2011, "label": 1} | more]}
    )

    assert send().json()["accepted"] == 1
    assert send().json()["duplicates"] == 1
    assert send(label=0).json()["accepted"] == 1
    refused = send(reported_at="2999-01-01T00:00:00Z")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "clock_skew")


def test_it_serves_several_models(client: httpx.Client, shop_row) -> None:
    row = shop_row(ORDER_ID=2003)
    scores = [client.post(f"/v1/models/{name}/score", json=row).json()["risk_score"]
              for name in ("shop", "outlet")]  # fmt: skip

    assert scores[0] < scores[1]


def test_its_refusals_have_one_shape_on_every_path(client: httpx.Client) -> None:
    for method, path, status in [
        ("GET", "/nothing", 404),
        ("GET", "/docs.json", 404),
        ("GET", "/v1/score", 405),
        ("POST", "/readyz", 405),
        ("POST", "/metrics", 405),
    ]:
        response = client.request(method, path)

        assert response.status_code == status, path
        assert set(response.json()["error"]) == {"code", "message", "field", "retry"}


def test_a_huge_body_is_refused_and_the_server_goes_on(client: httpx.Client, shop_row) -> None:
    for content in (b" " * (8 << 20), iter([b" " * (1 << 20)] * 8)):
        response = client.post(
            "/v1/score", content=content, headers={"Content-Type": "application/json"}
        )

        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"
    assert client.post("/v1/score", json=shop_row(ORDER_ID=2004)).status_code == 200


def test_a_thousand_explained_rows_are_answered_in_time(client: httpx.Client, shop_row) -> None:
    rows = [shop_row(ORDER_ID=number, AMOUNT=400.0) for number in range(3000, 4000)]

    results = client.post("/v1/score/batch", json={"rows": rows}).json()["results"]

    assert [result["id"] for result in results] == [str(number) for number in range(3000, 4000)]
    assert all(result["reasons"] for result in results)


def test_a_client_that_goes_away_disturbs_nobody(
    client: httpx.Client, service_url: str, shop_row
) -> None:
    address = urlsplit(service_url)
    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(head)

    assert client.post("/v1/score", json=shop_row(ORDER_ID=2005)).status_code == 200


def test_its_pages_are_served(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    page = client.get("/docs")

    assert document["openapi"].startswith("3.1")
    assert "/v1/models/outlet/score" in document["paths"]
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/").text == page.text


def test_the_documented_example_is_the_answer(client: httpx.Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/v1/score"]["post"]
    request = operation["requestBody"]["content"]["application/json"]["example"]
    expected = operation["responses"]["200"]["content"]["application/json"]["example"]

    answer = client.post("/v1/score", content=json.dumps(request)).json()

    assert answer | {"decision_id": ""} == expected | {"decision_id": ""}
