"""The door of a server, without BentoML around it."""

import asyncio
import os
import signal
import socket

import pytest

from serving.draining import refuse_connections_when_told_to_end


@pytest.fixture
def handlers():
    """Puts back what handled signals before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_who_has_knocked_is_let_in_and_who_comes_later_is_refused() -> None:
    async def serve() -> tuple[list[bytes], bool]:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(ended.set))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"let in")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        refuse_connections_when_told_to_end()
        knocking = [socket.create_connection(address, timeout=10) for _ in range(5)]
        os.kill(os.getpid(), signal.SIGTERM)
        await ended.wait()
        answers = [await asyncio.to_thread(each.recv, 16) for each in knocking]
        try:
            with socket.create_connection(address, timeout=10):
                is_refused = False
        except ConnectionRefusedError:
            is_refused = True
        for each in knocking:
            each.close()
        server.close()
        return answers, is_refused

    assert asyncio.run(serve()) == ([b"let in"] * 5, True)
