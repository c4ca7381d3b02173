"""A console on which control characters of a row, a file or a message never reach the terminal as such."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

CONTROLS = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # C0, C1, bidirectional
CONTROLS += range(0xD800, 0xE000)  # surrogates: the bytes of a file's name that are no UTF-8
_SYMBOLS = {code: chr(0x2400 + code) if code < 0x20 else "\ufffd" for code in CONTROLS if chr(code) not in "\t\n"}


class SafeConsole(Console):
    """A console that shows a symbol for each control character of a text: ␛ for an escape.

    Formal guarantees:
        The terminal gets no control character but tab, line feed and those of Rich's own styles and cursor moves.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render with symbols: in a text before it is laid out, and in whatever else comes out."""
        if isinstance(renderable, str):
            renderable = renderable.translate(_SYMBOLS)
        elif isinstance(renderable, Text):
            renderable = renderable.copy()
            renderable.plain = renderable.plain.translate(_SYMBOLS)  # as long as before: styles keep their places
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=segment.text.translate(_SYMBOLS))


def progress_console() -> Console:
    """Return a console on the error stream, for everything but the result."""
    return SafeConsole(stderr=True)
