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
from numpy.typing import NDArray

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
    from flows.bakeoff.fits import fit_job
    from flows.featurization import read_features
    from flows.fitting import FeatureRows

    rows = FeatureRows.of(*read_features(job.features))
    n_rows = len(rows.index("train"))
    if job.max_rows is not None and n_rows > job.max_rows:
        why = f"{n_rows:,} training rows, its bound is {job.max_rows:,}"
        return JobResult(finished=False, why_not=why, strategy=job.strategy)
    started = time.process_time()
    fit = fit_job(rows, job)
    seconds = time.process_time() - started
    logits = [_logits("calibration", fit.calibration_index, fit.calibration_log_odds)]
    if job.scores_test_rows:
        logits.append(_logits("test", fit.test_index, fit.test_log_odds))
    pl.concat(logits).write_parquet(job.logits_file)
    return JobResult(
        finished=True,
        strategy=job.strategy,
        validation_average_precision=fit.validation_average_precision,
        fit_seconds=seconds,
        final_seconds=fit.final_seconds,
        peak_bytes=_peak_bytes(),
        how=fit.how,
        revision=code_revision(),
    )


def _logits(part: str, index: NDArray[np.int64], log_odds: NDArray[np.float64]) -> pl.DataFrame:
    """Return the log odds of some rows of the feature table."""
    return pl.DataFrame({"row": index, "log_odds": log_odds}).with_columns(part=pl.lit(part))


def _peak_bytes() -> int:
    """Return the most memory that this process held."""
    # On Linux ru_maxrss starts from that of the parent, which read the whole table.
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text("ascii").splitlines()
        kibibytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(kibibytes) * _BYTES_PER_KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_KIB


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
