"""The page as text: whole, self-contained, and no name in it becomes markup."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from seglab.report import vega, write_report
from seglab.report.comparison import compare
from seglab.report.page import embedded, payload, render
from seglab.report.pictures import samples
from seglab.report.runs import read_runs

Made = Callable[..., Path]

HOSTILE = "</script><img src=x onerror=alert(1)><!-- <b>'\"& \u2028"


class Elements(HTMLParser):
    """Every element's name and attributes, and the text of the scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] == "script":
            self.scripts[-1] += data


def read(page: str) -> tuple[Elements, dict[str, object]]:
    parser = Elements()
    parser.feed(page)
    return parser, json.loads(parser.scripts[0])


def test_nothing_is_loaded_from_anywhere(made_run: Made, tmp_path: Path) -> None:
    page = write_report(made_run(tmp_path / "run")).read_text(encoding="utf-8")
    elements, _ = read(page)
    assert [tag for tag, _ in elements.found].count("script") == 3
    for tag, attributes in elements.found:
        assert not attributes.keys() & {"src", "srcset", "action"}, tag
        assert attributes.get("href", "data:,") == "data:,"
    assert "default-src 'none'" in page
    assert "unsafe-eval" not in page
    assert not re.search(r"<!-- \w+ -->", page), "a part is missing"


def test_names_never_become_markup(made_run: Made, tmp_path: Path) -> None:
    harmless = write_report(made_run(tmp_path / "plain")).read_text(encoding="utf-8")
    plain, _ = read(harmless)
    hostile = HOSTILE.replace("/", "\\")  # a folder's name has no slash
    run = made_run(
        tmp_path / hostile,
        state="failed",
        error=HOSTILE,
        settings={"optimizer": {HOSTILE: HOSTILE}},
        overrides=[f"model.{HOSTILE}={HOSTILE}"],
        classes=["background", HOSTILE, "<i>", "&amp;"],
    )
    page = write_report(run).read_text(encoding="utf-8")
    elements, data = read(page)
    assert [tag for tag, _ in elements.found] == [tag for tag, _ in plain.found]
    assert data["runs"][0]["reason"] == HOSTILE  # type: ignore[index]
    assert data["runs"][0]["classes"][1] == HOSTILE  # type: ignore[index]
    assert page.count("onerror=alert(1)>") == 0
    assert page.count("<img") == harmless.count("<img"), "the library's own"


def test_a_name_of_any_bytes_can_be_written(made_run: Made, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    odd = run.rename(tmp_path / "odd \udcff name")
    assert "odd ? name" in write_report(odd).read_text(encoding="utf-8")


def test_json_in_a_script_ends_nothing() -> None:
    text = embedded({"a": [HOSTILE, float("nan"), 1.5], "b": float("inf")})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": [HOSTILE, None, 1.5], "b": None}


def test_a_page_holds_what_a_run_kept(made_run: Made, tmp_path: Path) -> None:
    result = compare(read_runs([made_run(tmp_path / "run")]))
    data = payload(result)
    (run,) = data["runs"]
    assert run["metrics"] == result.runs[0].metrics
    assert run["settings"]["optimizer.lr"] == "0.1"
    assert len(run["curves"]["train/loss"]["values"]) == 60
    assert len(run["curves"]["val/mIoU"]["values"]) == 3
    assert run["confusion"] == result.runs[0].evaluation.confusion.tolist()  # type: ignore[union-attr]
    mious = result.runs[0].evaluation.mious()  # type: ignore[union-attr]
    for kind, count in (("worst", 3), ("fixed", 2)):
        found = [sample["miou"] for sample in run[kind]]
        assert found == sorted(mious[sample["id"]] for sample in run[kind])
        assert len(found) == count
    assert all(uri.startswith("data:image/") for uri in data["uris"])


def test_runs_share_pictures_up_to_a_budget(made_run: Made, tmp_path: Path) -> None:
    for seed in range(5):
        made_run(tmp_path / str(seed), seed=seed)
    result = compare(read_runs([tmp_path]))
    data = payload(result)
    assert data["leftOut"] == 0
    # Five images and truths in all, and five predictions for each of five runs.
    assert len(data["uris"]) == 5 + 5 + 5 * 5
    photos = {run["fixed"][0]["at"][0] for run in data["runs"]}
    assert len(photos) <= 2, "the same photograph is there once"
    some, uris, left_out = samples(result.runs, budget=3000)
    assert sum(map(len, uris)) < 3000 * 1.5
    assert left_out == 25 - sum(len(one["fixed"]) + len(one["worst"]) for one in some) > 0


def test_mask_ap_has_columns_where_it_exists(made_run: Made, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    path = run / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics |= {"val/mask_AP": 0.3, "val/mask_AP50": 0.5, "val/mask_AP/circle": 0.3}
    path.write_text(json.dumps(metrics))
    columns = payload(compare(read_runs([run])))["columns"]
    assert columns[:2] == ["val/mask_AP", "val/mask_AP50"]
    assert "val/mask_AP/circle" not in columns


def test_two_hundred_runs_make_a_page_in_seconds(two_hundred_runs: Path) -> None:
    start = time.monotonic()
    result = compare(read_runs([two_hundred_runs]))
    page = render(result)
    assert time.monotonic() - start < 20, "two seconds on an idle laptop"
    assert len(result.runs) == 200
    assert len(page) < 6_000_000


def test_the_library_is_bundled_once_and_ends_no_script(tmp_path: Path) -> None:
    script = vega.bundle(tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_text("kept")
    assert vega.bundle(tmp_path / "cache") == "kept"
    assert "window.vegaEmbed=" in script
    assert "</script" not in script
    assert "<!--" not in script
    (tmp_path / "file").write_text("")
    assert vega.bundle(tmp_path / "file") == script, "a cache that cannot be is done without"


def test_equal_learning_rates_are_one_curve(made_run: Made, tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = made_run(tmp_path / name) / "metrics.csv"
        rows = [row.split(",") for row in path.read_text().splitlines()]
        head, *body = rows
        more = [*head, "lr/backbone", "lr/other"]
        text = [more, *([*row, row[2], str(0.5 * float(row[2]))] for row in body)]
        path.write_text("\n".join(map(",".join, text)) + "\n")
    for run in payload(compare(read_runs([tmp_path])))["runs"]:
        assert {name for name in run["curves"] if name.startswith("lr/")} == {
            "lr/backbone, head", "lr/other"
        }  # fmt: skip
