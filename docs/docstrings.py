"""For mkdocstrings: our docstrings say `name : what it is` where numpydoc has a type."""

from __future__ import annotations

from typing import Any

import griffe


class Prose(griffe.Extension):
    """Moves that text from the type's place to the description's."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Go through a package once it is loaded."""
        self._visit(pkg)

    def _visit(self, item: griffe.Object) -> None:
        for member in item.members.values():
            if not member.is_alias:
                self._visit(member)
        for section in item.docstring.parsed if item.docstring else []:
            if section.kind.value in ("parameters", "attributes", "returns", "raises", "yields"):
                for element in section.value:
                    self._reword(element, section.kind.value)

    def _reword(self, element: Any, kind: str) -> None:
        said = str(element.annotation or "")
        if kind == "raises":
            element.annotation, _, said = said.partition(" : ")
        elif isinstance(element.annotation, str):
            element.annotation = None
        else:
            said = ""  # from the signature
        element.description = f"{said} {element.description}".strip()
