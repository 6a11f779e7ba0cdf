"""Self-contained HTML pages from templates: every value is escaped, nothing is loaded."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from bptrain.errors import printable


def rendered(package: str, template: str, content: Mapping[str, Any]) -> str:
    """Return the page that a package's template makes of values, by name.

    Beside its own, a template can include those of `bptrain.monitor`, which pages share.
    """
    return printable(environment(package).get_template(template).render(content))


@cache
def environment(package: str) -> Environment:
    """Return the templates of a package, which are compiled at their first use."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("bptrain.monitor")]),
        autoescape=True,  # names come from configs and data
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
