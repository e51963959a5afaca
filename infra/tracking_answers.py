"""MLflow's server, when it does not answer: told in one line, and within a minute and a quarter.

MLflow's own client asks eight times and waits two minutes for each answer, so that a server that is
away holds a command for four to twenty minutes. Nothing here imports MLflow, which takes seconds.
"""

import functools
import os
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

from infra.errors import InputError

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "15"}
"""MLflow's settings unless the environment has its own: about 13 s where a connection is refused,
75 s where one is taken and nothing comes back."""

_START_IT = "Start it again, or see what keeps it from answering."
# How MLflow begins what it says of a request without an answer; a server's refusal reads otherwise.
_NO_ANSWER = "API request to "


class TrackingUnavailable(InputError):
    """Raised when the MLflow store cannot be reached or written."""


def be_patient() -> None:
    """Give MLflow's client its settings, those that the environment does not hold."""
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)


class _Store(Protocol):
    """A store, as far as it can be named."""

    uri: str


_S = TypeVar("_S", bound=_Store)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def answered(ask: Callable[Concatenate[_S, _P], _T]) -> Callable[Concatenate[_S, _P], _T]:
    """Tell in one line that the server does not answer; what it answers stays as it is."""

    @functools.wraps(ask)
    def told(store: _S, /, *args: _P.args, **options: _P.kwargs) -> _T:
        try:
            return ask(store, *args, **options)
        except Exception as error:
            if not is_without_answer(error):
                raise
            raise unavailable(store.uri, error) from None

    return told


def is_without_answer(error: BaseException) -> bool:
    """Return whether MLflow raised this because its server did not answer, or could not."""
    return str(error).startswith(_NO_ANSWER)


def unavailable(uri: str, error: BaseException, *, way_out: str = _START_IT) -> TrackingUnavailable:
    """Return the one line about a store that does not answer.

    Args:
        uri: Of the store; a password in it is not shown.
        error: What MLflow raised.
        way_out: What a person may do about it.
    """
    return TrackingUnavailable(
        f"MLflow at {without_credentials(uri)} does not answer: {_why(error)}. {way_out}"
    )


def without_credentials(uri: str) -> str:
    """Return a URI as it may be shown.

    Example:
        >>> without_credentials("https://ana:secret@mlflow.example.org/store")
        'https://mlflow.example.org/store'
    """
    user, at, _ = urlsplit(uri).netloc.rpartition("@")
    return uri.replace(user + at, "", 1)


def _why(error: BaseException) -> str:
    """Return the reason at the bottom of a failure: the system's own words, where there are any."""
    chain = [error]
    while (below := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(below)
    for failure in reversed(chain):
        if isinstance(failure, TimeoutError):
            return "nothing came back in time"
        if isinstance(failure, OSError) and failure.strerror:
            return failure.strerror
    return (str(error).splitlines() or ["no message"])[0].rstrip(".")
