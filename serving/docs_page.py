"""The page at ``/docs``: every route with a command to copy; no script, no outside address."""

import shlex
from html import escape
from typing import Any

from serving.answers import encode
from serving.docs_integration import integration_sections
from serving.served_models import ServedModels

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
overflow-wrap: anywhere; }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; user-select: all; }
div { overflow-x: auto; } td, th { overflow-wrap: normal; vertical-align: top; }
td:last-child { min-width: 11rem; } @media (max-width: 40rem) { pre { white-space: pre-wrap; } }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; }
@media (prefers-color-scheme: dark) { body { background: #1b1b1b; color: #ddd; }
pre { background: #2a2a2a; } a { color: #8bf; } }
"""


def docs_page(models: ServedModels, document: dict[str, Any]) -> str:
    """Return the page for the models and their OpenAPI document."""
    title = document["info"]["title"]
    operations = "".join(
        _operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "post"}
    )
    fields = "".join(
        f"<h2>Fields of {escape(name)}</h2>"
        + _fields(document["components"]["schemas"][f"{name}.Row"])
        for name in models.by_name
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'  # a browser would ask the service for one
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        '<p>Machine-readable: <a href="/openapi.json">/openapi.json</a>. '
        'Health: <a href="/livez">/livez</a>, <a href="/readyz">/readyz</a>, '
        '<a href="/metrics">/metrics</a>. '
        "For the commands below: <code>SERVICE=http://HOST:PORT</code>, this page's address, and "
        "<code>KEY=</code> your API key, where the service asks for one.</p>"
        f"{operations}{fields}{integration_sections(_default_row(document))}</body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    heading = f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
    summary = f"<p>{escape(operation['summary'])}.</p>"
    if "description" in operation:
        summary += f"<p>{escape(operation['description'])}</p>"
    command = f'curl -s $SERVICE{shlex.quote(path)} -H "Authorization: Bearer $KEY"'
    if method == "get":
        return f"{heading}{summary}<pre>{escape(command)}</pre>"
    request = operation["requestBody"]["content"]["application/json"]["example"]
    response = operation["responses"]["200"]["content"]["application/json"]["example"]
    body = shlex.quote(encode(request).decode())
    command += f" \\\n  -H 'Content-Type: application/json' \\\n  -d {body}"
    shown = f"<pre>{escape(command)}</pre><pre>{escape(encode(response).decode())}</pre>"
    return f"{heading}{summary}{shown}"


def _fields(schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(' or '.join(shape['type']))}</td>"
        f"<td>{'required' if name in schema['required'] else 'optional'}</td>"
        f"<td>{escape(shape['description'])}</td></tr>"
        for name, shape in schema["properties"].items()
    )
    return f"<div><table>{rows}</table></div>"


def _default_row(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the example row of the routes without a name, where there are such."""
    operation = document["paths"].get("/v1/score", {}).get("post")
    if operation is None:
        return None
    row: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["example"]
    return row
