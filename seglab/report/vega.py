"""The plotting library that each page contains: Vega-Lite, from the wheel of vl-convert.

Every page holds a copy, so its size counts: 0.9 MB, against 1.3 MB of bokeh's script and more than
4 MB of plotly's. The wheel comes from the Vega project and has no dependencies.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from seglab.runtime.files import atomic
from seglab.runtime.private_folders import cache_folder, check_made, make_private

EXPORTS = "window.vegaEmbed = vegaEmbed;"


def bundle(folder: Path | None = None) -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that sets ``window.vegaEmbed``.

    Bundling takes two seconds, so it is done once per version and cached in ``folder``, by
    default a cache of this user. Nothing is downloaded.

    Raises:
        DataError: the cached script was made by another user, or is a link.
    """
    folder = folder or cache_folder()
    kept = folder / f"vega-{version('vl-convert-python')}.js"
    check_made(kept, "set XDG_CACHE_HOME")
    try:
        return kept.read_text(encoding="utf-8")
    except OSError:
        import vl_convert  # an 80 MB shared library: imported only when a page is written

    script = f"(() => {{{vl_convert.javascript_bundle(EXPORTS)}}})();\n"
    # A page ends its script at the first "</script", even inside a string.
    script = script.replace("</script", r"<\/script").replace("<!--", r"<\!--")
    try:
        make_private(folder)
        with atomic(kept) as file:
            file.write(script)
    except OSError:
        pass  # bundled again next time
    return script
