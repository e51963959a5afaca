"""Reading a TOML file, so that what is wrong with it is one line."""

import tomllib
from pathlib import Path
from typing import Any

from infra.errors import InputError


def read_toml(path: Path, error: type[InputError], *, what: str = "") -> dict[str, Any]:
    """Return what a TOML file holds.

    Args:
        path: The file.
        error: What is raised.
        what: The kind of file, to name it by in a message.

    Raises:
        error: If the file cannot be read, is no text, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as failed:
        raise error(f"Cannot read {path}: {failed.strerror}.") from None
    except UnicodeDecodeError:
        raise error(f"Cannot read {path}: it is not UTF-8 text.") from None
    except tomllib.TOMLDecodeError as failed:
        raise error(f"{what} {path} is not valid TOML: {failed}.".lstrip()) from None
