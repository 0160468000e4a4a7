"""MkDocs hook: pages link to files of the repository, and those files become part of the site.

A link such as ``../conf/model/fcn8s.yaml`` works where the repository is read. In the site the
linked file is copied beside the pages, or, if it is Markdown, is a page of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
PAGES = ("experiments/README.md", "SECURITY.md", "CHANGELOG.md")
LINK = re.compile(r"\]\(\.\./([^)#\s]+)")
TO_DOCS = re.compile(r"\]\((?:\.\./)?docs/")
PICTURE = re.compile(r"\]\((pictures/[^)#\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, their pictures, and every file that a page links to."""
    names = {name for page in REPOSITORY.glob("docs/*.md") for name in LINK.findall(_read(page))}
    for name in PAGES:
        names.add(name)
        folder = Path(name).parent
        names |= {str(folder / picture) for picture in PICTURE.findall(_read(REPOSITORY / name))}
    for name in sorted(names):
        source = REPOSITORY / name
        if not source.is_file():
            raise FileNotFoundError(f"a page of docs/ links to {name}, which is not a file")
        files.append(File.generated(config, name, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at the copies."""
    name = page.file.src_uri
    if name in PAGES:
        return TO_DOCS.sub("](" + "../" * name.count("/"), markdown)
    return LINK.sub(r"](\1", markdown)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
