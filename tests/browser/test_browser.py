"""The pages in a real browser. The fixture asserts an empty console and no request to outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seglab.report import build, write_report

pytestmark = pytest.mark.browser

Made = Callable[..., Path]

ROWS = "#table tbody th"
SORT = "return document.querySelector('#table thead th:nth-child(3)').getAttribute('aria-sort')"
SHOWN = "[...document.querySelectorAll('main > section')].filter(s => !s.hidden).map(s => s.id)"
DRAWN = "[...document.querySelectorAll('.plot[data-drawn] canvas')].length"
ALL_DRAWN = (
    "[...document.querySelectorAll('.plot')].filter(p => p.offsetParent)"
    ".every(p => 'drawn' in p.dataset && p.querySelector('canvas').width > 100)"
)
ALL_LOADED = (
    "[...document.images].filter(i => i.offsetParent).every(i => i.complete && i.naturalWidth > 0)"
)


def look_at_everything(browser: Any) -> None:
    """Make the window as high as the page, so that all that waits to be seen is drawn."""
    metrics = {"width": 1300, "height": 12000, "deviceScaleFactor": 1, "mobile": False}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.until(ALL_DRAWN)
    browser.until(ALL_LOADED)
    browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_runs_page_shows_everything(browser: Any, made_run: Made, tmp_path: Path) -> None:
    browser.open(write_report(made_run(tmp_path / "my run", overrides=["optimizer.lr=0.1"])))
    assert browser.texts("h1") == ["Run my run"]
    assert browser.js(f"return {SHOWN}") == ["headline", "curves", "classes", "details"]
    look_at_everything(browser)
    assert browser.js(f"return {DRAWN}") == 3 + 1 + 1, "curves, classes, confusion matrix"
    assert len(browser.texts("#worst .shot")) == 3
    worst = [float(text.split()[-1]) for text in browser.texts("#worst figcaption")]
    assert worst == sorted(worst)
    assert "optimizer.lr" in browser.texts("#settings tbody th")
    assert "optimizer.lr=0.1" in browser.texts("#overrides code")
    assert "finished" in browser.texts(".card b")
    assert browser.texts(".card span")[1].endswith(" *"), "an interval of 30 images"
    assert browser.js("return document.getElementById('footnote').innerText").startswith("* unrel")


def test_a_comparison_shows_everything(browser: Any, compared: Path) -> None:
    browser.open(compared)
    sections = [
        "runs",
        "seeds",
        "differences",
        "effects",
        "sweep",
        "curves",
        "classes",
        "samples",
        "details",
    ]
    assert browser.js(f"return {SHOWN}") == sections
    look_at_everything(browser)
    assert browser.js(f"return {DRAWN}") == 4 + 1 + 2 + 1, "parallel coordinates, one setting"
    assert browser.texts(ROWS) == ["run1", "run4", "run3", "run2", "run0", "broken"]
    state = "document.querySelector('#table tbody tr:last-child .state')"
    assert browser.js(f"return [{state}.textContent, {state}.title]") == ["failed", "out of luck"]
    assert browser.texts("#table tbody td:nth-child(4)")[0].endswith(" *")
    assert browser.js("return document.getElementById('footnote').innerText").startswith("* unrel")
    captions = browser.texts("#samples figcaption")
    assert captions[:2] == ["image", "truth"]
    assert captions[2].startswith("lr=0.1 seed=0 · 0.")
    assert len(captions) == 2 + len(browser.texts(ROWS))
    assert len(browser.texts("#samples .shot")) == 2 + 6


def test_the_table_sorts(browser: Any, compared: Path) -> None:
    browser.open(compared)
    assert browser.js(SORT) == "descending"
    browser.click("#table thead th:nth-child(3) button")
    assert browser.js(SORT) == "ascending"
    assert browser.texts(ROWS) == ["run0", "run2", "run3", "run4", "run1", "broken"]
    browser.click("#table thead th:nth-child(1) button")
    assert browser.js(SORT) is None
    assert browser.texts(ROWS) == ["broken", "run0", "run1", "run2", "run3", "run4"]
    browser.type("\ue007")  # Enter: the head has kept the focus
    assert browser.texts(ROWS) == ["run4", "run3", "run2", "run1", "run0", "broken"]
    assert "optimizer.lr ↕" not in browser.texts("#table thead th"), "the arrow is no text"
    column = browser.texts("#table thead th").index("optimizer.lr") + 1
    browser.click(f"#table thead th:nth-child({column}) button")
    rates = [float(text) for text in browser.texts(f"#table tbody td:nth-child({column})")]
    assert rates == sorted(rates, reverse=True)


def test_the_filter_applies_to_the_whole_page(browser: Any, compared: Path) -> None:
    browser.open(compared)
    browser.click("#filter")
    browser.type("optimizer.lr=0.1 SEED=0")
    browser.until("document.getElementById('count').textContent === '1 of 6 runs'")
    assert browser.texts(ROWS) == ["run1"]
    assert browser.texts("#samples figcaption")[2].startswith("lr=0.1 seed=0 ")
    browser.type(" nothing")
    browser.until("document.getElementById('count').textContent === '0 of 6 runs'")
    browser.js("document.getElementById('filter').value = ''")
    browser.click("#filter")
    browser.type("failed")
    browser.until("document.getElementById('count').textContent === '1 of 6 runs'")
    assert browser.texts(ROWS) == ["broken"]


def test_a_picture_is_enlarged_and_escape_closes_it(browser: Any, compared: Path) -> None:
    browser.open(compared)
    is_open = "document.getElementById('large').open"
    browser.click("#worst .shot")
    browser.until(is_open)
    title = "document.getElementById('largeTitle').textContent"
    first = browser.js(f"return {title}")
    assert first == browser.texts("#worst figcaption")[0]
    alts = [f"{part} {first.split()[0]}" for part in ("image", "truth", "prediction")]
    assert browser.js("return [...document.querySelectorAll('#large img')].map(i => i.alt)") == alts
    browser.until("[...document.querySelectorAll('#large img')].every(i => i.naturalWidth > 0)")
    browser.type("\ue014")  # the right arrow
    assert browser.js(f"return {title}") == browser.texts("#worst figcaption")[1]
    browser.type("\ue00c")  # Escape
    browser.until(f"!{is_open}")
    assert browser.js("return document.activeElement.className") == "shot", "the focus goes back"
    browser.click("#samples .shot")
    browser.until(is_open)
    assert browser.texts("#large figcaption") == ["image", "truth"], "they are no run's"
    browser.click("#largeClose")
    browser.until(f"!{is_open}")


def test_another_image_and_another_run_can_be_chosen(browser: Any, compared: Path) -> None:
    browser.open(compared)
    before = browser.js("return document.getElementById('sample').value")
    browser.click("#next")
    assert browser.js("return document.getElementById('sample').value") != before
    browser.click("#table tbody tr:last-child .link")
    assert "out of luck" in browser.texts("#about")[0]


def test_hostile_names_stay_text(browser: Any, made_run: Made, tmp_path: Path) -> None:
    bad = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
    name = bad.replace("/", "\\")
    for number in range(3):
        made_run(
            tmp_path / "runs" / f"{name}{number}",
            state="failed" if number == 2 else "finished",
            skill=0.5 + number / 10,
            error=bad,
            settings={"optimizer": {bad: f"{bad}{number}", "a'].b[\"c": f"{number}"}},
            overrides=[f"optimizer.{bad}={bad}{number}"],
            classes=["background", bad, "datum['x']", "a.b\\c"],
        )
    build([tmp_path / "runs"], tmp_path)
    browser.open(tmp_path / "compare.html")
    look_at_everything(browser)
    assert browser.texts(ROWS) == [f"{name}1", f"{name}0", f"{name}2"]
    assert browser.js("return document.title") == "Comparison of 3 runs · seglab"
    assert browser.js("return document.querySelectorAll('img[src=x]').length") == 0


def test_the_page_turns_no_text_into_code(browser: Any, compared: Path) -> None:
    browser.open(compared)
    for code in ("eval('1')", "Function('return 1')()"):
        # Later, because WebDriver's own scripts may do what the page's may not.
        browser.js("delete document.body.dataset.tried")
        attempt = f"try {{ tried = {code} }} catch (e) {{ tried = e.name }}"
        browser.js(
            f"setTimeout(() => {{ let tried; {attempt}; document.body.dataset.tried = tried }})"
        )
        browser.until("document.body.dataset.tried")
        assert browser.js("return document.body.dataset.tried") == "EvalError"
    assert all("Content Security Policy" in line for line in browser.said()), "what we tried"


def test_the_pointer_shows_a_point_of_a_curve_as_text(
    browser: Any, made_run: Made, tmp_path: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    name = "<img src=x onerror=document.title='hit'>"
    for number in range(2):
        made_run(tmp_path / "runs" / f"{name}{number}", steps=400, skill=0.5 + number / 10)
    build([tmp_path / "runs"], tmp_path)
    browser.open(tmp_path / "compare.html")
    browser.until("document.querySelector('#curves .plot[data-drawn] canvas')")
    canvas = browser.driver.find_element(By.CSS_SELECTOR, "#curves canvas")
    text = ""
    for y in range(-canvas.size["height"] // 2 + 2, canvas.size["height"] // 2, 3):
        chain = ActionChains(browser.driver, duration=0)
        chain.move_to_element_with_offset(canvas, 20, y).perform()
        text = browser.js("return document.querySelector('.visible#vg-tooltip-element')?.innerText")
        if text:
            break
    rows = [row.split("\t") for row in text.replace("\t\n", "\t").split("\n") if row]
    shown = dict(rows)
    assert shown["run"].startswith("<img src=x")
    skill, step = 0.5 + int(shown["run"][-1]) / 10, int(shown["step"])
    assert float(shown["value"]) == pytest.approx(2 - skill * step / 400, abs=1e-3)
    assert browser.js("return document.title").startswith("Comparison")


def test_repeated_seeds_are_named(browser: Any, made_run: Made, tmp_path: Path) -> None:
    for name, seed, skill in (("a", 0, 0.5), ("b", 1, 0.5), ("c", 1, 0.6)):
        made_run(tmp_path / "runs" / name, seed=seed, skill=skill)
    build([tmp_path / "runs"], tmp_path)
    browser.open(tmp_path / "compare.html")
    (text,) = browser.texts("#repeats li")
    assert text.startswith("seed 1 occurs twice with different val/mIoU, and is not averaged: c 0.")
    assert "seeds" in browser.js(f"return {SHOWN}")


def test_dark_and_narrow(browser: Any, compared: Path) -> None:
    devices = browser.driver.execute_cdp_cmd
    colour = "return getComputedStyle(document.body).backgroundColor"
    browser.open(compared)
    light = browser.js(colour)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    devices("Emulation.setEmulatedMedia", dark)
    narrow = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    devices("Emulation.setDeviceMetricsOverride", narrow)
    browser.open(compared)
    assert browser.js(colour) != light
    assert browser.js("return document.documentElement.scrollWidth") <= 360
    devices("Emulation.clearDeviceMetricsOverride", {})
    devices("Emulation.setEmulatedMedia", {"features": []})


def test_two_hundred_runs_stay_pleasant(
    browser: Any, two_hundred_runs: Path, tmp_path: Path
) -> None:
    build([two_hundred_runs], tmp_path)
    start = time.monotonic()
    browser.open(tmp_path / "compare.html")
    assert time.monotonic() - start < 20
    assert len(browser.texts(ROWS)) == 200
    assert browser.js("return [...document.images].filter(i => i.src).length") < 250, "all at once"
    start = time.monotonic()
    browser.click("#filter")
    browser.type("lr=0.01")
    browser.until("document.getElementById('count').textContent === '40 of 200 runs'")
    assert time.monotonic() - start < 10


def test_evaluations_are_listed_with_their_kind(
    browser: Any, made_run: Made, tmp_path: Path
) -> None:
    made_run(tmp_path / "runs/trained")
    checkpoint = {"name": "last.ckpt", "step": 12}
    made_run(tmp_path / "runs/measured", data={"val": "1b" * 32}, checkpoint=checkpoint, skill=0.5)
    build([tmp_path / "runs"], tmp_path)
    browser.open(tmp_path / "compare.html")
    assert browser.texts("#table tbody td:nth-child(2)") == ["train", "evaluate"]


def test_seeds_are_a_band_and_settings_have_parallel_coordinates(
    browser: Any, made_run: Made, tmp_path: Path
) -> None:
    for rate in (0.1, 0.01, 0.001):
        for seed in range(3):
            made_run(
                tmp_path / "runs" / f"{rate}-{seed}",
                skill=0.4 + rate + seed / 100,
                seed=seed,
                settings={"optimizer": {"lr": rate}},
                overrides=[f"optimizer.lr={rate}", f"seed={seed}"],
            )
    build([tmp_path / "runs"], tmp_path)
    browser.open(tmp_path / "compare.html")
    look_at_everything(browser)
    label = "return document.querySelector('#curves .plot').getAttribute('aria-label')"
    assert browser.js(label) == "Training loss over the steps of 3 curves"
    assert not browser.js("return document.getElementById('bands').hidden")
    label = "return document.getElementById('parallel').getAttribute('aria-label')"
    assert browser.js(label) == "Parallel coordinates of 9 runs: lr, mIoU"
    assert browser.texts("#groupPairs tbody th") == ["lr=0.01", "lr=0.001"]
    assert not browser.js("return document.getElementById('pairs').open")
    browser.click("#filter")
    browser.type("seed=0")
    browser.until("document.getElementById('count').textContent === '3 of 9 runs'")
    assert browser.js("return document.getElementById('bands').hidden"), "one seed has no band"


def test_a_front_and_pruned_runs_are_on_the_page(
    browser: Any, made_run: Made, tmp_path: Path
) -> None:
    for number in range(6):
        path = tmp_path / "runs" / f"run{number}"
        made_run(
            path,
            skill=0.3 + number / 20,
            state="pruned" if number == 2 else "finished",
            settings={"optimizer": {"lr": 10.0**-number}},
            overrides=[f"optimizer.lr={10.0**-number}"],
        )
        entry = json.loads((path / "status.json").read_text())
        entry["speed/images_per_second"] = 90.0 - 10 * number if number != 1 else 1.0
        (path / "status.json").write_text(json.dumps(entry))
    objectives = {"val/mIoU": "maximize", "speed/images_per_second": "maximize"}
    (tmp_path / "runs/objectives.json").write_text(json.dumps(objectives))
    build([tmp_path / "runs"], tmp_path)
    browser.open(tmp_path / "compare.html")
    look_at_everything(browser)
    assert {"front", "sweep"} <= {*browser.js(f"return {SHOWN}")}
    column = browser.texts("#table thead th").index("Pareto front") + 1
    front = dict(
        zip(browser.texts(ROWS), browser.texts(f"#table td:nth-child({column})"), strict=True)
    )
    assert front == {f"run{n}": "" if n in (1, 2) else "yes" for n in range(6)}
    scores = dict(zip(browser.texts(ROWS), browser.texts("#table td:nth-child(3)"), strict=True))
    assert scores["run2"] == f"last {0.4 * 59 / 60:.4f}"
    label = "return document.getElementById('parallel').getAttribute('aria-label')"
    assert browser.js(label).startswith("Parallel coordinates of 6 runs"), "the pruned one too"
