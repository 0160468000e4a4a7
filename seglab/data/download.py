"""Downloads a VOC archive, verifies it and moves it into place atomically."""

from __future__ import annotations

import shutil
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.error import HTTPError

from seglab.errors import ConfigError, DataError, RunError
from seglab.runtime.links import refuse_links
from seglab.runtime.private_folders import check_made

YEARS = range(2007, 2013)
"""The years of PASCAL VOC that have segmentations."""

PATIENCE = 60.0
"""Seconds without a byte after which a server counts as unreachable."""


class Source(NamedTuple):
    """The URL of a year's archive, its checksum, and the wanted folder in it."""

    url: str
    md5: str
    base_dir: str
    """``VOCdevkit/VOC2012``, with slashes."""


def download_voc(
    root: Path, year: int, *, base_url: str | None = None, source: Source | None = None
) -> Path:
    """Fetch VOC's training and validation data of a year and return its folder ``root/VOC<year>``.

    Works in the private folder ``root/.download-<year>`` and moves the finished folder into place
    in one step. A complete archive already there, from an earlier attempt or placed by hand, is
    reused; nothing is written through a link. If ``root/VOC<year>`` already contains segmentations,
    nothing is downloaded or changed.

    Args:
        root: the folder that contains ``VOC2007`` and other years; created if missing.
        year: 2007 to 2012.
        base_url: of a mirror that has the archives under their usual names.
        source: the archive; by default torchvision's address and checksum of that year.

    Raises:
        ConfigError: there is no such year.
        DataError: the server or the disk fails, the checksum is wrong, the archive contains unsafe
            members or lacks the wanted folder, or ``root/VOC<year>`` is something else;
            ``root/.download-<year>`` belongs to another user, or is or contains a link.
    """
    if year not in YEARS:
        raise ConfigError(f"year={year}: VOC has segmentations for {YEARS[0]} to {YEARS[-1]}")
    target = root / f"VOC{year}"
    if (target / "ImageSets" / "Segmentation").is_dir():
        return target
    if target.exists():
        raise DataError(
            f"{target}: exists without ImageSets/Segmentation; move it away to download it again"
        )
    if not hasattr(tarfile, "data_filter"):
        raise DataError(f"{target}: to unpack an archive safely takes Python 3.11.4 or newer")
    url, md5, base_dir = source or _torchvision_source(year)
    name = PurePosixPath(url).name
    if base_url is not None:
        url = f"{base_url.rstrip('/')}/{name}"

    work = root / f".download-{year}"
    archive, unpacked = work / name, work / "unpacked"
    _check_work(work)
    try:
        work.mkdir(parents=True, exist_ok=True)
        work.chmod(0o700)
        shutil.rmtree(unpacked, ignore_errors=True)  # left by a killed attempt
        _fetch(url, md5, archive)
        try:
            _unpack(archive, unpacked)
            if not (unpacked / base_dir / "ImageSets" / "Segmentation").is_dir():
                raise DataError(f"{url}: the archive has no {base_dir}/ImageSets/Segmentation")
            (unpacked / base_dir).replace(target)
        except DataError:
            archive.unlink()  # it cannot be repaired
            raise
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{root}: VOC{year} cannot be written there ({error})") from error
    finally:
        if work.is_dir() and not any(work.iterdir()):
            work.rmdir()
    shutil.rmtree(work, ignore_errors=True)
    return target


def _check_work(work: Path) -> None:
    """Check an existing working folder: a root received from others may contain one with links.

    Raises:
        DataError: it is or contains a link, or belongs to another user.
    """
    check_made(work, "give another data.root")
    try:
        refuse_links(work)
    except RunError as error:
        raise DataError(f"{error}; delete it") from None


def _torchvision_source(year: int) -> Source:
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    entry = DATASET_YEAR_DICT[str(year)]
    return Source(entry["url"], entry["md5"], Path(entry["base_dir"]).as_posix())


def _fetch(url: str, md5: str, archive: Path) -> None:
    """Download with torchvision's loader, which shows progress, unless the archive is complete."""
    from torchvision.datasets.utils import check_integrity, download_url

    by_hand = f"; an archive fetched by other means may be put at {archive}"
    if archive.exists():
        if check_integrity(archive, md5):
            return
        archive.unlink()  # the loader would write into it, and it may be a hard link
    whole = False
    try:
        with _patience(PATIENCE):
            download_url(url, archive.parent, archive.name, md5)
        whole = True
    except (OSError, HTTPException, RecursionError) as error:  # the last: too many redirects
        if isinstance(error, HTTPError):
            error.close()  # it contains the server's response, an open socket
        raise DataError(f"{url}: cannot be downloaded ({error}){by_hand}") from error
    except RuntimeError as error:
        raise DataError(
            f"{url}: the download does not have the checksum {md5}; try again"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{url}: not a valid URL ({error})") from error
    finally:
        if not whole:
            archive.unlink(missing_ok=True)


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Set a timeout: torchvision's loader has none of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unpack(archive: Path, folder: Path) -> None:
    """Extract regular files and folders only, and nothing outside ``folder``."""
    from rich.console import Console
    from rich.progress import open as open_with_progress

    def plain(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        if not (member.isfile() or member.isdir()):
            raise DataError(f"{archive}: {member.name!r} is neither a file nor a folder; refused")
        return tarfile.data_filter(member, path)

    try:
        with (
            open_with_progress(
                archive, "rb", description="unpack", console=Console(stderr=True)
            ) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            tar.extractall(folder, filter=plain)
    except tarfile.TarError as error:
        raise DataError(f"{archive}: cannot be unpacked ({error})") from error
