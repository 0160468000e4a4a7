"""Fetching VOC: what arrives is checked and whole, and a failure leaves nothing in its place."""

import errno
import hashlib
import io
import os
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seglab.data import download
from seglab.data.download import Source, download_voc
from seglab.errors import ConfigError, DataError

pytestmark = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="archives are unpacked from Python 3.11.4 on"
)

LIST = "ImageSets/Segmentation/train.txt"


class Server:
    """Serves ``files`` (path -> bytes) on the loopback interface and counts what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.path)
                body = owner.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if owner.cut else body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def offer(self, archive: bytes, base_dir: str, name: str = "voc.tar") -> Source:
        self.files[f"/{name}"] = archive
        return Source(f"{self.url}/{name}", hashlib.md5(archive).hexdigest(), base_dir)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def tar(*files: str, link: tuple[str, str] | None = None) -> bytes:
    """An archive of small files, each with its own name as its content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        if link is not None:
            member = tarfile.TarInfo(link[0])
            member.type, member.linkname = tarfile.SYMTYPE, link[1]
            archive.addfile(member)
        for name in files:
            member = tarfile.TarInfo(name)
            member.size = len(name.encode())
            archive.addfile(member, io.BytesIO(name.encode()))
    return stream.getvalue()


def special(kind: bytes, name: str = "VOCdevkit/x", target: str = "") -> bytes:
    """An archive of a list and of something that is no plain file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        member.devmajor, member.devminor = 1, 3
        archive.addfile(member)
        archive.addfile(tarfile.TarInfo(f"VOCdevkit/VOC2007/{LIST}"))
    return stream.getvalue()


def tree(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("year", "base_dir"), [(2012, "VOCdevkit/VOC2012"), (2011, "TrainVal/VOCdevkit/VOC2011")]
)
def test_the_year_lands_beneath_the_root(
    server: Server, tmp_path: Path, year: int, base_dir: str
) -> None:
    root = tmp_path / "made" / "on the way"
    source = server.offer(tar(f"{base_dir}/{LIST}", f"{base_dir}/JPEGImages/a.jpg"), base_dir)
    assert download_voc(root, year, source=source) == root / f"VOC{year}"
    assert tree(root) == [f"VOC{year}/{LIST}", f"VOC{year}/JPEGImages/a.jpg"]
    assert (root / f"VOC{year}" / LIST).read_text() == f"{base_dir}/{LIST}"
    assert [p.name for p in root.iterdir()] == [f"VOC{year}"]


def test_a_second_call_touches_nothing_and_asks_nobody(server: Server, tmp_path: Path) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    folder = download_voc(tmp_path, 2007, source=source)
    (folder / "notes.txt").write_text("mine")
    asked, before = len(server.asked), (folder / LIST).stat().st_mtime_ns
    assert download_voc(tmp_path, 2007, source=source) == folder
    assert len(server.asked) == asked
    assert (folder / LIST).stat().st_mtime_ns == before
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_mirror_serves_the_same_archive(server: Server, tmp_path: Path) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    elsewhere = source._replace(url="http://127.0.0.1:1/pascal/voc.tar")
    download_voc(tmp_path, 2007, base_url=server.url + "/", source=elsewhere)
    assert (tmp_path / "VOC2007" / LIST).is_file()


def test_sources_come_from_torchvision() -> None:
    for year in download.YEARS:
        url, md5, base_dir = download._torchvision_source(year)
        assert url.startswith("https://")
        assert f"voc{year}" in url
        assert len(md5) == 32
        assert base_dir.endswith(f"VOCdevkit/VOC{year}")


@pytest.mark.parametrize("year", [2006, 2013, 12])
def test_a_year_without_segmentations(tmp_path: Path, year: int) -> None:
    with pytest.raises(ConfigError, match=f"year={year}.*2007 to 2012"):
        download_voc(tmp_path / "root", year)
    assert not (tmp_path / "root").exists()


def test_a_wrong_checksum_leaves_nothing_and_a_retry_works(server: Server, tmp_path: Path) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    good = server.files["/voc.tar"]
    server.files["/voc.tar"] = good + b"more"
    with pytest.raises(DataError, match=f"voc.tar.*checksum {source.md5}"):
        download_voc(tmp_path, 2007, source=source)
    assert list(tmp_path.iterdir()) == []
    server.files["/voc.tar"] = good
    assert download_voc(tmp_path, 2007, source=source).is_dir()


def test_a_connection_cut_halfway_leaves_nothing(server: Server, tmp_path: Path) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    server.cut = True
    with pytest.raises(DataError, match="checksum"):
        download_voc(tmp_path, 2007, source=source)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_archive(server: Server, tmp_path: Path) -> None:
    source = Source(f"{server.url}/gone.tar", "0" * 32, "VOCdevkit/VOC2007")
    with pytest.raises(DataError, match=r"gone\.tar: cannot be downloaded \(HTTP Error") as caught:
        download_voc(tmp_path, 2007, source=source)
    assert str(tmp_path / ".download-2007" / "gone.tar") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as held:  # bound but not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/voc.tar"
        with pytest.raises(DataError, match=r"voc\.tar: cannot be downloaded"):
            download_voc(tmp_path, 2007, source=Source(url, "0" * 32, "VOCdevkit/VOC2007"))
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/voc.tar"
        with pytest.raises(DataError, match="timed out"):
            download_voc(tmp_path, 2007, source=Source(url, "0" * 32, "VOCdevkit/VOC2007"))
    assert socket.getdefaulttimeout() is None
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_that_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a valid URL"):
        download_voc(tmp_path, 2007, base_url="mirror", source=Source("voc.tar", "0" * 32, "x"))
    assert list(tmp_path.iterdir()) == []


def test_an_archive_of_something_else(server: Server, tmp_path: Path) -> None:
    source = server.offer(tar("VOCdevkit/VOC2007/JPEGImages/a.jpg"), "VOCdevkit/VOC2007")
    with pytest.raises(DataError, match="no VOCdevkit/VOC2007/ImageSets/Segmentation"):
        download_voc(tmp_path, 2007, source=source)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "archive",
    [
        tar(f"VOCdevkit/VOC2007/{LIST}", "../evil"),
        tar(f"VOCdevkit/VOC2007/{LIST}", "VOCdevkit/../../../../evil"),
        tar(f"VOCdevkit/VOC2007/{LIST}", "out/evil", link=("out", "..")),
        tar(f"VOCdevkit/VOC2007/{LIST}", link=("VOCdevkit/passwd", "/etc/passwd")),
        special(tarfile.LNKTYPE, target="/etc/passwd"),
        special(tarfile.LNKTYPE, target="../../../../etc/passwd"),
        special(tarfile.SYMTYPE, name="VOCdevkit/VOC2007", target="../../.."),
        special(tarfile.CHRTYPE),
        special(tarfile.BLKTYPE),
        special(tarfile.FIFOTYPE),
        b"not an archive at all",
    ],
    ids=[
        *("parent", "deep parent", "link to parent", "absolute link", "hard link", "far hard link"),
        *("link in place of a folder", "character device", "block device", "pipe", "no tar"),
    ],
)
def test_an_unsafe_or_broken_archive_is_refused(
    server: Server, tmp_path: Path, archive: bytes
) -> None:
    root = tmp_path / "root"
    with pytest.raises(DataError, match=r"voc\.tar: .*(unpacked|refused)"):
        download_voc(root, 2007, source=server.offer(archive, "VOCdevkit/VOC2007"))
    assert [p.name for p in tmp_path.rglob("*")] == ["root"]


def test_an_absolute_name_stays_within_the_root(server: Server, tmp_path: Path) -> None:
    outside = tmp_path / "evil"
    archive = tar(f"VOCdevkit/VOC2007/{LIST}", str(outside))
    download_voc(tmp_path / "root", 2007, source=server.offer(archive, "VOCdevkit/VOC2007"))
    assert tree(tmp_path) == [f"root/VOC2007/{LIST}"]


def test_a_full_disk_keeps_the_archive_for_the_next_try(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "makefile", full)
        with pytest.raises(DataError, match=r"VOC2007 cannot be written there .*No space left"):
            download_voc(tmp_path, 2007, source=source)
    assert tree(tmp_path) == [".download-2007/voc.tar"]
    asked = len(server.asked)
    download_voc(tmp_path, 2007, source=source)
    assert len(server.asked) == asked
    assert tree(tmp_path) == [f"VOC2007/{LIST}"]


def test_a_rest_of_an_interrupted_try_is_no_obstacle(server: Server, tmp_path: Path) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    rest = tmp_path / ".download-2007" / "unpacked" / "VOCdevkit" / "VOC2007" / "JPEGImages"
    rest.mkdir(parents=True)
    (rest / "half.jpg").write_bytes(b"half")
    (tmp_path / ".download-2007" / "voc.tar").write_bytes(b"half")
    download_voc(tmp_path, 2007, source=source)
    assert tree(tmp_path) == [f"VOC2007/{LIST}"]


@pytest.mark.parametrize("name", ["", "voc.tar", "unpacked", "deep/down"])
@pytest.mark.parametrize("dangling", [False, True])
def test_nothing_is_written_through_a_link_in_a_received_root(
    server: Server, tmp_path: Path, name: str, dangling: bool
) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    victim = tmp_path / "victim"
    if not dangling:
        victim.mkdir()
        (victim / "precious").write_text("precious")
    target = victim / "precious" if name == "voc.tar" else victim
    link = tmp_path / "root" / ".download-2007" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    with pytest.raises(DataError, match=rf"{link}: .*link.*delete it") as caught:
        download_voc(tmp_path / "root", 2007, source=source)
    assert "\n" not in str(caught.value)
    assert tree(victim) == ([] if dangling else ["precious"])
    assert dangling or (victim / "precious").read_text() == "precious"
    assert victim.exists() is not dangling
    assert not server.asked


def test_a_hard_link_in_place_of_the_archive_is_not_written_into(
    server: Server, tmp_path: Path
) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "root/.download-2007").mkdir(parents=True)
    (tmp_path / "root/.download-2007/voc.tar").hardlink_to(tmp_path / "precious")
    download_voc(tmp_path / "root", 2007, source=source)
    assert (tmp_path / "precious").read_text() == "precious"
    assert tree(tmp_path / "root") == [f"VOC2007/{LIST}"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_working_folder_of_somebody_else_is_refused(server: Server, tmp_path: Path) -> None:
    source = server.offer(tar(f"VOCdevkit/VOC2007/{LIST}"), "VOCdevkit/VOC2007")
    (tmp_path / ".download-2007").mkdir()
    os.chown(tmp_path / ".download-2007", 12345, 12345)
    with pytest.raises(DataError, match=r"\.download-2007: owned by another user; delete it"):
        download_voc(tmp_path, 2007, source=source)


def test_a_folder_of_that_name_without_segmentations_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "VOC2007" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(DataError, match="VOC2007: exists without ImageSets/Segmentation"):
        download_voc(tmp_path, 2007, source=Source("http://127.0.0.1:1/x.tar", "0" * 32, "x"))
    assert [p.name for p in tmp_path.iterdir()] == ["VOC2007"]


def test_a_root_that_cannot_be_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "file"
    root.write_text("")
    with pytest.raises(DataError, match="file: VOC2007 cannot be written"):
        download_voc(root, 2007, source=Source("http://127.0.0.1:1/x.tar", "0" * 32, "x"))
