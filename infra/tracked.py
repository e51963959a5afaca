"""Data sets and versions as MLflow has them, and names and values as it takes them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# MLflow refuses longer values.
MAX_PARAM_CHARACTERS = 6000
MAX_DIGEST_CHARACTERS = 36
_MAX_NAME_CHARACTERS = 250
_NOT_IN_A_PARAM_NAME = re.compile(r"[^\w\-. :/]", re.ASCII)


@dataclass(frozen=True, slots=True)
class TrackedDataset:
    """A table as MLflow records it: where it was, and the SHA-256 that identifies it."""

    name: str
    uri: str
    sha256: str
    context: str
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TrackedVersion:
    """A model version as the registry has it: its number, the run it came from, its tags."""

    version: str
    run_id: str
    tags: Mapping[str, str]


def param_name(key: str) -> str:
    """Return a key as MLflow takes it; what the key really is stands in ``config.json``.

    Example:
        >>> param_name("expectations.Amount (EUR).min")
        'expectations.Amount _EUR_.min'
    """
    return _NOT_IN_A_PARAM_NAME.sub("_", key)[:_MAX_NAME_CHARACTERS]


def flatten(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return dotted keys with their values; lists stay whole, as JSON.

    Example:
        >>> flatten({"a": {"b": 1}, "c": [1, 2]})
        [('a.b', 1), ('c', '[1, 2]')]
    """
    found: list[tuple[str, Any]] = []
    for key, value in config.items():
        if isinstance(value, Mapping):
            found += flatten(value, f"{prefix}{key}.")
        else:
            text = json.dumps(value, default=str) if isinstance(value, list | tuple) else value
            found.append((f"{prefix}{key}", text))
    return found
