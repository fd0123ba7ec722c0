"""The data report: class balance, sizes, duplicates, skipped examples; as JSON and as HTML."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regrow.dataset.decoding import Remark
from regrow.dataset.directory import Dataset
from regrow.dataset.display import visible
from regrow.dataset.listing import Array, Listing
from regrow.dataset.reading import Contents
from regrow.dataset.splitting import Assignment
from regrow.provenance.statement import Resource
from regrow.showing.escapes import html_text as escape
from regrow.storage.artifacts import write_json

SHOWN = 1000
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1f24}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{padding:.25rem .6rem;border-bottom:1px solid #e3e6ea;text-align:left}td.n,th.n{text-align:right}
.bar{background:#3b7dd8;height:.7rem;border-radius:2px}.note{background:#fff6dd;padding:.5rem .8rem;border-radius:4px}
img{image-rendering:pixelated;width:40px;height:40px;object-fit:contain;display:block}code{font-size:.85em}"""


@dataclass(frozen=True)
class DataReport:
    """``document`` is the content of ``report.json``; ``pictures`` are PNG files by class, for the HTML."""

    document: Mapping[str, Any]
    pictures: Mapping[str, bytes]

    def write(self, directory: Path) -> None:
        """Write ``report.json`` and ``report.html``."""
        write_json(directory / "report.json", dict(self.document))
        (directory / "report.html").write_text(render(self.document, self.pictures), "utf-8")


def describe(
    dataset: Dataset,
    listing: Listing,
    contents: Contents,
    assignment: Assignment,
    *,
    resources: Sequence[Resource],
    pictures: Mapping[str, Array],
) -> DataReport:
    """What was found and what became of it. Lists are cut at 1,000 entries; counts are not."""
    faults = {**contents.faults, **assignment.faults}
    rejects = [{"name": listing.names[index], "reason": faults[index]} for index in sorted(faults)]
    document = {
        "schema_version": 1,
        "source": [resource.to_json() for resource in resources],
        "task": dataset.task,
        "feature": dataset.info.features[dataset.feature].model_dump(mode="json"),
        "normalisation": dataset.normalisation.model_dump(mode="json"),
        "classes": list(dataset.classes),
        "examples": {name: item.model_dump(mode="json") for name, item in dataset.info.examples.items()},
        "read": len(listing.names),
        "ignored_files": listing.ignored,
        "forms": _forms(contents),
        "remarks": dict(sorted(contents.remarks.items())),
        "duplicates": _duplicates(listing, contents, assignment),
        "rejected": len(rejects),
        "rejects": rejects[:SHOWN],
        "warnings": [*listing.notes, *_said(contents), *assignment.warnings],
    }
    return DataReport(document, {name: _png(image) for name, image in pictures.items()})


def _said(contents: Contents) -> list[str]:
    """What was done to images that are not read just as they are."""
    kept = contents.form.mode == "rgba"
    sentences: dict[Remark, str] = {
        "transparent": "with transparent pixels: "
        + ("alpha is the fourth channel" if kept else "put on prepare.image.background"),
        "first_of_several": "from files with several images, such as animations: only the first is used",
        "reduced_to_8_bits": "with 16 bits per channel: reduced to the upper 8 bits",
    }
    counts = {remark: contents.remarks[remark] for remark in sentences}
    return [
        f"{count:,} image{'s' if count > 1 else ''} {sentences[remark]}"
        for remark, count in counts.items()
        if count
    ]


def _forms(contents: Contents) -> dict[str, int]:
    """How many examples have each mode and shape, most first."""
    counts: Counter[str] = Counter()
    for form, count in contents.forms.items():
        counts[str(form)] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _duplicates(listing: Listing, contents: Contents, assignment: Assignment) -> dict[str, Any]:
    """Examples of equal content within a split (kept), and those whose labels contradict each other."""
    kept = [index for index, split in enumerate(assignment.splits) if split]
    counts = Counter(contents.contents[index] for index in kept)
    groups: dict[str, list[int]] = {}
    for index in kept:
        if counts[contents.contents[index]] > 1:
            groups.setdefault(contents.contents[index], []).append(index)
    conflicts = [group for group in groups.values() if len({listing.labels[index] for index in group}) > 1]
    return {
        "examples": sum(len(group) - 1 for group in groups.values()),
        "groups": [[listing.names[index] for index in group] for group in list(groups.values())[:SHOWN]],
        "contradicting_labels": [[listing.names[index] for index in group] for group in conflicts[:SHOWN]],
    }


