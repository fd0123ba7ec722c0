"""Results that show themselves: a table in a terminal, an HTML table in a notebook, a frame of pandas."""

import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table

from regrow.errors import RegrowError
from regrow.showing.console import console
from regrow.showing.escapes import html_text

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 110
CELL = "text-align:{};white-space:pre-wrap;vertical-align:top"


class Shown:
    """A result with a table: ``print(result)``, its line in a console, and its cell in a notebook are that table."""

    def table(self) -> RenderableType:
        """What is shown, for rich."""
        raise NotImplementedError

    def __str__(self) -> str:
        return as_text(self.table())

    def __repr__(self) -> str:
        return as_text(self.table())

    def __rich__(self) -> RenderableType:
        return self.table()

    def _repr_html_(self) -> str:
        return as_html(self.table())


def as_text(shown: RenderableType, *, width: int = WIDTH) -> str:
    """``shown`` as plain text of at most ``width`` letters a line, without a last line break."""
    target = io.StringIO()
    on: Console = console(file=target, width=width)
    on.print(shown)
    return "\n".join(line.rstrip() for line in target.getvalue().rstrip().split("\n"))


def as_html(shown: RenderableType) -> str:
    """``shown`` as HTML without scripts or outside files; what came from outside is escaped."""
    return "".join(_parts(shown))


def _parts(shown: Any) -> Iterable[str]:
    if isinstance(shown, Shown):
        yield from _parts(shown.table())
    elif isinstance(shown, Group):
        for part in shown.renderables:
            yield from _parts(part)
    elif isinstance(shown, Padding):
        yield f'<div style="margin-left:{2 * shown.left}ch">{"".join(_parts(shown.renderable))}</div>'
    elif isinstance(shown, Table):
        yield _table(shown)
    else:
        text = str(shown)  # that of a `Text` is without its styles
        yield f'<div style="white-space:pre-wrap">{html_text(text)}</div>' if text else "<br>"


def _table(table: Table) -> str:
    caption = "".join(
        f'<div style="font-weight:{weight}">{html_text(text)}</div>'
        for text, weight in ((table.title, "bold"),)
        if text
    )
    below = f"<div>{html_text(table.caption)}</div>" if table.caption else ""
    alignments = [
        column.justify if column.justify in ("right", "center") else "left" for column in table.columns
    ]
    headings = _row("th", (column.header for column in table.columns), alignments)
    rows = zip(*(tuple(column.cells) for column in table.columns), strict=True)
    body = "".join(_row("td", row, alignments) for row in rows)
    foot = ""
    if table.show_footer:
        foot = f"<tfoot>{_row('th', (column.footer for column in table.columns), alignments)}</tfoot>"
    head = f"<thead>{headings}</thead>" if table.show_header else ""
    return f"{caption}<table>{head}<tbody>{body}</tbody>{foot}</table>{below}"


def _row(tag: str, cells: Iterable[Any], alignments: Sequence[str]) -> str:
    shown = (
        f'<{tag} style="{html.escape(CELL.format(side))}">{html_text(str(cell))}</{tag}>'
        for cell, side in zip(cells, alignments, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"


def frame(rows: Iterable[Mapping[str, Any]], *, index: str | None = None) -> "pd.DataFrame":
    """``rows`` as a frame of pandas, with the column ``index`` as its index.

    Raises:
        RegrowError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise RegrowError(
            "a frame needs pandas, which is not installed; pip install 'regrow[library]' brings it"
        ) from None
    made = pandas.DataFrame(list(rows))
    return made if index is None or made.empty else made.set_index(index)


def kept(before: float, after: float) -> str:
    """The share that is left, for a cell; empty where there was nothing."""
    return f"{after / before:.1%}" if before else ""
