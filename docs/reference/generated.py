"""What MkDocs makes while it builds the site: pages of the reference, and the guides to extending in the navigation."""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from regrow.config.keys import Key, keys

INTRODUCTION = """# params.yaml

One section per step, and a few for the whole. Every key has a default, so that a `params.yaml` holds only what differs.
`regrow keys SECTION` prints the same list, and `regrow schema` the JSON schema. `--set SECTION.KEY=VALUE` overrides the
file for one run.
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page of ``docs/extending`` under *Extend Regrow*, so that a guide is one file and no more."""
    guides = sorted(Path(config.docs_dir).glob("extending/*.md"))
    (how_to,) = (part["How-to"] for part in config.nav or [] if "How-to" in part)
    (extend,) = (part["Extend Regrow"] for part in how_to if "Extend Regrow" in part)
    extend.extend(f"extending/{guide.name}" for guide in guides)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add ``reference/parameters.md``."""
    files.append(File.generated(config, "reference/parameters.md", content=parameters()))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads anything from elsewhere, or that imported TensorFlow to be built."""
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        text = page.read_text("utf-8")
        for attribute in ('src="http', "src='http", 'rel="stylesheet" href="http', 'rel="preconnect"'):
            if attribute in text:
                raise PluginError(f"{page.relative_to(config.site_dir)} loads from elsewhere: {attribute}…")
    if "tensorflow" in sys.modules:
        raise PluginError("building the site imported TensorFlow")


def parameters() -> str:
    """All keys of ``params.yaml`` in Markdown, a table for each section."""
    return "\n".join([INTRODUCTION, *_sections()])


def _sections() -> Iterator[str]:
    for section, rows in groupby(keys(), key=lambda key: key.name.partition(".")[0].partition(" ")[0]):
        yield f"## {section}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |"
        yield from (_row(key) for key in rows)
        yield ""


def _row(key: Key) -> str:
    cells = (
        f"`{key.name}`",
        _escaped(key.type),
        f"`{key.default}`" if key.default else "",
        _escaped(key.meaning),
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _escaped(text: str) -> str:
    for sign in "<*_[":
        text = text.replace(sign, f"\\{sign}")
    return text
