"""Pages of the reference that are made while the site is built: a hook of MkDocs."""

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

import regrow
from regrow.config.keys import Key, keys

LIBRARY = """# Python

`import regrow` offers these names. It loads neither TensorFlow nor anything else that is slow; the first call that
needs TensorFlow does. Options have the names and defaults that they have in [`params.yaml`](parameters.md). A wrong
argument raises `RegrowError`, whose one sentence names the argument, what it got and what it accepts.

## Functions and classes
"""
RESULTS = """## What they return

Each result prints as a table in a terminal and shows as HTML in a notebook.
"""
INTRODUCTION = """# params.yaml

One section per step, and a few for the whole. Every key has a default, so that a `params.yaml` holds only what differs.
`regrow keys SECTION` prints the same list, and `regrow schema` the JSON schema. `--set SECTION.KEY=VALUE` overrides the
file for one run.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add ``reference/parameters.md`` and ``reference/python.md``."""
    files.append(File.generated(config, "reference/parameters.md", content=parameters()))
    files.append(File.generated(config, "reference/python.md", content=library()))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that loads from elsewhere or lacks a public name, and one that took TensorFlow to build."""
    reference = (Path(config.site_dir) / "reference" / "python.html").read_text("utf-8")
    for name in regrow.__all__:
        if f'id="regrow.{name}"' not in reference and f'id="regrow.library.{name}"' not in reference:
            raise PluginError(f"reference/python.md does not document regrow.{name}: has it a docstring?")
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        text = page.read_text("utf-8")
        for attribute in ('src="http', "src='http", 'rel="stylesheet" href="http', 'rel="preconnect"'):
            if attribute in text:
                raise PluginError(f"{page.relative_to(config.site_dir)} loads from elsewhere: {attribute}…")
    if "tensorflow" in sys.modules:
        raise PluginError("building the site imported TensorFlow")


def library() -> str:
    """The public names of `regrow`, then the classes that its functions return, in Markdown for mkdocstrings."""
    tree = ast.parse(inspect.getsource(importlib.import_module("regrow.library")))
    (types,) = (node for node in tree.body if isinstance(node, ast.If))
    returned = sorted(
        (alias.name, node.module)
        for node in types.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name[0].isupper()
    )
    public = sorted(regrow.__all__, key=lambda name: (name[0].isupper(), name))
    return "\n".join(
        [
            LIBRARY,
            *(f"::: regrow.library.{name}\n" for name in public),
            RESULTS,
            *(f"::: {module}.{name}\n" for name, module in returned if name not in public),
        ]
    )


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
