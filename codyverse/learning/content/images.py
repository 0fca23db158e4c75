"""Images: that they are what their name says, and that an SVG is a drawing and nothing else.

The elements of an SVG are an allow-list, because a drawing that is opened on its own is a document, which could run scripts or
load things.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from codyverse.learning.content.faults import File

MAX_BYTES = 256 * 1024
MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}

_SIGNATURES = {
    "png": re.compile(rb"\x89PNG\r\n\x1a\n", re.S),
    "jpg": re.compile(rb"\xff\xd8\xff", re.S),
    "webp": re.compile(rb"RIFF....WEBP", re.S),
}
_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    [
        *("svg", "g", "defs", "symbol", "use", "title", "desc", "style"),
        *("path", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
        *("text", "tspan", "textPath", "marker", "pattern", "mask", "clipPath", "linearGradient", "radialGradient", "stop"),
    ]
)
# What CSS can fetch, and the backslash, with which it could be spelled so that a search does not find it.
_OUTSIDE = re.compile(r"@import|\\|(?:image-set|image|src)\s*\(|url\s*\(\s*(?![\"']?#)", re.I)


def check(content: bytes, suffix: str, file: File) -> None:
    """Note what is wrong with an image; `suffix` is one of MEDIA_TYPES."""
    if len(content) > MAX_BYTES:
        file.fault(1, f"the image has {len(content)} bytes, {MAX_BYTES} are allowed")
    elif suffix == "svg":
        _Drawing(file).check(content)
    elif not _SIGNATURES[suffix].match(content):
        file.fault(1, f"the content is not {MEDIA_TYPES[suffix]}")


class _Drawing:
    """One pass of expat over an SVG."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._depth = 0
        self._style: list[str] | None = None
        self._parser = expat.ParserCreate("utf-8", " ")  # names come as "namespace name"
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.ProcessingInstructionHandler = self._instruction

    def check(self, content: bytes) -> None:
        try:
            self._parser.Parse(content, True)
        except expat.ExpatError as error:
            self._file.fault(error.lineno, f"not XML: {expat.errors.messages[error.code]}")
        except _Stop:
            pass

    def _fault(self, message: str) -> None:
        self._file.fault(self._parser.CurrentLineNumber, message)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        if self._depth == 0 and (namespace, local) != (_SVG, "svg"):
            self._fault(f'the root must be <svg xmlns="{_SVG}">')
            raise _Stop
        self._depth += 1
        if namespace != _SVG or local not in _ELEMENTS:
            self._fault(f"<{local[:40]}> is not allowed in an SVG")
        if local == "style":
            self._style = []
        for attribute, value in attributes.items():
            self._attribute(attribute, value)

    def _attribute(self, name: str, value: str) -> None:
        local = name.rpartition(" ")[2]
        if local.lower().startswith("on"):
            self._fault(f"the event attribute {local[:40]} is not allowed in an SVG")
        elif local in ("href", "src", "base"):
            if not value.startswith("#"):
                self._fault(f"{local} may only lead to a part of the same drawing (#id)")
        elif _OUTSIDE.search(value):
            self._fault(f"the attribute {local[:40]} refers to something outside the drawing")

    def _text(self, data: str) -> None:
        if self._style is not None:
            self._style.append(data)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._style is not None and name.endswith(" style"):
            if _OUTSIDE.search("".join(self._style)):
                self._fault("the style refers to something outside the drawing")
            self._style = None

    def _doctype(self, *args: object) -> None:
        self._fault("a document type (<!DOCTYPE>, entities) is not allowed in an SVG")
        raise _Stop

    def _instruction(self, target: str, data: str) -> None:
        self._fault(f"the processing instruction <?{target[:40]}> is not allowed in an SVG")


class _Stop(Exception):
    """Nothing behind this point is worth reading."""
