"""``seglab data synth | show | check | stats | import | download``: one function for each."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from seglab.config.compose import compose
from seglab.errors import ConfigError, DataError
from seglab.printing import print_plain
from seglab.schema import DataCommandConfig

if TYPE_CHECKING:
    from seglab.data.prefetch import Progress


def main(overrides: list[str], action: str) -> None:
    """Run one of the actions.

    Raises:
        SeglabError: names the wrong key or file, and what would be right.
    """
    if action == "import":
        from seglab.commands import importing

        importing.main(overrides, Console())
        return
    config = compose("data", DataCommandConfig, overrides).config
    actions = {"synth": synth, "show": show, "check": check, "stats": stats, "download": download}
    actions[action](config, Console())


def synth(config: DataCommandConfig, console: Console) -> None:
    """Write the built-in data set to ``data.root``, or to the user's cache folder."""
    from seglab.data import synthetic

    if config.data.synth is None:
        raise ConfigError(f"data={config.data.name}: only data=synthetic can be made")
    spec = synthetic.SyntheticSpec(**vars(config.data.synth))
    root = Path(config.data.root) if config.data.root else synthetic.default_root(spec)
    exists = (root / "VOC2007").is_dir()
    synthetic.ensure(root, spec)
    text = "existed already" if exists else f"{spec.train} training, {spec.val} validation images"
    print_plain(f"{root}: {text}", console)
    if config.data.root is None:
        print_plain("this is the cache; give data.root=DIR for a folder of your choice", console)


def show(config: DataCommandConfig, console: Console) -> None:
    """Draw sample ``index`` of ``split``: image and boxes, class map, instances, legend."""
    from seglab.data.layouts.opening import check_lists

    split = config.data.split_name(config.split)
    check_lists(config.data, split)
    from seglab.data.dataset import open_dataset

    dataset = open_dataset(config.data, split)
    if config.index >= len(dataset):
        raise ConfigError(
            f"index={config.index}: {dataset.list_file} has {len(dataset)} samples, "
            f"so 0 to {len(dataset) - 1}"
        )
    if dataset.instance_source(config.index) is not None:
        dataset = open_dataset(config.data, split, instances=True)
    sample = dataset[config.index]
    height, width = sample.size
    title = f"{config.data.name} {split}[{config.index}]  ·  {sample.id}  ·  {width}x{height}"
    picture = sample.show(title)
    path = Path(config.output or f"sample_{sample.id.replace('/', '_')}.png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"output={path}: cannot be written: {error}") from None
    print_plain(str(path), console)


def check(config: DataCommandConfig, console: Console) -> None:
    """Read every sample of both splits, masks, instances and annotations, and list each problem."""
    from seglab.data.check import DataCheck
    from seglab.data.layouts.opening import check_lists
    from seglab.runtime.progress_bar import CheckProgress

    progress: Progress | None = None
    for split in dict.fromkeys(config.data.split_name(name) for name in ("train", "val")):
        with suppress(DataError):  # listed below
            check_lists(config.data, split)
            progress = CheckProgress(console)
    checking = DataCheck(config.data, progress) if progress else DataCheck(config.data)
    count = 0
    for count, problem in enumerate(checking.problems(), 1):  # noqa: B007
        print_plain(problem, console)
    for note in checking.notes:
        print_plain(f"note: {note}", console)
    if count:
        raise DataError(
            f"{count} problem{'s' * (count > 1)} in data={config.data.name}, listed above"
        )
    console.print("no problem found")


def stats(config: DataCommandConfig, console: Console) -> None:
    """Count pixels, objects and values of both splits; see :mod:`seglab.commands.stats`."""
    from seglab.commands import stats

    stats.stats(config, console)


def download(config: DataCommandConfig, console: Console) -> None:
    """Fetch the archive of VOC ``year`` into ``data.root``."""
    from seglab.data.download import download_voc

    if config.data.root is None:
        raise ConfigError("data.root is not set: give data.root=DIR, the folder for VOC")
    path = download_voc(Path(config.data.root), config.year)
    print_plain(str(path), console)
