"""What commands print: tables for people on a terminal, one JSON object for machines."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

console = Console(highlight=False, soft_wrap=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Print exactly one JSON object on standard output."""
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")


def print_failure(message: str, *, as_json: bool) -> None:
    """Say what went wrong: one line on standard error, and as JSON where that was asked for."""
    if as_json:
        print_json({"error": {"message": message}})
    sys.stderr.write(f"error: {message}\n")
