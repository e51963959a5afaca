"""What the state folder holds about a version beside its bundle: runs, bake-offs, schedules."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from flows.gate.rule import rule_of
from flows.monitoring.config import Limits, read_monitor_config
from flows.passport.document import (
    BakeOffMember,
    BakeOffTable,
    Candidate,
    Look,
    Method,
    MonitoringPlan,
    PolicyImpact,
)
from flows.provenance.lineage import Lineage
from flows.scheduling.book import ScheduleBook
from flows.scheduling.schedule import Kind
from infra.settings import Settings

_PLAIN = "gain_over_erm"


def method_of(settings: Settings, lineage: Lineage) -> Method:
    """Return how a version was made, and why so."""
    recorded = lineage.recorded
    search = None if recorded is None else recorded.search
    candidates = _candidates(search, lineage) if search else ()
    bakeoffs = tuple(_bakeoffs(settings, lineage))
    network = lineage.config["strategy"].get("extractor", lineage.config["strategy"]).get("network")
    parity = None
    if recorded is not None:
        parity = _json(settings.root / "runs" / recorded.run / "parity.json")
    return Method(
        why=_why(lineage, candidates, bakeoffs),
        network=None if network is None else str(network["kind"]),
        candidates=candidates,
        bakeoffs=bakeoffs,
        parity=parity,
    )


def looks_at(settings: Settings, lineage: Lineage) -> tuple[Look, ...]:
    """Return the monitoring runs over a version, the oldest first."""
    found = [
        Look.model_validate(
            {
                "folder": folder.name,
                **{key: told[key] for key in ("since", "until", "rows", "action")},
                "findings": [each["says"] for each in told["findings"]],
                **_performance(told.get("monitored") or {}),
            }
        )
        for folder, told in _runs(settings, "monitor.json")
        if (told["name"], told["model_version"]) == (lineage.name, lineage.version)
    ]
    return tuple(found)


def impacts_of(settings: Settings, lineage: Lineage) -> tuple[PolicyImpact, ...]:
    """Return what later policies of a version would have done beside the ones before them."""
    found = [
        PolicyImpact(
            policy_version=told["policy_version"],
            compared_with=told["compared_with"],
            folder=folder.name,
            old=told["total"]["old"],
            new=told["total"]["new"],
        )
        for folder, told in _runs(settings, "impact.json")
        if (told["name"], told["model_version"]) == (lineage.name, lineage.version)
    ]
    return tuple(found)


def monitoring_plan(settings: Settings, name: str) -> MonitoringPlan:
    """Return what is looked at from now on, when, and what happens then."""
    book = ScheduleBook(settings.database)
    schedules = [each for each in book.schedules() if each.name == name]
    config = next((one.config for one in schedules if one.kind == Kind.MONITOR), None)
    # A file that is gone since says nothing about what holds.
    there = config is not None and config.is_file()
    limits = read_monitor_config(config).limits if there else Limits()
    shown = {"kind", "cron", "timezone", "window", "min_new_labels", "rest", "paused", "actor"}
    return MonitoringPlan(
        schedules=tuple(
            each.model_dump(mode="json", include=shown | {"reason"}) for each in schedules
        ),
        limits=limits.model_dump(mode="json"),
        limits_from=str(config) if there else None,
        gate_rule=rule_of(settings, name).model_dump(mode="json"),
    )


def _why(
    lineage: Lineage, candidates: tuple[Candidate, ...], bakeoffs: tuple[BakeOffTable, ...]
) -> str:
    if candidates:
        best = next((one for one in candidates if one.is_chosen), candidates[0])
        return (
            f"Of {len(candidates)} candidates tried, {best.name} ranked the validation rows best; "
            "test rows chose nothing."
        )
    if lineage.strategy == "registered":
        return "The model was made elsewhere and given as a file; it was chosen by nothing here."
    if bakeoffs:
        return (
            f"{lineage.strategy} was asked for. A bake-off on the same data compares it with "
            "others, below."
        )
    return (
        f"{lineage.strategy} was asked for, or is the default. Nothing was compared on these data: "
        "neither a search nor a bake-off is in this state folder."
    )


def _candidates(search: Mapping[str, Any], lineage: Lineage) -> tuple[Candidate, ...]:
    chosen = lineage.config["strategy"]
    return tuple(
        Candidate(
            name=one["candidate"],
            trial=one["trial"],
            validation_average_precision=one["validation_average_precision"],
            seconds=one["seconds"],
            why_not=one["why_not"],
            is_chosen=one["strategy"] == chosen,
        )
        for one in search["tried"]
    )


def _bakeoffs(settings: Settings, lineage: Lineage) -> Iterator[BakeOffTable]:
    """Yield the bake-offs on the same data, as the digests of their tables say."""
    digests = {each["sha256"] for each in lineage.data}
    for file in sorted((settings.root / "bakeoffs").glob("*/*/bakeoff.parquet")):
        told = _json(file.parents[1] / "validation.json") or {}
        if digests & {each["source_sha256"] for each in told.values()}:
            members = _members(pl.read_parquet(file))
            folder = str(file.parent.relative_to(settings.root))
            yield BakeOffTable(folder=folder, members=members)


def _members(rows: pl.DataFrame) -> tuple[BakeOffMember, ...]:
    found = []
    for (name,), part in rows.group_by("member", maintain_order=True):
        one = part.to_dicts()[0]
        gain = [one.get(f"{_PLAIN}_{end}") for end in ("value", "low", "high")]
        is_finished = bool(one["finished"])
        found.append(
            BakeOffMember(
                name=str(name),
                seeds=part.height if is_finished else 0,
                validation=_mean(part, "validation_average_precision"),
                test=_mean(part, "average_precision"),
                gain_over_plain=None if None in gain else tuple(map(float, gain)),  # type: ignore[arg-type]
                why_not=one.get("why_not"),
            )
        )
    return tuple(found)


def _mean(rows: pl.DataFrame, column: str) -> float | None:
    if column not in rows.columns:
        return None
    mean = rows[column].mean()
    return mean if isinstance(mean, float) else None


def _runs(settings: Settings, file: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders of runs that hold a file, with what it says, in the order of time."""
    for path in sorted((settings.root / "runs").glob(f"*/{file}")):
        told = _json(path)
        if told is not None:
            yield path.parent, told


def _performance(monitored: Mapping[str, Any]) -> dict[str, Any]:
    # As monitoring holds it against limits: where declines hide too much, nothing is told.
    judged = monitored.get("reweighted") or monitored.get("realised") or {}
    if not monitored.get("is_judged"):
        judged = {}
    names = ("precision", "recall", "average_precision")
    return {
        name: None if not (one := judged.get(name)) else [one["value"], one["low"], one["high"]]
        for name in names
    }


def _json(path: Path) -> dict[str, Any] | None:
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else None
