"""Lets the API pages show the doctests of ``Example:`` sections as code."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames ``Example:`` to the one section name that griffe reads as doctests."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")
