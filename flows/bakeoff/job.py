"""One fit of a bake-off in a process of its own, so that it can be timed, measured and ended.

Run as ``python -m flows.bakeoff.job FOLDER/job.json``. Its standard input is a pipe that closes
when the parent ends, however it ends: then so does the fit.
"""

import os
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

from flows.bakeoff.plan import Job, JobResult
from flows.run_folder import write_json
from infra.revision import code_revision

_BYTES_PER_KIB = 1024


def write_result(job: Job, result: JobResult) -> None:
    """Write the result, whole or not at all."""
    write_json(job.result_file, result.model_dump(mode="json"))


def run_job(job: Job) -> JobResult:
    """Fit, and write the logits of calibration and test rows.

    The labels of test rows are not looked at here, whichever trial this is.
    """
    import torch

    from balancing.strategies.registry import build_strategy, read_strategy
    from flows.featurization import read_features
    from flows.fitting import FeatureRows, FitSettings, fit

    torch.set_num_threads(job.n_threads)
    rows = FeatureRows.of(*read_features(job.features))
    n_rows = len(rows.index("train"))
    if job.max_rows is not None and n_rows > job.max_rows:
        why = f"{n_rows:,} training rows, its bound is {job.max_rows:,}"
        return JobResult(finished=False, why_not=why, strategy=job.strategy)
    settings = FitSettings(
        build_strategy(read_strategy(job.strategy)),
        seed=job.seed,
        few_positives=job.few_positives,
        n_folds=job.n_folds,
        device="cpu" if not torch.cuda.is_available() else "auto",
    )
    started = time.perf_counter()
    trained = fit(rows, settings)
    seconds = time.perf_counter() - started
    test = rows.index("test")
    pl.concat(
        [
            _logits("calibration", trained.calibration_index, trained.calibration_logits),
            _logits("test", test, trained.fitted.logits(rows.arrays.take(test))),
        ]
    ).write_parquet(job.logits_file)
    return JobResult(
        finished=True,
        strategy=job.strategy,
        validation_average_precision=trained.validation_average_precision,
        fit_seconds=seconds,
        final_seconds=trained.fitted.trace.seconds,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_KIB,
        how=trained.how,
        revision=code_revision(),
    )


def _logits(
    part: str, index: np.ndarray[tuple[int], np.dtype[np.int64]], logits: np.ndarray
) -> pl.DataFrame:
    """Return the log odds of some rows of the feature table."""
    log_odds = logits[:, 1].astype(np.float64) - logits[:, 0]
    return pl.DataFrame({"row": index, "log_odds": log_odds}).with_columns(part=pl.lit(part))


def _end_with_parent() -> None:
    # Not through sys.stdin, whose lock a waiting thread would hold when Python ends.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main(path: Path) -> None:
    """Do the job that a file describes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = Job.model_validate_json(path.read_text("utf-8"))
    write_result(job, run_job(job))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
