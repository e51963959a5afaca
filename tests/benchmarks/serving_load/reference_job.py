"""What every reference does for a request: parse the row, run the model, encode its log odds.

No validation, no policy, no reasons, no log: the least that an answer can cost.
"""

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
import onnxruntime

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json")],
}


class ReferenceJob:
    """The model of ``BENCH_MODEL`` on the fields that ``BENCH_FIELDS`` lists as JSON."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.fields = json.loads(os.environ["BENCH_FIELDS"])
        shapes = {given.name: given.shape for given in self.session.get_inputs()}
        self.n_rest = int(shapes["numeric"][1]) - len(self.fields)
        self.n_codes = int(shapes["categorical"][1]) if "categorical" in shapes else 0

    def log_odds(self, row: dict[str, Any]) -> float:
        """Return the log odds of a row; features that it does not carry are 0."""
        values = [row.get(name) or 0.0 for name in self.fields] + [0.0] * self.n_rest
        inputs: dict[str, Any] = {"numeric": np.array([values], dtype=np.float32)}
        if self.n_codes:
            inputs["categorical"] = np.zeros((1, self.n_codes), dtype=np.int64)
        logits: Any = self.session.run(None, inputs)[0]
        return float(logits[0, 1] - logits[0, 0])

    def answer(self, body: bytes) -> bytes:
        """Return the answer to a body."""
        return msgspec.json.encode({"log_odds": self.log_odds(msgspec.json.decode(body))})

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        answered = self.answer(body) if body else b"{}"
        await send(_START)
        await send({"type": "http.response.body", "body": answered})
