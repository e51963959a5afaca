"""What is under way is bounded and answered in time; what hangs makes no room for more."""

import asyncio
import math
import threading
import time
from contextvars import ContextVar

import pytest

from serving.access.admission import Admission
from serving.refusals import RequestRefused


def soon() -> float:
    return time.monotonic() + 0.02


def test_work_on_a_thread_returns_its_result_in_its_context() -> None:
    seen: ContextVar[str] = ContextVar("seen", default="nothing")

    async def main() -> str:
        seen.set("this")
        admission = Admission(1)
        return await admission.result(admission.begin(seen.get), math.inf)

    assert asyncio.run(main()) == "this"


def test_too_much_is_refused_at_once() -> None:
    go_on = threading.Event()

    async def main() -> None:
        admission = Admission(2)
        works = [admission.begin(go_on.wait) for _ in range(2)]
        for refused in (lambda: admission.begin(go_on.wait), admission.enter):
            with pytest.raises(RequestRefused) as caught:
                refused()
            assert (caught.value.code, caught.value.status, caught.value.retry) == (
                "overloaded", 429, True,
            )  # fmt: skip
            assert (b"retry-after", b"1") in caught.value.headers
        go_on.set()
        for work in works:
            await admission.result(work, math.inf)
        admission.close()
        assert admission.n_under_way == 0
        admission.enter()

    asyncio.run(main())


def test_what_takes_too_long_is_refused_and_counts_until_it_has_ended() -> None:
    go_on = threading.Event()

    async def main() -> None:
        admission = Admission(1)
        with pytest.raises(RequestRefused) as caught:
            await admission.result(admission.begin(go_on.wait), soon())
        assert (caught.value.code, caught.value.status, caught.value.retry) == (
            "deadline_exceeded", 503, True,
        )  # fmt: skip
        assert admission.n_under_way == 1
        go_on.set()
        admission.close()
        assert admission.n_under_way == 0

    asyncio.run(main())


def test_what_is_given_up_while_it_waits_for_a_thread_never_starts() -> None:
    go_on = threading.Event()
    started = []

    async def main() -> None:
        admission = Admission(1000)
        hanging = [admission.begin(go_on.wait) for _ in range(100)]
        with pytest.raises(RequestRefused, match="took too long"):
            await admission.result(admission.begin(lambda: started.append(1)), soon())
        go_on.set()
        for work in hanging:
            await admission.result(work, math.inf)
        admission.close()

    asyncio.run(main())
    assert started == []


def test_an_error_of_the_work_is_not_taken_for_a_deadline() -> None:
    def fail() -> None:
        raise TimeoutError("a socket's own")

    async def main() -> None:
        admission = Admission(1)
        with pytest.raises(TimeoutError, match="a socket's own"):
            await admission.result(admission.begin(fail), math.inf)

    asyncio.run(main())
