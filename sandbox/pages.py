"""Jinja templates of the sandbox's pages."""

from pathlib import Path

import falcon
import jinja2

_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(resp: falcon.Response, template: str, **values: object) -> None:
    """Fills the answer with a page."""
    resp.content_type = "text/html; charset=utf-8"
    resp.text = _environment.get_template(template).render(**values)
