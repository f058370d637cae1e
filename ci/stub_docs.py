"""Copies the docstrings of public methods from the compiled module into its stub, because editors show only those of
the stub. Docstrings that exist only in the stub are kept.

    python ci/stub_docs.py            updates the stub
    python ci/stub_docs.py --check    fails if the stub is out of date
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from pathlib import Path
from types import ModuleType

STUB = Path(__file__).parent.parent / "python" / "kettle" / "_native.pyi"
WIDTH = 120


def with_docs(source: str, module: ModuleType) -> str:
    """Returns the text of a stub, with the docstrings of the module."""
    lines = source.splitlines()
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    # From the last to the first, so that earlier positions stay valid.
    for node in reversed(classes.values()):
        for method in reversed(_public_methods(node)):
            doc = _doc(node.name, method.name, classes, module)
            there = ast.get_docstring(method)
            if there is not None and not hasattr(module, node.name):
                continue
            if doc is not None and (there is None or doc.split() != there.split()):
                _set(lines, method, doc)
    return "\n".join(lines) + "\n"


def _public_methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")]
    # A setter has the docstring of its property.
    return [each for each in methods if not any(isinstance(mark, ast.Attribute) for mark in each.decorator_list)]


def undocumented(source: str) -> list[str]:
    """Returns the public methods in a stub that have no docstring."""
    return [
        f"{node.name}.{method.name}"
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
        for method in _public_methods(node)
        if ast.get_docstring(method) is None
    ]


def _doc(class_name: str, name: str, classes: dict[str, ast.ClassDef], module: ModuleType) -> str | None:
    """Returns the module's docstring of a method. For a class that exists only in the stub, as a base of others, one of
    those is used."""
    cls = getattr(module, class_name, None)
    if cls is not None:
        text = getattr(inspect.getattr_static(cls, name, None), "__doc__", None)
        return inspect.cleandoc(text) if text else None
    for other in classes.values():
        if any(isinstance(base, ast.Name) and base.id == class_name for base in other.bases):
            doc = _doc(other.name, name, classes, module)
            if doc is not None:
                return doc
    return None


def _set(lines: list[str], method: ast.FunctionDef, doc: str) -> None:
    """Gives a method this docstring, in place of its present one or of its three dots."""
    body = method.body[0]
    assert isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant)
    indent = " " * (method.col_offset + 4)
    text = _wrapped(f'"""{doc}"""', indent)
    first, last = body.lineno - 1, (body.end_lineno or body.lineno)
    if body.value.value is ...:
        line = lines[first]
        text.insert(0, line[: body.col_offset].rstrip() + line[body.end_col_offset or 0 :])
    lines[first:last] = [*text, ""]


def _wrapped(doc: str, indent: str) -> list[str]:
    paragraphs = doc.split("\n\n")
    if any(len(indent + line) > WIDTH for line in doc.splitlines()):
        paragraphs = [textwrap.fill(" ".join(part.split()), WIDTH - len(indent)) for part in paragraphs]
    return textwrap.indent("\n\n".join(paragraphs), indent).splitlines()


def main() -> int:
    from kettle import _native

    before = STUB.read_text()
    after = with_docs(before, _native)
    if "--check" in sys.argv:
        return int(before != after)
    STUB.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
