"""What is being loaded in place of what answers, and what could not be."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from serving.model_references import ResolvedModel


@dataclass(frozen=True, slots=True)
class Loading:
    """A version and policy that are being loaded and verified."""

    version: str
    policy_version: str
    since: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A version and policy that are live and cannot be served."""

    version: str
    policy_version: str
    why: str
    since: str


class ModelChanges:
    """What the service says of the models that it is changing to, by name.

    Written by the thread that loads, read by the event loop: each name's state is one object.
    """

    def __init__(self) -> None:
        self._loading: dict[str, Loading] = {}
        self._failed: dict[str, Failed] = {}

    @property
    def names(self) -> list[str]:
        """The names that are being loaded or could not be."""
        return sorted({*self._loading, *self._failed})

    @property
    def failed(self) -> dict[str, Failed]:
        """What could not be served, by name."""
        return dict(self._failed)

    def begin(self, wanted: ResolvedModel) -> None:
        """Say that a version is being loaded."""
        loading = Loading(wanted.model_version, wanted.policy_version, _now())
        self._loading[wanted.name] = loading

    def fail(self, wanted: ResolvedModel, why: str) -> bool:
        """Say why it cannot be served; return whether that is news."""
        self._loading.pop(wanted.name, None)
        before = self._failed.get(wanted.name)
        version, policy_version = wanted.model_version, wanted.policy_version
        if before is not None and (before.version, before.policy_version, before.why) == (
            version, policy_version, why,
        ):  # fmt: skip
            return False
        self._failed[wanted.name] = Failed(version, policy_version, why, _now())
        return True

    def end(self, name: str) -> None:
        """Say that what is live of a name is what answers."""
        self._loading.pop(name, None)
        self._failed.pop(name, None)

    def describe(self, name: str) -> dict[str, Any]:
        """Return what ``/v1/model`` says of a name besides what answers."""
        loading, failed = self._loading.get(name), self._failed.get(name)
        return {
            **({"loading": asdict(loading)} if loading else {}),
            **({"failed": asdict(failed)} if failed else {}),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
