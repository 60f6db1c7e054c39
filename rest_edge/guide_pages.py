"""The guides: Markdown in `guides/LANGUAGE`, made into HTML.

In the repository they read as plain Markdown. On the page, a list of links to samples shows the files themselves, links
between guides lead to the pages, and a comment such as `<!-- error table -->` is replaced by what it names.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererProtocol
from markdown_it.token import Token
from markupsafe import Markup, escape

GUIDES = (
    "first-payment",
    "signing",
    "callbacks",
    "refunds",
    "idempotency",
    "errors",
    "amounts-and-times",
    "states",
    "sandbox",
    "going-live",
)
"""In reading order."""

Insert = Callable[[str], Markup]
"""Language → HTML that stands for a comment."""


@dataclass(frozen=True)
class Guide:
    """`source` is the Markdown, `title` its first heading."""

    slug: str
    language: str
    title: str
    source: str


def load_guide(slug: str, language: str) -> Guide:
    """One guide from the package."""
    source = files("rest_edge").joinpath(f"guides/{language}/{slug}.md").read_text("utf-8")
    return Guide(slug, language, source.partition("\n")[0].removeprefix("# "), source)


_PARTS = re.compile(
    r"^<!-- (?P<insert>[a-z ]+) -->$|(?P<samples>(?:^- \[[^\]]+\]\(\.\./\.\./samples/[^)]+\)\n)+)",
    re.MULTILINE,
)
_SAMPLE = re.compile(r"\[([^\]]+)\]\(\.\./\.\./samples/([^)]+)\)")


def guide_html(guide: Guide, inserts: Mapping[str, Insert]) -> Markup:
    """The guide as HTML. An unknown comment is a KeyError."""
    pieces, position = [], 0
    for part in _PARTS.finditer(guide.source):
        pieces.append(_html(guide.source[position : part.start()], guide.language))
        if part["insert"]:
            pieces.append(inserts[part["insert"]](guide.language))
        else:
            pieces.append(_samples(_SAMPLE.findall(part["samples"])))
        position = part.end()
    pieces.append(_html(guide.source[position:], guide.language))
    return Markup().join(pieces)


def sample_source(name: str) -> str:
    """A sample's file, exactly."""
    return files("rest_edge").joinpath(f"samples/{name}").read_text("utf-8")


def _samples(found: Sequence[tuple[str, str]]) -> Markup:
    """Each sample folded up under its language, the first one open; only one of them at a time."""
    group = found[0][1].partition(".")[0].lower()
    items = [
        Markup(
            '<details name="{}"{}><summary>{} <code>{}</code></summary>'
            '<pre tabindex="0"><code>{}</code></pre></details>'
        ).format(group, Markup(" open") if index == 0 else "", title, name, sample_source(name))
        for index, (title, name) in enumerate(found)
    ]
    return Markup('<div class="samples">{}</div>').format(Markup().join(items))


def address(href: str, language: str) -> str:
    """Where a link of a guide leads on the site: other guides by name, our own pages in the same language."""
    page, hash_sign, anchor = href.partition("#")
    if page.endswith(".md"):
        page = f"/docs/guides/{page.removesuffix('.md')}"
    if page.startswith("/docs"):
        page += f"?lang={language}"
    return page + hash_sign + anchor


def anchor(title: str) -> str:
    """`Every code` → `every-code`; Chinese characters stay."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _html(source: str, language: str) -> Markup:
    env = {"language": language}
    tokens = _MARKDOWN.parse(source, env)
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[index + 1].content))
    text = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, env)
    # Markdown of our own, in which HTML is escaped.
    return Markup(text.replace("<li>[ ] ", '<li class="todo">'))  # noqa: S704


def _link_open(
    renderer: RendererProtocol, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    token = tokens[index]
    token.attrSet("href", address(str(token.attrGet("href")), env["language"]))
    return str(renderer.renderToken(tokens, index, options, env))  # type: ignore[attr-defined]  # of every renderer


def _fence(_renderer: RendererProtocol, tokens: Sequence[Token], index: int, *_: Any) -> str:
    return f'<pre tabindex="0"><code>{escape(tokens[index].content)}</code></pre>\n'


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("link_open", _link_open)
    markdown.add_render_rule("fence", _fence)
    markdown.add_render_rule("table_open", lambda *_: '<div class="scroll" tabindex="0"><table>\n')
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return markdown


_MARKDOWN = _markdown()
