"""Changing models while requests are answered: watch the live records, load, verify, swap.

Every request is answered by one model with one policy, from its first byte to its last: the one
that was there when it came. What is live and cannot be served is said, and the one before it goes
on; it is tried again when the record or a file of it changes, and now and then.
"""

import contextlib
import gc
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from infra.errors import WhitecrowError
from serving.metrics.tally import ServiceTally
from serving.model_changes import ModelChanges
from serving.model_references import ResolvedModel
from serving.served_model import ServedModel
from serving.served_models import ModelSource, ServedModels

logger = logging.getLogger(__name__)

_TRY_AGAIN_SECONDS = 60.0
# Objects that are freed one by one leave nothing; circles of them do, until a full collection.
_FROZEN_GROWTH = 1.5

_Files = tuple[tuple[str, int, int], ...]


class Serving(Protocol):
    """What answers: told which models to answer for, from any thread."""

    @property
    def models(self) -> ServedModels:
        """The models that answer now."""

    def serve(self, models: ServedModels) -> None:
        """Answer for these models from now on."""


class _Refused(NamedTuple):
    """What could not be served, and when to look again."""

    wanted: ResolvedModel
    files: _Files
    until: float


class ModelSwapper:
    """Keeps what answers equal to what is live. Used by one thread.

    Args:
        serving: What answers; its first models are loaded already.
        source: Where models come from.
        tally: Counts swaps and failures.
    """

    def __init__(self, serving: Serving, source: ModelSource, tally: ServiceTally) -> None:
        self._serving = serving
        self._source = source
        self._tally = tally
        self._refused: dict[str, _Refused] = {}
        self._retired: list[ServedModel] = []
        self._n_frozen = 0

    @property
    def n_retired(self) -> int:
        """Models that were replaced and still answer a request."""
        return len(self._retired)

    def look(self) -> None:
        """Swap in what has become live, and let go of what nobody uses any more.

        Raises:
            StateUnavailable: If the live records cannot be read.
        """
        for name, wanted in self._source.live().items():
            current = self._serving.models.by_name.get(name)
            if current is not None and _is_of(current, wanted):
                self._settle(name)
            elif not self._is_known_to_fail(wanted):
                self._change(current, wanted)
        self._let_go()

    def close(self) -> None:
        """Let go of what was replaced, when no request is under way any more."""
        for model in self._retired:
            model.close()
        self._retired = []

    def _settle(self, name: str) -> None:
        """Forget what could not be served of a name: something else is live by now."""
        if self._refused.pop(name, None) is not None:
            self._changes.end(name)
            self._tally.failed_models = frozenset(self._refused)

    def _change(self, current: ServedModel | None, wanted: ResolvedModel) -> None:
        files = self._files_of(wanted)
        self._changes.begin(wanted)
        try:
            new = self._source.load(wanted, like=current)
            self._swap(current, new)
        except WhitecrowError as error:
            self._fail(wanted, files, str(error))
        except Exception as error:
            logger.exception("loading a model failed", extra={"model": wanted.name})
            self._fail(wanted, files, f"{type(error).__name__}: {error}")

    def _swap(self, current: ServedModel | None, new: ServedModel) -> None:
        models = self._serving.models.with_model(new)
        try:
            self._serving.serve(models)
        except BaseException:
            # Not even an example can be scored: nobody has seen this model yet.
            new.close()
            raise
        if current is not None:
            current.users.retire()
            self._retired.append(current)
        self._refused.pop(new.name, None)
        self._changes.end(new.name)
        self._tally.failed_models = frozenset(self._refused)
        self._tally.model_changes[new.name, "swapped"] += 1
        logger.info(
            "model swapped",
            extra={
                "model": new.name,
                "version": new.scorer.model_version,
                "policy_version": new.scorer.policy_version,
                "before": None if current is None else _version(current),
            },
        )

    def _fail(self, wanted: ResolvedModel, files: _Files, why: str) -> None:
        self._refused[wanted.name] = _Refused(wanted, files, time.monotonic() + _TRY_AGAIN_SECONDS)
        self._tally.failed_models = frozenset(self._refused)
        if not self._changes.fail(wanted, why):
            return
        self._tally.model_changes[wanted.name, "failed"] += 1
        current = self._serving.models.by_name.get(wanted.name)
        logger.error(
            "what is live cannot be served; what was served before goes on",
            extra={
                "model": wanted.name,
                "version": wanted.model_version,
                "policy_version": wanted.policy_version,
                "why": why,
                "serving": None if current is None else _version(current),
            },
        )

    def _is_known_to_fail(self, wanted: ResolvedModel) -> bool:
        refused = self._refused.get(wanted.name)
        if refused is None or refused.wanted != wanted or time.monotonic() > refused.until:
            return False
        return refused.files == self._files_of(wanted)

    def _files_of(self, wanted: ResolvedModel) -> _Files:
        """Return what tells whether a file of a version, or a key, was changed."""
        store = self._source.store
        signature = store.policy_signature(wanted.name, wanted.policy_version)
        bundle = store.bundle_folder(wanted.name, wanted.model_version)
        paths = (
            *_in(bundle),
            signature.with_suffix(""),
            signature,
            *_in(self._source.home / "keys"),
        )
        return tuple(_look_of(path) for path in paths)

    def _let_go(self) -> None:
        over = [model for model in self._retired if model.users.is_over]
        if not over:
            return
        self._retired = [model for model in self._retired if model not in over]
        for model in over:
            model.close()
        del over, model
        self._n_frozen = freeze_garbage_collection(self._n_frozen)

    @property
    def _changes(self) -> ModelChanges:
        return self._serving.models.changes


def freeze_garbage_collection(n_frozen: int = 0) -> int:
    """Collect what is new and spare what is left from later collections; return how much that is.

    A full collection stops every thread for a tenth of a second and more. What was frozen before
    is therefore left out, unless it has become much more than it was.

    Args:
        n_frozen: What the last call returned; 0 where there was none.
    """
    if n_frozen and gc.get_freeze_count() > _FROZEN_GROWTH * n_frozen:
        gc.unfreeze()
        n_frozen = 0
    gc.collect()
    gc.freeze()
    return n_frozen or gc.get_freeze_count()


def _is_of(model: ServedModel, wanted: ResolvedModel) -> bool:
    versions = (model.scorer.model_version, model.scorer.policy_version)
    return versions == (wanted.model_version, wanted.policy_version)


def _version(model: ServedModel) -> str:
    return f"version {model.scorer.model_version} with policy {model.scorer.policy_version}"


def _in(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(folder.iterdir())


def _look_of(path: Path) -> tuple[str, int, int]:
    try:
        status = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), status.st_mtime_ns, status.st_size
