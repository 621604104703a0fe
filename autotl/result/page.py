"""HTML in small pieces; everything that comes from data goes through `text`."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Cell", "document", "listing", "more", "prose", "table", "tag", "text"]

# What XML and HTML forbid, and lone surrogates, which no file can hold.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_LONG_WORD = 30  # letters; longer ones may be broken anywhere, shorter ones never


def text(value: Any) -> str:
    """Escape anything for use as content or attribute."""
    return html.escape(_FORBIDDEN.sub("\ufffd", str(value)), quote=True)


def prose(sentence: Any) -> str:
    """Escape a sentence and keep its percent signs beside their numbers."""
    return text(sentence).replace(" %", "&nbsp;%")


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        html: Escaped content.
        kind: CSS classes, such as "n" for numbers.
        style: Inline style.
    """

    html: str
    kind: str = ""
    style: str = ""

    @classmethod
    def of(cls, value: Any, kind: str = "") -> "Cell":
        """Return a cell of untrusted text, kept from reordering its neighbours."""
        if any(len(word) > _LONG_WORD for word in str(value).split()):
            kind = f"{kind} long".strip()
        return cls(f"<bdi>{text(value)}</bdi>", kind)

    @classmethod
    def number(cls, value: str) -> "Cell":
        """Return a right-aligned cell with a typographic minus."""
        return cls(text(value).replace("-", "&minus;") if value != "-" else "&ndash;", "n")

    def render(self, name: str, scope: str = "") -> str:
        """Return the element with this tag name."""
        parts = [name]
        for key, value in (("class", self.kind), ("style", self.style), ("scope", scope)):
            if value:
                parts.append(f'{key}="{value}"')
        return f"<{' '.join(parts)}>{self.html}</{name}>"


def table(
    headers: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[Cell]],
    *,
    label: str,
    kinds: Sequence[str] = (),
    lead: int = 0,
    snug: bool = False,
) -> str:
    """Return a table that scrolls within itself where the screen is narrow.

    Args:
        headers: (title, CSS classes) of each column.
        rows: Cells in the order of the headers.
        label: What a screen reader calls it.
        kinds: CSS classes of each row.
        lead: Which column names the row.
        snug: Only as wide as its content asks.
    """
    head = "".join(Cell(text(t), k).render("th", "col") for t, k in headers)
    body = []
    for index, row in enumerate(rows):
        kind = f' class="{kinds[index]}"' if index < len(kinds) and kinds[index] else ""
        cells = [c.render("th", "row") if i == lead else c.render("td") for i, c in enumerate(row)]
        body.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">'
        f"<table{' class=snug' if snug else ''}>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def tag(words: str, kind: str) -> str:
    """Return a coloured word; the word alone says it all."""
    return f'<span class="tag {kind}">{text(words)}</span>'


def listing(items: Sequence[str]) -> str:
    """Return a list of untrusted texts."""
    return f'<ul class="plain">{"".join(f"<li><bdi>{text(i)}</bdi></li>" for i in items)}</ul>'


def more(summary: str, content: str) -> str:
    """Return content that opens on demand."""
    return f"<details><summary>{text(summary)}</summary>{content}</details>"


def document(title: str, body: str) -> str:
    """Return a whole page that asks nothing of any server."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{text(title)}</title><style>{style}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )
