"""Tables and lines for a terminal, laid out by rich."""

from typing import IO, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.measure import Measurement
from rich.segment import Segment

from regrow.showing.escapes import escaped
from regrow.showing.redaction import redacted


def console(*, width: int | None = None, file: IO[str] | None = None) -> Console:
    """A console that prints texts literally, with control characters made visible.

    ``width`` is that of what is no terminal; ``file`` gets plain text instead of standard output.
    """
    if file is not None:
        # In a notebook rich would display what it prints, though a file is named, and colour it.
        made = Console(
            markup=False,
            emoji=False,
            file=file,
            width=width,
            force_jupyter=False,
            force_terminal=False,
            color_system=None,
        )
    else:
        made = Console(markup=False, emoji=False)
        if width is not None and not made.is_terminal:
            made = Console(markup=False, emoji=False, width=width)
    made.push_render_hook(_Visible())
    return made


class _Visible(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [cast("ConsoleRenderable", _Escaped(item)) for item in renderables]


class _Escaped:
    """A renderable whose text is escaped and redacted after it was laid out."""

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_measure__(self, on: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(on, options, self.inner)

    def __rich_console__(self, on: Console, options: ConsoleOptions) -> RenderResult:
        for segment in on.render(self.inner, options):
            if segment.control:
                yield segment
            else:
                yield Segment(escaped(redacted(segment.text), keep="\n"), segment.style)
