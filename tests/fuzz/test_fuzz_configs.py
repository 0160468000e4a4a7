"""Command lines, and configurations and run folders of strangers: used as they say, or refused."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from helpers.damage import damaged
from helpers.fuzzing import check_line, fuzzed, trying
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

import seglab.sweep.preflight  # noqa: F401 (torch takes seconds, of which no input is to blame)
from seglab.config.compose import compose
from seglab.config.overrides import dotted
from seglab.config.stored import override_stored
from seglab.config.trust import received_config
from seglab.errors import SeglabError
from seglab.report import build
from seglab.schema import TrainConfig, check_values

PLAIN = compose("train", TrainConfig, ["callbacks=ema"]).plain
CONFIG = OmegaConf.create(PLAIN)
KEYS = sorted(dotted(CONFIG))

VALUES = [
    *("1", "0", "-1", "1.5", "1e-3", "-1e308", "1e999", "nan", "inf", "-inf", "9" * 400, "0x1F"),
    *("1_000", "true", "false", "null", "", "''", '"', "'", "x", "???", "none", "Ä", "日本"),
    *("[]", "[1]", "[1,2]", "[a,b]", "[1,a]", "[[1]]", "[null]", "[nan,1]", "[1,2,3]", "[x,y,x]"),
    *("{}", "{a:1}", "{a:{b:1}}", "{_target_:os.system}", "[{loss:dice,weight:1}]", "[{loss:1}]"),
    *("[" * 60 + "]" * 60, "{a:" * 60 + "1" + "}" * 60, "[" * 2000, "a" * 5000, "1,2", "range(3)"),
    *("${seed}", "${oc.env:HOME}", "${oc.env:NO_SUCH}", "${nothing}", "${model}", "${", "${len:3}"),
    *(
        "${model.net.num_classes}",
        "$",
        "\\${seed}",
        "a=b",
        "=",
        "a b",
        "\\",
        "a\nb",
        "\x1b[31m",
        "-",
    ),
    *(
        "../../x",
        "/etc/passwd",
        "~",
        ".",
        "\0",
        "voc2007",
        "synthetic",
        "fcn8s",
        "smoke",
        "DEFAULT",
    ),
    *("choice(1,2)", "int(3)", "str(3)", "float(nan)", "glob(*)", "sort(1,2)", "tag(a,1)", "auto"),
]
GROUPS = ["data", "model", "loss", "optimizer", "schedule", "trainer", "logger", "callbacks"]
OTHERS = [
    "experiments",
    "debug",
    "search",
    "hydra/launcher",
    "hydra",
    "hydra.run.dir",
    "hydra.verbose",
]
STRANGE = [
    "",
    "+",
    "~",
    "++",
    ".",
    "a..b",
    "seed.x",
    "data.0",
    "data@x",
    "Ä",
    "optimizer.algorithm",
]
NEW = [
    "model.net.new",
    "callbacks.x",
    "callbacks.x._target_",
    "new",
    "data.new",
    "model.net._target_",
]


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """A command line: keys that are there or nearly, values of any kind."""
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        keys = draw(st.sampled_from([KEYS] * 9 + [GROUPS, OTHERS, NEW, STRANGE]))
        key = draw(st.sampled_from(keys))
        sign = draw(st.sampled_from([""] * 20 + ["+", "++", "~"]))
        fitting = str(OmegaConf.select(CONFIG, key)) if key in KEYS else "1"
        values = st.sampled_from(VALUES)
        value = draw(
            st.just(fitting) | st.just(fitting) | st.just(fitting) | values | st.text(max_size=6)
        )
        line = f"{sign}{key}={value}"
        lines.append(draw(st.sampled_from([line] * 40 + [line[1:], line.replace("=", ""), value])))
    return lines


@fuzzed(30)
@given(lines=overrides())
def test_command_lines(seglab_cli: Callable[..., Any], tmp_path: Path, lines: list[str]) -> None:
    before = {path.name for path in tmp_path.rglob("*")}
    if any(line.startswith("-") for line in lines):
        lines = ["--", *lines]
    with trying("command lines") as came_to:
        answer = seglab_cli("train", "--dry-run", *lines)
        if answer.code == 0:
            assert answer.err == ""
            came_to("accepted")
        else:
            assert answer.code in (1, 2)
            assert answer.err.count("\n") == 1, answer.err
            assert answer.err.startswith("seglab: error: ")
            came_to("refused")
    assert {path.name for path in tmp_path.rglob("*")} == before, "a dry run writes nothing"


THINGS = st.sampled_from(
    [
        *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, 10**400, 1.5, -0.0, 1e308),
        *(math.nan, math.inf, -math.inf, "", "x", "1", "true", "null", "${seed}", "${oc.env:HOME}"),
        *("???", "../../x", "\0", "Ä", "a" * 999, "</script>", "os.system", "torch.nn.Identity"),
        *([], [1], ["a", "b"], [None], [[]], {}, {"a": 1}, {"_target_": "os.system"}),
        *({"_target_": "torch.nn.Linear", "_args_": [{"_target_": "torch.load"}]}, (1, 2), {1: 2}),
        *({"": 1}, {"a.b": 1}, {"_partial_": True}, {"_target_": ["a"]}, b"x", 1j, {1, 2}),
    ]
)


@st.composite
def stored(draw: st.DrawFn) -> Any:
    """A checkpoint's configuration, of which up to three values are others, or gone, or new."""
    config: Any = copy.deepcopy(PLAIN)
    for _ in range(draw(st.integers(0, 3))):
        node, place = config, draw(st.sampled_from(KEYS)).split(".")
        for part in place[:-1]:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            continue
        how = draw(st.sampled_from(["set", "set", "set", "lose", "add"]))
        if how == "lose":
            node.pop(place[-1], None)
        else:
            name = (
                place[-1] if how == "set" else draw(st.sampled_from(["new", "", "_target_", "a.b"]))
            )
            node[name] = draw(THINGS)
    if draw(st.integers(0, 20)) == 0:
        config = draw(THINGS)
    return config


