"""A shop with two versions: one of a release that recorded little, one of this release.

Nothing is trained: what training writes down is written by the functions that do so.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from balancing.evaluation import evaluate
from balancing.group_figures import group_figures
from balancing.part_figures import PartsReport
from flows.promotion import promote
from flows.provenance.recorded import Checked, LabelSnapshot, Part, RunLineage
from flows.run_folder import write_json
from infra.ledger import Ledger
from infra.revision import environment
from infra.settings import Settings
from infra.storage import sha256_file, sha256_json
from serving.bundle import write_bundle
from serving.decisions.opening import open_recording
from serving.model_store import ModelStore
from serving.request_context import RequestContext
from serving.served_models import ModelSource
from tests.serving.conftest import ROW, make_home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SHOP_SHA256 = sha256_json("shop")
CALIBRATED_ON = "5" * 64


@dataclass(frozen=True)
class Shop:
    """A state folder, and the ids of the decisions made in it."""

    settings: Settings
    decision_ids: tuple[str, ...]
    data: Path

    @property
    def home(self) -> Path:
        return self.settings.root

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.home)


def recorded(data: Path) -> RunLineage:
    """What a training would have written down."""
    first, last = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    return RunLineage(
        run="20260401T000000-shop-abc",
        actor="ana",
        reason="fresh rows",
        contract_reference="shop.toml",
        contract_sha256="c" * 64,
        contract_data_sha256="d" * 64,
        as_of=last,
        since=None,
        parts=tuple(
            Part(part=part, rows=100, positives=5, first=first, last=last)
            for part in ("train", "validation", "calibration", "test")
        ),
        gap_rows=3,
        labels=LabelSnapshot(
            as_of=last, column="FRAUD", source=None, delay="7d", known=403, positives=20,
            immature=4, unlabelled=5, sha256="e" * 64,
        ),
        validation=(
            Checked(
                role="data", read=420, passed=412, corrected=2, quarantined=8,
                rules={"range(AMOUNT)": 8}, accepted=(), quarantine_sha256="f" * 64,
            ),
        ),
        validation_sha256="a" * 64,
        served_from=None,
        device="cpu",
        hardware=(),
        lock_sha256="b" * 64,
        environment=environment(),
        search=None,
        notes=(),
    )  # fmt: skip


def evaluation() -> dict[str, Any]:
    """What an evaluation keeps: 600 rows of two groups and two months; one group fares worse."""
    random = np.random.default_rng(0)
    label = (random.random(600) < 0.2).astype(int)
    score = np.clip(random.normal(0.2 + 0.3 * label, 0.1), 0.001, 0.999)
    group = np.where(np.arange(600) % 2 == 0, "north", "south")
    decision = np.where(score > 0.5, 2, np.where(score > 0.3, 1, 0))
    decision = np.where((group == "south") & (np.arange(600) % 3 == 0), 2, decision)
    values = {"label": label, "risk_score": score, "decision": decision}
    month = np.where(np.arange(600) < 300, "2026-01", "2026-02")
    parts = PartsReport(
        groups=(group_figures("REGION", list(map(str, group)), **values, compared=True),),
        segments=(group_figures("WAY", list(map(str, group)), **values, compared=False),),
        periods=group_figures("month", list(map(str, month)), **values, compared=False),
    )
    report = evaluate(label, score, n_replicates=50)
    impact = [
        {"decision": word, "rows": int((decision == at).sum()), "positives": 0, "rows_per_day": 1.0}
        for at, word in enumerate(("approve", "review", "decline"))
    ]
    return {
        "report": report.to_json(),
        "impact": impact,
        "parts": parts.model_dump(mode="json"),
    }


def add_recorded_version(store: ModelStore, folder: Path, data: Path) -> None:
    """Release version 2: the network of version 1, with all that this release records."""
    old = store.bundle("shop", "1")
    folder.mkdir()
    files = [folder / "lineage.json", folder / "evaluation.json"]
    kept = evaluation()
    write_json(files[0], recorded(data).model_dump(mode="json"))
    write_json(files[1], kept)
    source = {
        "role": "data", "path": str(data), "name": data.name, "sha256": sha256_file(data),
        "rows": 420, "columns": 7,
    }  # fmt: skip
    manifest = old.manifest.model_copy(
        update={
            "kept_files": {file.name: sha256_file(file) for file in files},
            "metrics": kept["report"]["metrics"],
            "training": {
                "config": {"strategy": {"kind": "erm"}, "seed": 7},
                "how": {"by": "validation part", "epochs": 3.0},
                "seconds": 1.0,
            },
            "data": (source,),
        }
    )
    store.keep("shop", "2", files)
    with store.new_bundle("shop", "2") as staging:
        write_bundle(staging, model=old.model, manifest=manifest, golden=old.golden)


def registered(ledger: Ledger, store: ModelStore, version: str, policy_version: str) -> None:
    """Tell the ledger of a version, as a release does."""
    bundle = store.bundle("shop", version)
    ledger.append(
        "registered", "shop", actor="ana", reason=f"made {version}",
        details={
            "model_version": version, "policy_version": policy_version,
            "model_sha256": bundle.model_sha256, "mlflow_run_id": None,
            "data": [each["sha256"] for each in bundle.manifest.data],
        },
    )  # fmt: skip


def decide(settings: Settings, n_rows: int, *, first: int) -> tuple[str, ...]:
    """Let what is live decide some rows, and return the decisions' ids."""
    recording = open_recording(settings)
    models = ModelSource(settings.root, ["shop"], recording=recording).load_all()
    ids = []
    for number in range(first, first + n_rows):
        context = RequestContext(received_at=int((NOON.timestamp() + 60 * number) * 1e6))
        row = ROW | {"ORDER_ID": number, "AMOUNT": 300.0}
        (answer,) = models.by_name["shop"].answer_rows([row], context)
        ids.append(answer.decision_id)
    models.close()
    recording.log.close()
    return tuple(ids)


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Version 1 decided three rows, then version 2 was promoted and decided two; read only."""
    folder = tmp_path_factory.mktemp("shop")
    home, data = folder / "home", folder / "shop.parquet"
    data.write_bytes(b"rows of the shop")
    settings = Settings(home=home)
    store, ledger = make_home(home), Ledger(settings.database)
    registered(ledger, store, "1", "1")
    first = decide(settings, 3, first=0)
    add_recorded_version(store, folder / "kept", data)
    policy = store.policy("shop", "1")
    content = policy.model_dump(exclude={"policy_id", "created_at", "actor", "reason", "format"})
    content["calibration_data"]["fingerprint"] = CALIBRATED_ON
    later = policy.seal(created_at=NOON, actor="bo", reason="fewer alerts", **content)
    assert store.add_policy("shop", later) == "2"
    registered(ledger, store, "2", "2")
    promote(
        settings, "shop:2", policy="2", actor="cy", reason="better", mirror=lambda _change: None
    )
    second = decide(settings, 2, first=3)
    return Shop(settings, first + second, data)


@pytest.fixture
def shop(built_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The same, as the commands of this process find it."""
    monkeypatch.setenv("WHITECROW_HOME", str(built_shop.home))
    return built_shop
