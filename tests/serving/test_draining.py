"""The door of a server, without BentoML around it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from serving.draining import refuse_connections_when_told_to_end
from serving.launch import free_port


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


# A worker that starts: it says so, and its models take until somebody removes the file.
STARTING = """
import asyncio, pathlib, socket, sys
import uvicorn
from serving.draining import refuse_connections_when_told_to_end

loading = pathlib.Path(sys.argv[2])

async def application(scope, receive, send):
    watches_at_once = sys.argv[3] == "watching"
    if watches_at_once:
        refuse_connections_when_told_to_end()
    print("starting", flush=True)
    while loading.exists():
        await asyncio.sleep(0.01)
    if not watches_at_once:
        refuse_connections_when_told_to_end()
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})

config = uvicorn.Config(application, lifespan="on", log_config=None)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@pytest.mark.parametrize("moment", ["watching", "not yet watching"])
def test_a_worker_that_still_starts_does_not_open_what_another_has_shut(
    moment: str, tmp_path: Path
) -> None:
    loading = tmp_path / "loading"
    loading.touch()
    # A port of one's own choice, as services have: the kernel takes one that it chose itself back.
    address = ("127.0.0.1", free_port())
    with socket.create_server(address) as shared:
        number = shared.fileno()
        command = [sys.executable, "-c", STARTING, str(number), str(loading), moment]
        with subprocess.Popen(command, pass_fds=[number], stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"starting\n"
            shared.shutdown(socket.SHUT_RD)
            worker.send_signal(signal.SIGTERM)
            loading.unlink()
            assert worker.wait(30) == -signal.SIGTERM

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=10)