@fuzzed(60)
@given(config=stored())
def test_stored_configurations(config: Any) -> None:
    with trying("stored configurations") as came_to:
        try:
            received = received_config(config, Path("a.ckpt"), trust=False)
            result = override_stored(received, [])
        except SeglabError as error:
            check_line(error)
            came_to("refused")
            return
        check_values(result)
        assert "os.system" not in repr(result.model.net)
        assert result.seed == int(config["seed"])
        assert result.optimizer.lr == float(config["optimizer"]["lr"])
        came_to("accepted")


FILES = ["status.json", "metrics.json", "metrics.csv", "evaluation.npz"]
FILES += [".hydra/config.yaml", ".hydra/overrides.yaml"]
YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
CONTENTS = [
    *(
        b"",
        b"null",
        b"[]",
        b"{}",
        b"3",
        b"\xff",
        b"[" * 5000,
        b'{"status": []}',
        b'{"status": "x"}',
    ),
    *(
        b'{"val/mIoU": "x"}',
        b'{"val/mIoU": 1e999}',
        b"step\n1,2,3\n",
        b"step,step\nx,y\n",
        b"{" * 999,
    ),
    *(
        YAML_BOMB.encode(),
        b"!!python/object/apply:os.system [true]",
        b"a: *b",
        b"? [1]\n: 2",
        b"- 1",
    ),
    b'{"a": ' * 900 + b"1" + b"}" * 900,
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from helpers.runs import make_run

    folder = tmp_path_factory.mktemp("runs")
    for number in range(2):
        make_run(folder / f"run{number}", seed=number, overrides=[f"seed={number}"])
    return folder


@fuzzed(15)
@given(data=st.data())
def test_run_folders(runs: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = runs / "run1" / data.draw(st.sampled_from(FILES), "file")
    whole = path.read_bytes()
    try:
        content = data.draw(st.sampled_from(CONTENTS) | damaged(whole) | damaged(whole), "content")
        path.write_bytes(content)
        with trying("run folders") as came_to:
            try:
                comparison = build([runs], tmp_path)
            except SeglabError as error:
                check_line(error)
                came_to("refused")
                return
            spoilt = next(run for run in comparison.runs if run.name == "run1")
            assert "\n" not in spoilt.reason
            came_to("refused" if spoilt.reason else "accepted")
    finally:
        path.write_bytes(whole)


INSIDE = [*FILES, ".hydra", "checkpoints", "predictions", "samples/worst", ".lock", "wandb/x"]


@fuzzed(15)
@given(data=st.data())
def test_run_folders_that_are_resumed(
    seglab_cli: Callable[..., Any], tmp_path: Path, data: st.DataObject
) -> None:
    from helpers.runs import make_run

    with TemporaryDirectory(dir=tmp_path) as name:
        run, elsewhere = Path(name) / "run", Path(name) / "elsewhere"
        make_run(run)
        (elsewhere / "below").mkdir(parents=True)
        (elsewhere / "file").write_text("precious")
        linked = data.draw(st.booleans(), "linked")
        path = run / data.draw(st.sampled_from(INSIDE if linked else FILES), "path")
        if linked:
            target = data.draw(st.sampled_from(["file", "below", "nothing", "../run"]), "target")
            path.rename(Path(name) / "aside") if path.exists() else None
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(elsewhere / target)
        else:
            whole = path.read_bytes() if path.exists() else b""
            path.write_bytes(data.draw(st.sampled_from(CONTENTS) | damaged(whole), "content"))
        with trying("resumed run folders") as came_to:
            answer = seglab_cli("train", "--dry-run", "resume=true", f"hydra.run.dir={run}")
            if answer.code:
                assert answer.err.count("\n") == 1, answer.err
            came_to("refused" if answer.code else "accepted")
        if linked:
            assert answer.code == 1, "no link is followed"
        assert [path.name for path in sorted(elsewhere.rglob("*"))] == ["below", "file"]
        assert (elsewhere / "file").read_text() == "precious"
