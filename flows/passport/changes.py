"""What differs between a version and the one before it, line by line."""

from collections.abc import Iterator, Mapping
from typing import Any

from flows.passport.document import Change, Changes
from flows.provenance.lineage import Lineage
from flows.provenance.recorded import RunLineage
from infra.tracked import flatten

_PACKAGES = ("torch", "onnxruntime", "polars", "numpy", "scikit-learn", "lightgbm", "xgboost")


def changes_since(previous: Lineage | None, lineage: Lineage) -> Changes:
    """Return what differs from the version before; None there means that there is none."""
    if previous is None:
        return Changes(previous=None, found=())
    sections = zip(_sections(previous), _sections(lineage), strict=True)
    found = [
        Change(section=section, name=name, before=before.get(name), after=after.get(name))
        for (section, before), (_, after) in sections
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]
    return Changes(previous=f"{previous.name}:{previous.version}", found=tuple(found))


def _sections(lineage: Lineage) -> Iterator[tuple[str, dict[str, str]]]:
    recorded = lineage.recorded
    yield "data", _data(lineage, recorded)
    yield "contract", _flat({k: v for k, v in lineage.contract.items() if k != "about"})
    yield "features", dict.fromkeys(lineage.features, "used")
    yield "configuration", _flat(lineage.config)
    yield "code", _code(lineage, recorded)
    yield "metrics", _metrics(lineage.metrics)
    yield "policy", _policy(lineage)


def _data(lineage: Lineage, recorded: RunLineage | None) -> dict[str, str]:
    found = {
        each["role"]: f"{each['name']}, {each['rows']:,} rows, {each['sha256'][:12]}…"
        for each in lineage.data
    }
    if recorded is None:
        return found
    for part in recorded.parts:
        when = (
            f", {part.first:%Y-%m-%d} to {part.last:%Y-%m-%d}" if part.first and part.last else ""
        )
        found[f"{part.part} rows"] = f"{part.rows:,} ({part.positives:,} positive){when}"
    labels = recorded.labels
    if labels.as_of is not None:
        found["labels as of"] = f"{labels.as_of:%Y-%m-%d %H:%M} UTC"
    found["labels"] = f"{labels.known:,} known, {labels.positives:,} positive"
    for checked in recorded.validation:
        found[f"quarantine of {checked.role}"] = f"{checked.quarantined:,} rows"
    return found


def _code(lineage: Lineage, recorded: RunLineage | None) -> dict[str, str]:
    found = {"revision": lineage.code_revision}
    if recorded is None:
        return found
    packages = recorded.environment["packages"]
    found |= {name: packages[name] for name in _PACKAGES if name in packages}
    found["Python"] = recorded.environment["python"]
    found["lock"] = (recorded.lock_sha256 or "none")[:12]
    return found


def _metrics(metrics: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]"
        for name, one in metrics.items()
        if None not in (one["value"], one["low"], one["high"])
    }


def _policy(lineage: Lineage) -> dict[str, str]:
    """Return the policy that answers with a version, or its newest."""
    shown = next(
        (one for one in lineage.policies if one.version == lineage.live_policy),
        lineage.policies[-1] if lineage.policies else None,
    )
    if shown is None:
        return {}
    policy, found = shown.policy, {}
    for word in ("review", "decline"):
        tuned = getattr(policy.thresholds, word)
        objective = tuned.objective.model_dump(mode="json", exclude_none=True)
        cut = "none" if tuned.threshold is None else f"{tuned.threshold:.4g}"
        found[f"{word} threshold"] = cut
        found |= _flat(objective, prefix=f"{word}.")
    found["calibrator"] = policy.calibrator.kind
    found["post-processing"] = policy.post_processing.kind
    found["segments"] = ", ".join(policy.segment_columns) or "none"
    return found


def _flat(nested: Mapping[str, Any], *, prefix: str = "") -> dict[str, str]:
    return {f"{prefix}{name}": str(value) for name, value in flatten(nested) if value is not None}
