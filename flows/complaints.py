"""What is wrong with a configuration, in one line that a person can act on."""

from typing import Any

from pydantic import ValidationError


def first_complaint(error: ValidationError, *, below: str = "") -> str:
    """Return the first complaint: where, and what would do.

    Args:
        error: Of a pydantic model.
        below: Where in the file the model stands, dotted.
    """
    first = error.errors()[0]
    where = ".".join([*filter(None, [below]), *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        return f"There is no key {where!r}."
    if first["type"] == "union_tag_invalid":
        context: dict[str, Any] = first["ctx"]
        return f"{where}.kind: there is no {context['tag']!r}, only {context['expected_tags']}."
    return f"{where}: {first['msg']}."
