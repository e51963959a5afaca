"""What a run has finished: one small file a step, so that a killed run goes on where it stopped.

``RUN/steps/NAME.json`` appears when all that the step made is on the disk. It holds what the step
handed to the next, the SHA-256 of every file it made, and a digest of the steps before it. A step
is taken up only while all of these are still so; otherwise it runs again, after what it left
behind is gone.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.run_folder import RunFolder, write_json
from infra.storage import flush_to_disk, sha256_file, sha256_json

logger = logging.getLogger(__name__)

_GENESIS = ""


class StepFact(BaseModel):
    """What a finished step left behind.

    Attributes:
        step: Its name.
        after: Digest of the steps before it; the empty text for the first.
        result: What it handed on, as JSON.
        files: SHA-256 of every file it made, by path below the state folder.
        finished_at: When, in UTC.
        seconds: How long it took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    after: str
    result: Any
    files: dict[str, str]
    finished_at: datetime
    seconds: float

    @property
    def digest(self) -> str:
        """What later steps were made from: the same however often a step ran to the same end."""
        return sha256_json([self.after, self.step, self.result, self.files])


class RunSteps:
    """The steps of one run, in the order in which they are asked for.

    Args:
        run: The run's folder.
        root: The state folder, above it.
    """

    def __init__(self, run: RunFolder, root: Path) -> None:
        self._run, self._root = run, root
        self._chain = _GENESIS

    @classmethod
    def of(cls, run: Path) -> Self:
        """Return the steps of a folder ``HOME/runs/RUN``."""
        return cls(RunFolder(run), run.parents[1])

    def once(
        self,
        step: str,
        make: Callable[[], Any],
        *,
        also: Callable[[Any], Iterable[Path]] = lambda _: (),
        goes_on: bool = False,
        renew: bool = False,
    ) -> Any:
        """Return what a step hands on: from its file where it is finished, else by running it.

        Args:
            step: Its name.
            make: Does the work; returns plain JSON values.
            also: Folders outside the run's own that the step made, from what it returned.
            goes_on: Whether the step finds its own way through what a killed attempt left.
            renew: Run it in any case.
        """
        fact = self._fact(step)
        if fact is None or renew or not self._still_holds(fact):
            self._file(step).unlink(missing_ok=True)
            if not goes_on:
                self._clear()
            self._under_way.parent.mkdir(parents=True, exist_ok=True)
            self._under_way.write_text(step, "utf-8")
            started = time.monotonic()
            # Through JSON and back: a run that goes on gets the very same.
            result = json.loads(json.dumps(make()))
            fact = self._finish(step, result, also(result), time.monotonic() - started)
            self._under_way.unlink()
        else:
            logger.info("step was finished before", extra={"step": step})
        self._chain = fact.digest
        return fact.result

    def is_finished(self, step: str) -> bool:
        """Return whether a step has ended well; what it made is not looked at."""
        return self._file(step).is_file()

    @property
    def stopped_at(self) -> str | None:
        """The step that has begun and not ended; None between steps."""
        return self._under_way.read_text("utf-8") if self._under_way.is_file() else None

    def finished(self) -> list[str]:
        """Return the steps that have ended well, in that order."""
        return [fact.step for fact in sorted(self._facts(), key=lambda fact: fact.finished_at)]

    def _finish(self, step: str, result: Any, folders: Iterable[Path], seconds: float) -> StepFact:
        made = sorted(self._unclaimed())
        made += sorted(file for folder in folders for file in _files_of(folder))
        for path in {*made, *(file.parent for file in made)}:
            flush_to_disk(path)
        fact = StepFact(
            step=step,
            after=self._chain,
            result=result,
            files={str(file.relative_to(self._root)): sha256_file(file) for file in made},
            finished_at=datetime.now(UTC),
            seconds=round(seconds, 3),
        )
        write_json(self._file(step), fact.model_dump(mode="json"))
        return fact

    def _still_holds(self, fact: StepFact) -> bool:
        if fact.after != self._chain:
            return False
        paths = {self._root / name: sha256 for name, sha256 in fact.files.items()}
        return all(file.is_file() and sha256_file(file) == sha for file, sha in paths.items())

    def _clear(self) -> None:
        """Remove what an attempt without an end left in the run's folder."""
        for file in self._unclaimed(with_hidden=True):
            file.unlink(missing_ok=True)
        folders = [path for path in self._run.root.rglob("*") if path.is_dir()]
        for folder in sorted(folders, reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _unclaimed(self, *, with_hidden: bool = False) -> list[Path]:
        """Return the files of the run's folder that no finished step made."""
        claimed = {self._root / name for fact in self._facts() for name in fact.files}
        return [
            file
            for file in _files_of(self._run.root, with_hidden=with_hidden)
            if file not in claimed and not self._run.is_bookkeeping(file)
        ]

    def _facts(self) -> list[StepFact]:
        found = (self._fact(path.stem) for path in self._run.steps.glob("*.json"))
        return [fact for fact in found if fact is not None]

    def _fact(self, step: str) -> StepFact | None:
        try:
            fact = StepFact.model_validate_json(self._file(step).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            logger.warning("a step's record cannot be read: it runs again", extra={"step": step})
            return None
        return fact if fact.step == step else None

    @property
    def _under_way(self) -> Path:
        return self._run.steps / "under_way"

    def _file(self, step: str) -> Path:
        return self._run.steps / f"{step}.json"


def _files_of(folder: Path, *, with_hidden: bool = False) -> list[Path]:
    """Return every file below a folder; hidden ones are somebody's unfinished work."""
    found = (file for file in folder.rglob("*") if file.is_file())
    return [
        file
        for file in found
        if with_hidden or not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
