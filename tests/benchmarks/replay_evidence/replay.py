"""A stream from its first version to its last period."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from flows.run_config import RunConfig
from infra.settings import Settings
from replay_evidence.figures import Figures, decided_by_both, figures_of
from replay_evidence.office import Judged, Looked, Office
from replay_evidence.streams import Stream
from replay_evidence.traffic import decide, report_labels
from serving.in_process import InProcessService
from serving.model_references import ResolvedModel

_KIB_PER_MIB = 1024
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Period:
    """A served period.

    Attributes:
        name: Its begin.
        version: That answered.
        figures: Of its rows.
        looked: What monitoring said when it began; None before the first rows.
        judged: What became of the retraining when it began; None before the first one.
    """

    name: str
    version: str
    figures: Figures
    looked: Looked | None
    judged: Judged | None


@dataclass(frozen=True)
class BuiltAtOnce:
    """``whitecrow dataset build`` over everything that was served, as a process of its own."""

    rows: int
    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Replayed:
    """All that came of a stream.

    Attributes:
        periods: In order.
        since_promotion: Figures of all rows that another version than the first one decided.
        built: How the largest table of decided rows was made.
        seconds: The whole replay.
        first_rows: That the first version was given, with those not known yet.
    """

    periods: list[Period]
    since_promotion: Figures | None
    built: BuiltAtOnce
    seconds: float
    first_rows: int


def replay(
    stream: Stream,
    folder: Path,
    config: RunConfig,
    *,
    on_period: Callable[[Period], None],
) -> Replayed:
    """Train, serve period by period, look back, retrain and follow what the gate promotes.

    Args:
        stream: What is replayed.
        folder: New; state, tables and pages stay in it.
        config: How every version is trained.
        on_period: Told of each period when it is over.
    """
    started = time.monotonic()
    folder.mkdir(parents=True)
    settings = Settings(home=folder / "home", tracking_uri=None, state_uri=None, log_uri=None)
    office = Office(settings, stream, config, folder)
    first = office.train_first().released
    frozen = ResolvedModel(first.name, first.version, first.policy_version)
    periods: list[Period] = []
    decided: list[pl.DataFrame] = []
    compared: list[pl.DataFrame] = []
    with InProcessService(settings, stream.name) as service:
        for at in stream.served:
            looked = judged = None
            if at > stream.starts:
                # Dated when their delay is over: whoever asks as of an earlier moment sees none.
                report_labels(service, stream, decided[-1])
                looked, judged = office.look_back(at), office.retrain(at)
                service.follow()
            decided.append(decide(service, stream.between(at, at + 1)))
            both = decided_by_both(settings, decided[-1], frozen)
            if service.version != frozen.model_version:
                compared.append(both)
            name = stream.label_of_period(at)
            periods.append(Period(name, service.version, figures_of(both), looked, judged))
            on_period(periods[-1])
        report_labels(service, stream, decided[-1])
    return Replayed(
        periods,
        figures_of(pl.concat(compared)) if compared else None,
        _built_at_once(settings, stream, folder),
        time.monotonic() - started,
        stream.between(0, stream.starts).height,
    )


def _built_at_once(settings: Settings, stream: Stream, folder: Path) -> BuiltAtOnce:
    out = folder / "everything.parquet"
    command = [Path(sys.executable).with_name("whitecrow"), "dataset", "build", stream.name]
    environment = {key: value for key, value in os.environ.items() if "WHITECROW" not in key}
    started = time.monotonic()
    with subprocess.Popen(
        [*command, "--out", out],
        env=environment | {"WHITECROW_HOME": str(settings.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        peak = _peak_mib(process)
    assert process.returncode == 0, "dataset build did not end well"
    rows = pl.scan_parquet(out).select(pl.len()).collect().item()
    return BuiltAtOnce(rows, time.monotonic() - started, peak)


def _peak_mib(process: subprocess.Popen[bytes]) -> float:
    """Return the most memory that a process held until its end.

    Not the kernel's ``ru_maxrss``: that begins with what this process holds when it starts another.
    """
    peak, status = 0.0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text("utf-8"), re.MULTILINE)
        # A process that has ended and was not waited for has no memory.
        peak = max(peak, int(found[1]) / _KIB_PER_MIB) if found else peak
        time.sleep(_LOOK_SECONDS)
    return peak