def _png(image: Array) -> bytes:
    from PIL import Image

    # Four channels are shown by their dtype's whole range: an alpha that is low everywhere is meant so.
    low, high = (0, 255) if image.shape[-1] == 4 and image.dtype == np.uint8 else (image.min(), image.max())
    picture = Image.fromarray(visible(image, (float(low), float(high))))
    picture.thumbnail((80, 80))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def render(document: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """One page without anything from elsewhere."""
    examples = document["examples"]
    feature = document["feature"]
    shape = " × ".join(str(size) for size in feature["shape"])
    source = ", ".join(escape(item.get("uri", item["name"])) for item in document["source"]) or "raw data"
    parts = [
        f"<h1>Data report: {source}</h1>",
        f"<p>{sum(item['total'] for item in examples.values()):,} examples of {len(document['classes'])} "
        f"classes, {shape} {feature['dtype']}, values {feature['range'][0]:g} to {feature['range'][1]:g}; "
        f"{document['read']:,} read, {document['rejected']:,} skipped, {document['ignored_files']:,} "
        "non-image files ignored.</p>",
        *(f'<p class="note">{escape(text)}</p>' for text in document["warnings"]),
        "<h2>Class balance</h2>",
        _balance(document, pictures),
        "<h2>Shapes and modes as found</h2>",
        _table(["form", "examples"], [[form, f"{count:,}"] for form, count in document["forms"].items()]),
        "<h2>Duplicates</h2>",
        f"<p>{document['duplicates']['examples']:,} examples duplicate another in the same split.</p>",
        _names("Equal content, different labels", document["duplicates"]["contradicting_labels"]),
        _names("Equal content", document["duplicates"]["groups"]),
        "<h2>Rejected examples</h2>",
        _table(["example", "reason"], [[item["name"], item["reason"]] for item in document["rejects"]])
        if document["rejects"]
        else "<p>None.</p>",
        "<h2>Digests of the source</h2>",
        _table(
            ["source", "digest"],
            [[i.get("uri", ""), f"{k}:{v}"] for i in document["source"] for k, v in i["digest"].items()],
        ),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Data report</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _balance(document: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    splits = document["examples"]
    totals = {name: sum(item["per_class"][name] for item in splits.values()) for name in document["classes"]}
    largest = max(totals.values())
    heads = "".join(f'<th class="n">{escape(split)}</th>' for split in splits)
    rows = []
    for name, total in totals.items():
        data = base64.b64encode(pictures[name]).decode() if name in pictures else ""
        picture = f'<img alt="" src="data:image/png;base64,{data}">' if data else ""
        cells = "".join(f'<td class="n">{item["per_class"][name]:,}</td>' for item in splits.values())
        bar = f'<div class="bar" style="width:{100 * total / largest:.1f}%"></div>'
        rows.append(
            f'<tr><td>{picture}</td><td>{escape(name)}</td>{cells}<td style="width:40%">{bar}</td></tr>'
        )
    sums = "".join(f'<td class="n"><b>{item["total"]:,}</b></td>' for item in splits.values())
    return (
        f"<table><tr><th></th><th>class</th>{heads}<th></th></tr>{''.join(rows)}"
        f"<tr><td></td><td><b>all</b></td>{sums}<td></td></tr></table>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _names(title: str, groups: Sequence[Sequence[str]]) -> str:
    if not groups:
        return ""
    items = "".join(f"<li><code>{escape(', '.join(group))}</code></li>" for group in groups)
    return f"<details><summary>{escape(title)} ({len(groups)})</summary><ul>{items}</ul></details>"
