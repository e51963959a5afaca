"""The routes: what a path means, which method and which scope it takes."""

from dataclasses import dataclass

from serving.access.keys import Scope
from serving.refusals import RequestRefused

METHODS = {"GET": ("GET", "HEAD"), "POST": ("POST",)}
"""Methods that a route takes, by the one that it is listed with."""
DECISIONS = "/v1/decisions/"
_MODELS = "/v1/models/"


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means.

    Attributes:
        action: What is done, such as ``score/batch``.
        method: ``GET`` or ``POST``.
        model: The model that the path names; None for the default one.
        template: Of the path, for metrics and logs.
        needs: The scope that an API key needs; None where any key will do.
        to_auditors: Whether any key means those, too, that may audit and nothing else.
        is_public: Whether it takes no key at all.
    """

    action: str
    method: str
    model: str | None = None
    template: str = "other"
    needs: Scope | None = None
    to_auditors: bool = False
    is_public: bool = False


def route_of(path: str) -> Route:
    """Return what a path means.

    Raises:
        RequestRefused: With 404 ``unknown_path``, if it means nothing.
    """
    if path in _ROUTES:
        return _ROUTES[path]
    if path.startswith(DECISIONS):
        return Route("decision", "GET", template=f"{DECISIONS}{{decision_id}}", needs=Scope.AUDIT)
    name, _, action = path.removeprefix(_MODELS).partition("/")
    if path.startswith(_MODELS) and name and f"/v1/{action}" in _OF_A_MODEL:
        template = f"/v1/models/{{name}}/{action}"
        return Route(action, "POST", name, template, _SCOPES[action])
    if path.startswith(_MODELS) and name and not action:
        return Route("model", "GET", name, "/v1/models/{name}", to_auditors=True)
    raise RequestRefused(
        "unknown_path", "There is nothing at this path; /docs lists what there is.", status=404
    )


def wrong_method(allowed: str) -> RequestRefused:
    """Return the refusal of a method that a route does not take."""
    names = ", ".join(METHODS[allowed])
    return RequestRefused(
        "method_not_allowed",
        f"This path takes {names} only.",
        status=405,
        headers=((b"allow", names.encode()),),
    )


_SCOPES = {
    "score": Scope.SCORE,
    "score/batch": Scope.SCORE,
    "labels": Scope.LABEL,
}


def _named(
    *paths: str,
    action: str | None = None,
    method: str = "GET",
    to_auditors: bool = False,
    is_public: bool = False,
) -> dict[str, Route]:
    routes = {}
    for path in paths:
        what = action or path[4:]
        routes[path] = Route(
            what,
            method,
            template=path,
            needs=_SCOPES.get(what),
            to_auditors=to_auditors,
            is_public=is_public,
        )
    return routes


_OF_A_MODEL = _named("/v1/score", "/v1/score/batch", "/v1/labels", method="POST")
_ROUTES = _OF_A_MODEL | _named("/v1/model", "/v1/models", to_auditors=True)
_ROUTES |= _named("/openapi.json", "/docs", "/", action="page")
_ROUTES |= _named("/metrics", action="page", is_public=True)
# BentoML answers these to GET; what comes here used another method.
_ROUTES |= _named("/livez", "/readyz", "/healthz", action="page", is_public=True)
