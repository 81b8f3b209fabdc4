"""A process that has imported everything once and forks a child for each job.

Importing torch and Lightning costs 3 to 6 CPU seconds a process; a fork of one that has them costs
some hundredths. The Snakefile's main process starts the server; `lookback STAGE` hands its
arguments, folder, environment and open files over a socket and waits for the exit status. Without a
server, or where it does not answer, the command runs in its own process: same numbers, only slower.

The server computes nothing, so no thread pool and no CUDA context exists when it forks. It ends
with its main process, known by a pipe; a child ends with its client, as that client's own process
would.
"""

import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path

SOCKET = "LOOKBACK_WORKER"  # the environment's name for the server's address
LONGEST = 103  # bytes of an address: 107 on Linux, fewer on macOS
STAGES = ("prepare", "tune", "train", "probe", "explain", "summarise", "report")
IMPORTS = (
    "lookback.training.tune",
    "lookback.probes.probe",
    "lookback.explain.explain",
    "lookback.summarise.summarise",
    "lookback.report.report",
    "lookback.kernels.layer",
)


def hand_over(words: Sequence[str]) -> int | None:
    """Have the server run a command; its exit status, or None where it must be run here."""
    address = os.environ.get(SOCKET)
    if not address or words[0] not in STAGES:
        return None
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(address)
            request = {
                "words": list(words),
                "folder": str(Path.cwd()),
                "environment": dict(os.environ),
            }
            content = json.dumps(request).encode()
            socket.send_fds(client, [len(content).to_bytes(8, "big")], [0, 1, 2])
            client.sendall(content)
            accepted = client.recv(1)
        except OSError:
            return None
        if not accepted:  # the server ended before it took the job
            return None
        try:
            status = _last_word(client)
        except ConnectionResetError:
            status = b""
    if status:
        return status[0]
    print(f"lookback: the process of `lookback {words[0]}` was killed.", file=sys.stderr)
    return 1


def _last_word(client: socket.socket) -> bytes:
    """The job's exit status; an interrupted job is waited for, since it ends with this client."""
    try:
        return client.recv(1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return client.recv(1)


def serve(address: Path, parent: int) -> None:
    """Accept jobs at `address` until the pipe `parent` is closed by its other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the jobs; the pipe ends this one
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen(128)
        _import_all()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children report by themselves
        watched = [server.fileno(), parent]
        while parent not in (ready := select.select(watched, [], [])[0]):
            if ready:
                _fork_for(server)
    address.unlink(missing_ok=True)


def _fork_for(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        try:
            if os.fork() == 0:
                server.close()
                _child(connection)
        except OSError:
            return  # no process to be had: the client sees the closed socket, and runs it itself


def _import_all() -> None:
    from importlib import import_module

    import numpy as np

    for module in IMPORTS:
        import_module(module)
    # numba's first call sets up LLVM, half a second: once here, and not in each job.
    from lookback.kernels.product import pack

    pack(np.zeros((1, 8), np.float32), np.empty(8, np.float32))


def _child(connection: socket.socket) -> None:
    """Run one job and leave; never returns."""
    try:
        words = _accept(connection)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # without a byte: the client runs it itself
    status = 1
    try:
        threading.Thread(target=_die_with, args=(connection,), daemon=True).start()
        from lookback.commands import dispatch

        status = dispatch.run(words, forked=True)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                status = status or 1
        try:
            connection.sendall(bytes([status]))
        finally:
            os._exit(status)


def _accept(connection: socket.socket) -> list[str]:
    """Become a process as the client's own would be; the words to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start, files, _, _ = socket.recv_fds(connection, 8, 3)
    request = json.loads(_exactly(connection, int.from_bytes(start, "big")))
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    words: list[str] = request["words"]
    connection.sendall(b"\x01")
    return words


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise EOFError("the client left")
        content += part
    return content


def _die_with(connection: socket.socket) -> None:
    """End at once when the client was killed: its own process would have been, too."""
    try:
        alive = bool(connection.recv(1))
    except OSError:
        alive = False
    if not alive:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdin.fileno())
