"""A replay as lines and tables."""

from recalibration_evidence.tables import markdown

from balancing.metrics.intervals import Interval
from replay_evidence.figures import FROZEN, LIVE, Figures
from replay_evidence.replay import Period, Replayed

_HEADER = (
    "period", "answers", "rows (positive)", "AP", "AP never retrained", "gain, paired",
    "recall", "recall never retrained", "gain, paired", "alerts",
)  # fmt: skip
_EVENTS = ("begin of", "monitoring", "trained", "on rows", "verdict")


def period_line(period: Period) -> str:
    """Return a period in some lines, as it is told when it is over."""
    lines = []
    if period.looked is not None:
        lines.append(f"  monitor: {period.looked.says} {_counted(period.looked.findings)}")
    if period.judged is not None:
        version = period.judged.version
        lines.append(f"  {f'version {version}: ' if version else ''}{period.judged.says}")
    lines.append("  ".join(_figures(period.name, period.version, period.figures)))
    return "\n".join(lines)


def tables(found: Replayed) -> str:
    """Return what came of a stream as Markdown."""
    rows = [_figures(each.name, each.version, each.figures) for each in found.periods]
    if found.since_promotion is not None:
        rows.append(_figures("together, of later versions", "", found.since_promotion))
    built = found.built
    cost = (
        f"{found.first_rows:,} rows before the first period. dataset build of {built.rows:,} "
        f"decided rows: {built.seconds:.1f} s, peak {built.peak_mib:,.0f} MiB. "
        f"The whole replay: {found.seconds / 60:.1f} minutes."
    )
    return "\n\n".join(
        [
            markdown(_HEADER, rows),
            markdown(_EVENTS, [_events(each) for each in found.periods if each.judged]),
            cost,
        ]
    )


def _figures(name: str, version: str, found: Figures) -> list[str]:
    is_first = version == "1"
    same = "–"
    return [
        name,
        version,
        f"{found.rows:,} ({found.positives:,})",
        _interval(found.average_precision[LIVE]),
        same if is_first else _interval(found.average_precision[FROZEN]),
        same if is_first else _gain(found.average_precision_gain),
        _interval(found.recall[LIVE]),
        same if is_first else _interval(found.recall[FROZEN]),
        same if is_first else _gain(found.recall_gain),
        f"{found.alerts[LIVE]:.2%}"
        + ("" if is_first else f" (never retrained: {found.alerts[FROZEN]:.2%})"),
    ]


def _events(period: Period) -> list[str]:
    looked, judged = period.looked, period.judged
    assert looked is not None
    assert judged is not None
    failed = [f"fails {name}" for name in judged.failed]
    opened = [f"cannot tell {name}" for name in judged.open]
    why = ", ".join([*failed, *opened])
    return [
        period.name,
        _counted(looked.findings) or "nothing to report",
        judged.version or "–",
        f"{judged.rows:,}",
        f"{judged.verdict}{': ' if why else ''}{why}",
    ]


def _counted(findings: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in findings.items())


def _interval(found: Interval) -> str:
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _gain(found: Interval) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
