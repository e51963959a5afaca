"""The part of ``/docs`` for whoever builds a client: errors, retries, repetitions, rehearsal."""

from html import escape
from typing import Any

from serving.error_codes import ERROR_CODES

_AGAIN = "<br>retry: true"
_RETRIES = (
    "Send a request again only if the error says <code>retry: true</code>, or if no answer came "
    "(the connection broke, or your own time-out passed). Wait a little longer each time, by "
    "chance a little more or less, and as long as <code>Retry-After</code> says where that header "
    "is set. A row alone is answered or refused within a second, a batch within ten, unless the "
    "service is told otherwise: a time-out of 2.5 s and of 15 s waits for each of them."
)
_REPEATED = (
    "A repeated row gets its first answer, to the last byte, and counts once, for seven days by "
    "default. It is the same row by the contract's id; where the contract has none, by the header "
    "<code>Idempotency-Key</code> (1 to 255 characters of your choice; in a batch, with the row's "
    "place). The same id or key with other content is refused with 409. Labels may be sent any "
    "number of times."
)
_REHEARSAL = (
    "Where the service was started with <code>WHITECROW_TEST_IDENTITIES=on</code>, the ids "
    "<code>test:approve</code>, <code>test:review</code>, <code>test:decline</code>, "
    "<code>test:slow</code> and <code>test:error:503</code> (or another status) force their "
    "answer, which is flagged <code>test_identity</code> and leaves no trace."
)


def integration_sections(example: dict[str, Any] | None) -> str:
    """Return the sections as HTML.

    Args:
        example: A row that the default model takes; None where there is none.
    """
    rows = "".join(
        f"<tr><td>{each.status}</td><td><code>{each.code}</code>{_AGAIN if each.retry else ''}"
        f"</td><td>{escape(each.when)}</td></tr>"
        for each in ERROR_CODES
    )
    return (
        "<h2>Errors</h2>"
        '<p>Each is <code>{"error": {"code", "message", "field", "retry"}}</code>, also in the '
        "place of one row of a batch. Messages never repeat a value of the request.</p>"
        f"<div><table><tr><th>Status</th><th>Code</th><th>When</th></tr>{rows}"
        "</table></div>"
        f"<h2>Time-outs and retries</h2><p>{_RETRIES}</p>"
        f"<h2>Repeated rows</h2><p>{_REPEATED}</p>"
        f"<h2>Rehearsing</h2><p>{_REHEARSAL}</p>"
        f"<h2>From Python</h2>{_python(example)}"
    )


def _python(example: dict[str, Any] | None) -> str:
    row = {"...": "..."} if example is None else example
    code = (
        "import os\n"
        "\n"
        "from serving.client import ScoringClient\n"
        "from serving.client_results import ScoringFailed\n"
        "\n"
        'with ScoringClient(os.environ["SERVICE"], api_key=os.environ.get("KEY")) as client:\n'
        "    try:\n"
        f"        answer = client.score({row!r})\n"
        "        print(answer.decision, answer.risk_score)\n"
        "    except ScoringFailed as failure:\n"
        "        print(failure.code, failure.field, failure.retry)\n"
    )
    return (
        "<p>The extra <code>client</code> brings typed answers and errors, time-outs and the "
        "retries above (<code>AsyncScoringClient</code> is its twin for an event loop). It reads "
        "<code>WHITECROW_API_KEY</code> where no key is given.</p>"
        f"<pre>{escape(code)}</pre>"
    )
