"""What a person is told when a retraining stops: at which step, why, and the command to go on."""

import logging

from flows.run_folder import RunFolder
from flows.run_steps import RunSteps
from infra.errors import WhitecrowError, is_full_disk
from infra.settings import Settings
from infra.tracking import MlflowException
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)

_BAD_INPUT = 2


class RetrainingStopped(WhitecrowError):
    """Raised when a retraining's step says no or fails; what answered requests answers still.

    Its exit code is that of what stopped it.

    Attributes:
        step: Where it stopped; None between two steps.
        why: Why, in words.
    """

    def __init__(self, text: str, *, step: str | None, why: str, exit_code: int) -> None:
        super().__init__(text)
        self.step, self.why, self.exit_code = step, why, exit_code


def command_to_go_on(name: str) -> str:
    """Return the command that goes on with the newest retraining of a model."""
    return f"whitecrow retrain {name} --resume"


def stopped(
    settings: Settings, name: str, run: RunFolder, failure: BaseException
) -> RetrainingStopped:
    """Return what to tell of a retraining that stopped."""
    steps = RunSteps.of(run.root)
    step, finished = steps.stopped_at, steps.finished()
    why, exit_code = _why(failure)
    if step is not None:
        where = f"at the step {step!r}"
    else:
        where = f"behind the step {finished[-1]!r}" if finished else "before its first step"
    text = (
        f"Retraining {name} stopped {where}: {why.rstrip('.')}. {_stands(settings, name)}. "
        f"To go on: {command_to_go_on(name)}"
    )
    return RetrainingStopped(text, step=step, why=why, exit_code=exit_code)


def _stands(settings: Settings, name: str) -> str:
    try:
        live = ModelStore.open(settings).live.get(name)
    except WhitecrowError:
        # Not even read where no file can be made beside it; nothing has changed it.
        return "What answered requests goes on serving"
    if live is None:
        return "No version answers yet"
    return f"Version {live.model_version} with policy {live.policy_version} goes on serving"


def _why(failure: BaseException) -> tuple[str, int]:
    """Return the reason in one line, and the exit code that it stands for."""
    if is_full_disk(failure):
        return "the disk is full. Free some space", _BAD_INPUT
    if isinstance(failure, WhitecrowError):
        return str(failure), failure.exit_code
    if isinstance(failure, KeyboardInterrupt):
        return "interrupted", 1
    if isinstance(failure, MlflowException):
        return f"MLflow does not answer as it should: {_first_line(failure)}", _BAD_INPUT
    if isinstance(failure, OSError) and failure.strerror is not None:
        where = f" ({failure.filename})" if failure.filename else ""
        return f"{failure.strerror}{where}", _BAD_INPUT
    # Nobody foresaw this one; whoever mends it needs to see where it came from.
    logger.error("a step failed unexpectedly", exc_info=failure)
    return f"{type(failure).__name__}: {_first_line(failure)}", 1


def _first_line(failure: BaseException) -> str:
    return next(iter(str(failure).splitlines()), "no message")
