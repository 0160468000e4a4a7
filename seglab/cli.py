"""``seglab COMMAND …``: parses the command line and calls the command. Imports no torch itself."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from seglab.errors import ConfigError, SeglabError, one_line
from seglab.printing import printable, printable_lines
from seglab.runtime import signals
from seglab.runtime.disk import explain
from seglab.runtime.import_path import add_import_path
from seglab.runtime.memory import keep_memory
from seglab.runtime.rank import world_size
from seglab.runtime.worker import end_with_starter

COMMANDS = {
    "train": "train a model: a run folder with checkpoints, metrics and pictures",
    "evaluate": "metrics of a checkpoint: checkpoint=FILE [split=val]",
    "predict": "class maps of photographs: checkpoint=FILE input=FILE_OR_DIR output=DIR",
    "export": "a model for other runtimes: checkpoint=FILE output=FILE.onnx|FILE.pt2",
    "soup": "the mean weights of several checkpoints: A.ckpt B.ckpt … output=FILE.ckpt",
    "score": "metrics of PNG class maps, no model needed: predictions=DIR [data=… split=val]",
    "compare": "a table and a page of several runs: DIR [DIR …] [--output DIR] [--format …]",
    "data": "a data set: synth | show | check | stats | import | download",
    "workspace": "the view and the report of a W&B project: logger.project=… [logger.entity=…]",
    "init": "write a folder with an experiment, a net, a loss and a test to start from: DIR",
}

OVERRIDES = """\
key=value sets a value, group=option picks a file of conf/ (Hydra's syntax):
  experiments=smoke            a recipe from experiments/
  data=voc2007 data.root=DIR   the data set, and the folder that holds VOC2007/
  optimizer.lr=0.1 seed=1      any value; for an unknown name the nearest are listed
  hydra.run.dir=DIR            where the results go
"""

ACTIONS = """\
synth      write the built-in data set: [data.root=DIR] [data.synth.seed=0 …]
show       draw a sample: data=voc2007 data.root=DIR [split=train index=0 output=FILE.png]
check      read everything and list every problem: data=voc2007 data.root=DIR
stats      sizes, pixels, objects, values; a page with pictures: data=voc2007 data.root=DIR
           [output=FILE.html]
import     write VOC's layout: SRC output=DIR, a folder of VOC's, CVAT's, labelme's or COCO's
           layout, or of images beside masks
download   fetch VOC's archive, checksum and all: year=2012 data.root=DIR
"""

COMPARED = """\
A DIR is a run folder, a sweep, or a folder of them. Printed: a table of the runs by mIoU with the
settings that differ, mean and standard deviation over seeds, the differences to the best run on
the same images, and what each setting explains. Written: compare.html, which needs no network, and
compare.csv. --format prints a table alone.
"""

SOUP = """\
The checkpoints must be of one model, such as the seeds of a recipe that starts from published
weights. Weights of nets trained from nothing have no meaningful mean.
"""

EPILOGS = {"init": None, "soup": SOUP, "data": f"{ACTIONS}\n{OVERRIDES}", "compare": COMPARED}


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors as ConfigError."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def parser(command: str) -> argparse.ArgumentParser:
    """Build the parser of one command."""
    built = _Parser(
        prog=f"seglab {command}",
        usage="seglab soup FILE FILE … output=FILE.ckpt" if command == "soup" else None,
        description=COMMANDS[command],
        epilog=EPILOGS.get(command, OVERRIDES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if command == "train":
        text = "show the whole configuration and what would run where, and stop"
        built.add_argument("--dry-run", action="store_true", help=text)
        text = "a sweep: one run for each combination of values, such as seed=0,1,2 model=a,b"
        built.add_argument("-m", "--multirun", action="store_true", help=text)
    if command == "predict":
        text = "also write output/probabilities/ID.npz: float16, a class a channel"
        built.add_argument("--probabilities", action="store_true", help=text)
        text = "write the class maps alone, without pictures to look at"
        built.add_argument("--no-overlays", action="store_true", help=text)
    if command == "data":
        built.add_argument(
            "action", choices=("synth", "show", "check", "stats", "import", "download")
        )
    if command == "init":
        built.add_argument("folder", metavar="DIR", help="a new folder, or an empty one")
    elif command == "soup":
        text = "checkpoints of seglab, or wandb:ENTITY/PROJECT/ARTIFACT:best"
        built.add_argument("files", nargs="*", metavar="FILE", help=text)
    elif command == "compare":
        text = "where compare.html and compare.csv go; without it, here"
        built.add_argument("folders", nargs="+", metavar="DIR", help="runs, or folders of them")
        built.add_argument("--output", metavar="DIR", default=".", help=text)
        text = "print only a table for papers or programs, and write no files"
        names = ("markdown", "latex", "csv", "json")
        built.add_argument("--format", choices=names, default=None, help=text)
    else:
        built.add_argument("overrides", nargs="*", metavar="key=value")
    return built


def usage() -> str:
    """Return the help of ``seglab`` itself."""
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    head = "usage: seglab COMMAND [key=value …]\n\nImage segmentation whose numbers can be trusted."
    return "\n".join([head, "", "commands:", *lines, "", OVERRIDES, "seglab COMMAND --help: more"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 finished, 2 wrong usage or config, 130 or 143 interrupted (SIGINT, SIGTERM), 1 anything else.
    """
    with signals.handlers():
        try:
            return _run(arguments)
        finally:
            # After an interrupt inside exec() or eval() of a text, as where a dataclass is made,
            # Python takes it for not handled, and `python -m` would end by the signal. Another
            # eval() resets that.
            eval("None")


def _run(arguments: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] in (["--help"], ["-h"]):
        print(usage())
        return 0
    try:
        command = arguments[0] if arguments else None
        if command not in COMMANDS:
            problem = f"no command {command!r}" if arguments else "no command given"
            raise ConfigError(f"{problem}; available: {', '.join(COMMANDS)}")
        if world_size() > 1:
            check_ranks(command, arguments)
            end_with_starter()
        options = vars(parser(command).parse_intermixed_args(arguments[1:]))
        keep_memory()
        # Others look at data and checkpoints, which could bring a module; the data set of one's
        # own is named here.
        if command == "train" or any("data.dataset._target_=" in one for one in arguments):
            add_import_path(Path.cwd())
        import_module(f"seglab.commands.{command}").main(**options)
        sys.stdout.flush()  # an error of a pipe or a disk is one of the command
    except SystemExit as stop:  # argparse has shown the help
        return int(stop.code or 0)
    except SeglabError as error:
        _show(error)
        return error.exit_code
    except KeyboardInterrupt as interruption:
        return _interrupted(interruption)
    except Exception as error:
        if signals.received():  # an interrupted import can raise anything
            return _interrupted(signals.interruption())
        if isinstance(error, BrokenPipeError):  # of `seglab … | head`: nobody reads on
            _leave_stdout()
            return 1
        if isinstance(error, OSError) and (explained := explain(error)) is not None:
            _show(explained)
            return explained.exit_code
        # a bug in seglab: traceback, then one summary line
        print(printable_lines(traceback.format_exc().rstrip()), file=sys.stderr)
        _show(f"{type(error).__name__}: {error}")
        return 1
    return 0


def _leave_stdout() -> None:
    """Send what is left for stdout nowhere, or Python would complain when it exits.

    https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    with suppress(OSError, ValueError):  # a test's stdout is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_ranks(command: str, arguments: Sequence[str]) -> None:
    """Check a command that torchrun has started as several processes.

    Raises:
        ConfigError: it runs in one process, as a sweep does.
    """
    if command not in ("train", "evaluate") or {"-m", "--multirun"} & {*arguments}:
        what = "a sweep" if command == "train" else command
        raise ConfigError(
            f"torchrun has started {world_size()} processes, and {what} runs in one: start it "
            "without torchrun"
        )


def _interrupted(error: KeyboardInterrupt) -> int:
    hint = f"; {error}" if error.args else ""
    print(printable(f"seglab: interrupted{hint}"), file=sys.stderr)
    return signals.exit_code(error)


def _show(error: Exception | str) -> None:
    print(printable(f"seglab: error: {one_line(error)}"), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
