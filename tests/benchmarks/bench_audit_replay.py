"""How many past decisions a second ``whitecrow audit replay --all`` decides again and compares.

Run as ``python tests/benchmarks/bench_audit_replay.py HOME NAME DATA [--rows N] [--rounds N]``: a
state folder, a model in it, and a table of its contract. The table's last rows are decided by the
service's own path into logs of temporary state folders: once as the policy has it, and a tenth of
them with a policy that stops every row, so that each has reasons. The logs are replayed in turn,
several times. Printed are medians of decisions a second, and of decisions a second of processor
time, which is what an idle machine would do on one core: on a busy one the first says little.
"""

import argparse
import os
import shutil
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from balancing.calibration.policy import Policy
from balancing.inference_platform import inference_platform
from features.ingestion.conforming import conform
from features.ingestion.tables import read_table
from flows.audit_replay import replay_period
from infra.settings import Settings
from serving.decisions.opening import open_recording
from serving.live import LiveRecord
from serving.model_store import ModelStore
from serving.request_context import RequestContext
from serving.requests import request_rows
from serving.served_models import ModelSource
from serving.verification import load_scorer

_BATCH = 500


def main() -> None:
    """Print decisions a second for the policy as it is, and for one that stops every row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("name")
    parser.add_argument("data")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        homes = {"as the policy has it": given.rows, "every row stopped": given.rows // 10}
        logs = {
            kind: _decided(given, Path(folder) / str(at), n_rows, stops_all=bool(at))
            for at, (kind, n_rows) in enumerate(homes.items())
        }
        rates: dict[str, list[tuple[float, float]]] = {kind: [] for kind in logs}
        for _ in range(given.rounds):
            for kind, settings in logs.items():
                begun, begun_cpu = time.perf_counter(), time.process_time()
                found = replay_period(settings)
                wall, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
                rates[kind].append((found.n_decisions / wall, found.n_decisions / cpu))
                assert found.by_verdict["exact"] == found.n_decisions, found.to_json()
    print(f"{inference_platform()}, {os.cpu_count()} cores; all replays exact")
    for kind, measured in rates.items():
        by_clock, by_cpu = zip(*measured, strict=True)
        print(f"{kind}: {homes[kind]:,} rows; {_spread(by_clock)}")
        print(f"  of processor time: {_spread(by_cpu)}")


def _spread(rates: tuple[float, ...]) -> str:
    return f"median {statistics.median(rates):,.0f}/s ({min(rates):,.0f} to {max(rates):,.0f})"


def _decided(given: Any, home: Path, n_rows: int, *, stops_all: bool) -> Settings:
    """Have the last rows decided into the log of a new state folder and return its settings."""
    for part in ("models", "policies", "keys"):
        if (given.home / part).is_dir():
            shutil.copytree(given.home / part, home / part)
    (home / "keys" / "decisions.key").unlink(missing_ok=True)
    scorer = load_scorer(ModelStore(given.home), given.name)
    store = ModelStore(home)
    version = scorer.policy_version
    if stops_all:
        # Unsigned: this folder trusts no key.
        for path in home.glob("keys/*"):
            path.unlink()
        store = ModelStore(home)
        version = store.add_policy(scorer.name, _stopping_all(scorer.policy))
    live = LiveRecord(scorer.model_version, version, 1)
    store.live.compare_and_swap(scorer.name, None, live)
    settings = Settings(home=home)
    recording = open_recording(settings)
    models = ModelSource(home, [scorer.name], recording=recording).load_all()
    model = models.by_name[scorer.name]
    table = conform(read_table(given.data).tail(n_rows), scorer.bundle.contract)
    rows = request_rows(table, scorer.bundle.contract, scorer.bundle.feature_set.input_types)
    decisions: dict[str, int] = {}
    for at in range(0, len(rows), _BATCH):
        part: list[Mapping[str, Any]] = rows[at : at + _BATCH]
        for answer in model.answer_rows(part, RequestContext(), range(len(part))):
            what = getattr(answer, "decision", "refused")
            decisions[what] = decisions.get(what, 0) + 1
    models.close()
    recording.log.close()
    n_features = len(scorer.bundle.feature_set.numeric) + len(scorer.bundle.feature_set.categorical)
    print(f"decided by {scorer.name} with {n_features} features: {decisions}")
    return settings


def _stopping_all(policy: Policy) -> Policy:
    content = {name: getattr(policy, name) for name in type(policy).model_fields}
    del content["policy_id"], content["format"]
    thresholds = policy.thresholds
    review = thresholds.review.model_copy(update={"threshold": 0.0})
    content["thresholds"] = thresholds.model_copy(update={"review": review})
    golden = policy.golden
    segment = golden.segment
    _, decision = Policy.seal(**content).decide(
        golden.logits, amount_minor=golden.amount_minor, segment=segment
    )
    content["golden"] = golden.model_copy(update={"decision": tuple(decision.tolist())})
    return Policy.seal(**content)


if __name__ == "__main__":
    main()
