"""`docs/operations` as pages: what to do when an alert fires is one click away from where it is shown, also at night."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.anchors import anchors_plugin

from config import ROOT

FOLDER = ROOT / "docs" / "operations"


class _Renderer(RendererHTML):
    """Leaves out pictures, and links to what is not among these pages; lets what is wide scroll by itself, also by keyboard."""

    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: object) -> str:
        """Return nothing: pictures of these pages show these pages."""
        return ""

    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: object) -> str:
        """Return the beginning of a link, one without an address if that leads elsewhere in the source."""
        token = tokens[index]
        if str(token.attrGet("href")).startswith(".."):
            token.attrs = {}
        return self.renderToken(tokens, index, options, env)  # type: ignore[arg-type]

    def table_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: object) -> str:
        """Return the beginning of a table."""
        return '<div class="table" role="group" aria-label="Table" tabindex="0"><table>'

    def table_close(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: object) -> str:
        """Return its end."""
        return "</table></div>"

    def fence(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: object) -> str:
        """Return lines to type."""
        return f'<pre tabindex="0"><code>{escapeHtml(tokens[index].content)}</code></pre>'


@cache
def page(name: str) -> str | None:
    """Return a document as HTML, every heading with its anchor; None where it was not installed."""
    path = FOLDER / f"{name}.md"
    if path not in _documents():
        return None
    markdown = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    return str(markdown.use(anchors_plugin, max_level=3).render(path.read_text("utf-8")))


@cache
def _documents() -> frozenset[object]:
    return frozenset(FOLDER.glob("*.md"))
