"""Downloads from real servers on loopback, with their faults."""

import errno
import gzip
import hashlib
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lookback.data import download
from lookback.errors import UserError
from lookback.storage.atomic import read_json, write_json

CONTENT = random.Random(0).randbytes(300_000)  # noise: gzip leaves its size as it is
PACKED = gzip.compress(CONTENT, mtime=0)
PACKED_OTHERWISE = gzip.compress(CONTENT, compresslevel=1, mtime=1)
EXPECTED = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
OUT = Path("results/data/noise/manifest.json")
TARGET = OUT.with_name("noise.bin")
PART = OUT.with_name("noise.bin.gz.part")


def fetch(*mirrors, files=None):
    """Run the stage on the dataset «noise», in the project."""
    dataset = {"name": "noise", "mirrors": mirrors, "files": files or {"noise.bin.gz": EXPECTED}}
    write_json("results/.plan/download/0123.yaml", {"stage": "download", "dataset": dataset})
    download.main(Path("results/.plan/download/0123.yaml"), OUT)


def begin_part(content):
    PART.parent.mkdir(parents=True, exist_ok=True)
    PART.write_bytes(content)


def folder_with(folder, name="noise.bin.gz", content=PACKED):
    folder.mkdir()
    (folder / name).write_bytes(content)
    return folder.as_uri()


def test_a_served_file_arrives_unpacked_and_the_manifest_names_it(project, serve):
    mirror = serve(PACKED)
    fetch(mirror.address)
    assert TARGET.read_bytes() == CONTENT
    assert not PART.exists()
    assert read_json(OUT) == {
        "plans": {"download": "0123"},
        "dataset": "noise",
        "files": {"noise.bin": {"size": len(CONTENT), "digest": EXPECTED["sha256"]}},
    }


def test_a_server_that_unpacks_on_the_way_is_as_good(project, serve):
    fetch(serve(CONTENT).address)
    assert TARGET.read_bytes() == CONTENT


def test_a_checksum_in_capital_letters_is_the_same_checksum(project, serve, monkeypatch):
    monkeypatch.setitem(EXPECTED, "sha256", EXPECTED["sha256"].upper())
    mirror = serve(PACKED)
    fetch(mirror.address)
    assert TARGET.read_bytes() == CONTENT
    fetch(mirror.address)
    assert len(mirror.asked) == 1


def test_a_verified_file_is_kept_and_no_mirror_asked(project, serve):
    fetch(serve(PACKED).address)
    mirror = serve(PACKED)
    fetch(mirror.address)
    assert mirror.asked == []


@pytest.mark.parametrize("damaged", [CONTENT[:-1], CONTENT[:-1] + b"?"], ids=["short", "flipped"])
def test_a_damaged_file_is_fetched_again(project, serve, damaged):
    TARGET.parent.mkdir(parents=True)
    TARGET.write_bytes(damaged)
    fetch(serve(PACKED).address)
    assert TARGET.read_bytes() == CONTENT


def test_a_cut_download_is_resumed_from_its_last_byte(project, serve):
    with pytest.raises(UserError, match="connection closed after 100,000 of "):
        fetch(serve(PACKED, cut_after=100_000).address)
    assert PART.read_bytes() == PACKED[:100_000]
    assert not TARGET.exists()
    assert not OUT.exists()

    mirror = serve(PACKED)
    fetch(mirror.address)
    assert mirror.asked == ["bytes=100000-"]
    assert TARGET.read_bytes() == CONTENT


def test_the_next_mirror_goes_on_where_the_first_was_cut(project, serve):
    second = serve(PACKED)
    fetch(serve(PACKED, cut_after=5_000).address, second.address)
    assert second.asked == ["bytes=5000-"]
    assert TARGET.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("part", "faults", "requests"),
    [
        (PACKED[:9_000], {"ranges": False}, 1),  # the whole file comes instead
        (PACKED_OTHERWISE[:9_000], {}, 2),  # the joined file fails its check
        (PACKED[:9_000], {"range_shift": 7}, 2),  # so does one with a gap
        (PACKED, {}, 2),  # nothing is left to ask for: 416
        (PACKED + b"?", {}, 2),
    ],
    ids=["no ranges", "other packing", "wrong range", "complete", "too long"],
)
def test_a_part_that_cannot_be_resumed_is_discarded(project, serve, part, faults, requests):
    begin_part(part)
    mirror = serve(PACKED, **faults)
    fetch(mirror.address)
    assert mirror.asked == [f"bytes={len(part)}-", None][:requests]
    assert TARGET.read_bytes() == CONTENT
    assert not PART.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>please log in</html>", "the content has 26 bytes, not 300,000"),
        (gzip.compress(CONTENT[::-1]), "the content has SHA-256 [0-9a-f]{64}"),
        (gzip.compress(CONTENT + b"?"), "the content is larger than 300,000 bytes"),
        (PACKED[:-1_000], "ended before the end-of-stream"),
        (PACKED[:500] + bytes(500) + PACKED[1_000:], "."),
        (gzip.compress(bytes(10_000_000)), "the content is larger than 300,000 bytes"),
        (random.Random(1).randbytes(2_000_000), "the content is larger than 300,000 bytes"),
    ],
    ids=["page", "other", "longer", "truncated", "damaged", "bomb", "endless"],
)
def test_wrong_bytes_are_refused_and_the_next_mirror_serves(project, serve, content, reason):
    wrong, right = serve(content), serve(PACKED)
    with pytest.raises(UserError, match=reason):
        fetch(wrong.address)
    assert sorted(path.name for path in OUT.parent.iterdir()) == [".lock"]

    fetch(wrong.address, right.address)
    assert right.asked == [None]
    assert TARGET.read_bytes() == CONTENT


def test_when_none_serves_one_mistake_names_each_mirror_its_reason_and_the_cure(project, serve):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}"
    mirrors = {
        closed: "Connection refused",
        serve(b"", status=404).address: "HTTP 404 Not Found",
        serve(b"", status=503).address: "HTTP 503 Service Unavailable",
        (project / "nowhere").as_uri(): "No such file or directory",
        "package:no_such_package/data": "no package 'no_such_package' is installed here",
        "package:os.path/data": "no package 'os.path' is installed here",
        "package:sklearn/nowhere": "No such file or directory",
        "ftp://127.0.0.1/": "a mirror starts with https://, http://, file:// or package:",
        "http://127.0.0.1:port": "nonnumeric port: 'port'",
    }
    with pytest.raises(UserError) as caught:
        fetch(*mirrors)
    for mirror, reason in mirrors.items():
        assert f"{mirror}: {reason}\n" in str(caught.value)
    assert "Add a mirror to conf/dataset/noise.yaml" in str(caught.value)
    assert "file:///" in str(caught.value)


def test_a_mirror_that_an_unset_variable_left_empty_is_skipped(project, serve):
    fetch(None, "", serve(PACKED).address)
    assert TARGET.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "reason"),
    [({"pause_after": 1_000}, "timed out after 1,000 bytes"), ({"trickle": True}, "too slow")],
    ids=["silent", "trickling"],
)
def test_a_mirror_that_stalls_is_left(project, serve, monkeypatch, fault, reason):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with pytest.raises(UserError, match=reason):
        fetch(serve(PACKED, **fault).address)
    PART.unlink()
    fetch(serve(PACKED, **fault).address, serve(PACKED).address)
    assert TARGET.read_bytes() == CONTENT


def test_a_mirror_that_sends_far_too_much_is_left_early(project, serve):
    mirror = serve(b"", flood=True)
    with pytest.raises(UserError, match="larger than 300,000 bytes"):
        fetch(mirror.address)
    assert mirror.sent < 5e7  # what the sockets held, not all of 10⁸


def test_a_server_that_never_answers_is_left(project, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(UserError, match="timed out"),
    ):
        fetch(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_a_folder_serves_packed_and_plain_files(project):
    fetch(folder_with(project / "a mirror with spaces"))
    assert TARGET.read_bytes() == CONTENT
    plain = folder_with(project / "plain", "other.bin", CONTENT)
    fetch(plain, files={"other.bin": EXPECTED})
    assert OUT.with_name("other.bin").read_bytes() == CONTENT


def test_a_package_serves_its_files_without_being_imported(project):
    """The package raises when imported, in a process of its own."""
    package = project / "library" / "explosive"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    folder_with(package / "data")
    dataset = {"name": "noise", "mirrors": ["package:explosive.data/", "package:explosive/data"]}
    write_json("plan.yaml", {"dataset": {**dataset, "files": {"noise.bin.gz": EXPECTED}}})
    program = (
        "from pathlib import Path; from lookback.data import download;"
        f"download.main(Path('plan.yaml'), Path('{OUT}'))"
    )
    path = os.pathsep.join([str(package.parent), *filter(None, sys.path)])
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert TARGET.read_bytes() == CONTENT


@pytest.mark.parametrize("stage", ["receiving", "unpacking"])
def test_a_full_disk_is_not_blamed_on_the_mirror(project, serve, stage):
    """/dev/full takes the place of the file that is written."""
    temporary = TARGET.with_name(f".noise.{os.getpid()}.bin")
    begin_part(b"")
    PART.unlink()
    (PART if stage == "receiving" else temporary).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(serve(PACKED).address)
    assert caught.value.errno == errno.ENOSPC
    assert not TARGET.exists()


def test_a_file_without_a_checksum_is_a_mistake(project):
    with pytest.raises(
        UserError, match=r"noise\.bin\.gz in conf/dataset/noise\.yaml .* It has: size"
    ):
        fetch("file:///", files={"noise.bin.gz": {"size": 3}})


def test_two_downloads_at_once_fetch_the_file_once(project, serve):
    """Two processes; the mirror is asked once."""
    mirror = serve(PACKED)
    dataset = {"name": "noise", "mirrors": [mirror.address]}
    write_json("plan.yaml", {"dataset": {**dataset, "files": {"noise.bin.gz": EXPECTED}}})
    program = (
        "from pathlib import Path; from lookback.data import download;"
        f"download.main(Path('plan.yaml'), Path('{OUT}'))"
    )
    path = os.pathsep.join(filter(None, sys.path))
    command, environment = [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": path}
    running = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert mirror.asked == [None]
    assert TARGET.read_bytes() == CONTENT
