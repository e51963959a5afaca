"""Hard rules and test identities in a real service: in the answer, in the log, in ``/v1/model``."""

import time
from pathlib import Path
from typing import Any

import httpx

RULES = """
[[deny]]
name = "stolen"
column = "CUSTOMER"
values = [424242]
reason = "Reported stolen"
expires = 2999-01-31
"""


def test_a_rule_laid_down_meanwhile_decides_and_is_written_down(guarded, shop_row) -> None:
    rules = guarded.home / "rules" / "shop.toml"
    rules.parent.mkdir(exist_ok=True)
    with guarded.client("admin") as client:
        before = client.post("/v1/score", json=shop_row(ORDER_ID=7001, CUSTOMER=424242)).json()
        rules.write_text(RULES)
        _until(client, {"n_rules": 1, "problem": None})
        after = client.post("/v1/score", json=shop_row(ORDER_ID=7002, CUSTOMER=424242)).json()
        written = client.get(f"/v1/decisions/{after['decision_id']}").json()
        _write_broken(rules)
        told = _until(client, {"n_rules": 1})
        still = client.post("/v1/score", json=shop_row(ORDER_ID=7003, CUSTOMER=424242)).json()

    assert (before["decision"], before["flags"]) == ("approve", [])
    assert (after["decision"], after["flags"]) == ("decline", ["hard_rule:stolen"])
    assert after["risk_score"] == before["risk_score"]
    assert (written["decision"], written["flags"]) == ("decline", ["hard_rule:stolen"])
    assert written["risk_score"] == after["risk_score"]
    assert written["key_id"] == guarded.keys["admin"].split("_")[1]
    assert "shop.toml is not TOML" in told["problem"]
    assert still["decision"] == "decline"


def test_decisions_are_for_admins_only(guarded) -> None:
    with guarded.client("score") as client:
        response = client.get("/v1/decisions/01a1fc73-ba5e-7d5d-a103-2efea24e1983")

    assert (response.status_code, response.json()["error"]["code"]) == (403, "missing_scope")


def _write_broken(rules: Path) -> None:
    rules.write_text(RULES + "[[deny")


def _until(client: httpx.Client, wanted: dict[str, Any]) -> dict[str, Any]:
    """What is said of the rules once it is as wanted, and about another reading than before."""
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at:
        said = client.get("/v1/model").json()["hard_rules"] or {}
        is_told = "problem" in wanted or said.get("problem")
        if is_told and wanted.items() <= said.items():
            return dict(said)
        time.sleep(0.1)
    raise AssertionError(f"the rules are not {wanted}, but {said}")
