"""The worker process, which imports torch and Lightning once and forks a child for each job.

Importing torch and Lightning takes 3 to 6 CPU seconds, but a fork of the worker takes only some
hundredths of a second. Snakemake's main process starts the worker. The worker's client is the
command `lookback STAGE`, which sends its arguments, working directory, environment variables and
open files to the worker over a socket, and waits for the exit status. If there is no worker, or if
the worker does not answer, the command runs in its own process. The results are equal with and
without a worker, but without a worker each command starts more slowly.

The worker computes nothing itself, so that no thread pool and no CUDA context exists when it forks.
The worker ends when Snakemake's main process ends, because the pipe between the two processes
closes. A forked job ends when its client is killed.
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

SOCKET = "LOOKBACK_WORKER"  # environment variable that holds the path of the worker's socket
LONGEST = 103  # maximum length of a socket's path, in bytes (macOS: 103, Linux: 107)
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
    """Let the worker run a command, and return the command's exit status.

    The result is None if there is no worker, if the worker does not answer, or if the command is
    not a stage. If the result is None, the caller must run the command itself.
    """
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
        if not accepted:  # the worker could not start the job
            return None
        try:
            status = _exit_status(client)
        except ConnectionResetError:
            status = b""
    if status:
        return status[0]
    print(f"lookback: the process of `lookback {words[0]}` was killed.", file=sys.stderr)
    return 1


def _exit_status(client: socket.socket) -> bytes:
    """Wait until the job ends, and return its exit status as one byte.

    The result is empty if the job was killed before it sent its exit status.
    After Ctrl-C the client still waits, because the job would be killed if the client ended.
    """
    try:
        return client.recv(1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return client.recv(1)


def serve(address: Path, parent: int) -> None:
    """Accept jobs at the socket `address`, until Snakemake's process closes the pipe `parent`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C interrupts the jobs, but not the worker
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        server.listen(128)
        _import_all()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes ended child processes
        watched = [server.fileno(), parent]
        while parent not in (ready := select.select(watched, [], [])[0]):
            if ready:
                _fork_for(server)
    address.unlink(missing_ok=True)


def _fork_for(server: socket.socket) -> None:
    """Accept the connection of one client, and fork a child process that runs the client's job."""
    connection, _ = server.accept()
    with connection:
        try:
            if os.fork() == 0:
                server.close()
                _child(connection)
        except OSError:
            return  # if the fork fails, the socket closes and the client runs the job itself


def _import_all() -> None:
    """Import the modules of all stages, and let numba set up its compiler."""
    from importlib import import_module

    import numpy as np

    for module in IMPORTS:
        import_module(module)
    # Call numba once before any fork, so that no child spends half a second to set up LLVM.
    from lookback.kernels.product import pack

    pack(np.zeros((1, 8), np.float32), np.empty(8, np.float32))


def _child(connection: socket.socket) -> None:
    """Run one job, send its exit status to the client, and end this process.

    The function never returns.
    """
    try:
        words = _accept(connection)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the client received no byte, so it runs the job itself
    status = 1
    try:
        threading.Thread(target=_end_with_client, args=(connection,), daemon=True).start()
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
    """Adopt the client's working directory, environment and open files. Return its arguments."""
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
    sys.stdin, sys.stdout = open(0), open(1, "w", errors="replace")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    words: list[str] = request["words"]
    connection.sendall(b"\x01")
    return words


def _exactly(connection: socket.socket, size: int) -> bytes:
    """Read `size` bytes from the client.

    Raises EOFError if the client closes the connection before `size` bytes have arrived.
    """
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise EOFError("the client closed the connection")
        content += part
    return content


def _end_with_client(connection: socket.socket) -> None:
    """Kill this process as soon as the connection to its client closes.

    A connection that closes before the job ends means that the client was killed.
    """
    try:
        alive = bool(connection.recv(1))
    except OSError:
        alive = False
    if not alive:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.stdin.fileno())
