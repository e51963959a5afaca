"""A real service of two workers anchors what it decides, signed, and nothing twice."""

import time
from pathlib import Path

import httpx
import pytest

from flows.audit.verification import verify
from infra.ledger import Ledger, LedgerEntry
from infra.settings import Settings
from infra.signing import SigningKey
from serving.decisions.anchoring import ANCHORED
from serving.launch import free_port, running_service, wait_until_ready
from tests.serving.conftest import ROW, make_home


@pytest.mark.slow
def test_a_service_anchors_while_it_decides_and_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, port = tmp_path / "home", free_port()
    make_home(home)
    key = SigningKey.generate()
    key.write_private(home / "keys")
    monkeypatch.setenv("WHITECROW_ANCHOR_SECONDS", "0.3")
    ledger, sent = Ledger(home / "whitecrow.db"), 0
    with (
        (tmp_path / "service.log").open("w") as log,
        running_service(["shop"], port=port, home=home, workers=2, log=log.fileno()),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
    ):
        wait_until_ready(f"http://127.0.0.1:{port}", timeout=60)
        time.sleep(1.0)
        assert ledger.entries(event=ANCHORED) == []
        deadline = time.monotonic() + 30
        while len(ledger.entries(event=ANCHORED)) < 3 and time.monotonic() < deadline:
            sent += 1
            client.post("/v1/score", json=ROW | {"ORDER_ID": str(sent)}).raise_for_status()
            time.sleep(0.02)
        time.sleep(1.0)
        quiet = len(ledger.entries(event=ANCHORED))
        time.sleep(1.0)
        assert len(ledger.entries(event=ANCHORED)) == quiet
        sent += 1
        client.post("/v1/score", json=ROW | {"ORDER_ID": str(sent)}).raise_for_status()

    anchors = ledger.entries(event=ANCHORED)
    stated = [_heads(entry) for entry in anchors]
    assert all(entry.details["signature"]["key_id"] == key.key_id for entry in anchors)
    # Each says something that none before it said.
    assert all(now - before for before, now in zip([set(), *stated], stated, strict=False))
    newest = {writer: n for each in stated for writer, n in sorted(each)}
    assert sum(newest.values()) == sent
    found = verify(Settings(home=home))
    assert {kind for kind in found.first if kind != "live"} == set()


def _heads(entry: LedgerEntry) -> set[tuple[str, int]]:
    writers = entry.details["statement"]["writers"]
    return {(writer, n_decisions) for writer, (_, n_decisions, _) in writers.items()}
