"""Reads Rust sources as far as figures about their shape need it: lines, functions, structs, and which file uses which.

This is a lexer with brace matching, not a compiler. Comments, strings and unit tests are blanked out first, so that
positions in the remaining text are those of the file. What a macro generates is not seen, and a path is resolved by
names alone.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

# What may hide code from a lexer, in the order in which it is tried. A lifetime is not the start of a character.
_HIDDEN = re.compile(
    r"""
    (?P<line>//[^\n]*)
  | (?P<block>/\*)
  | (?P<raw>\b(?:b|c)?r(?P<hashes>\#*)".*?"(?P=hashes))
  | (?P<string>\b[bc]?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*")
  | (?P<char>\bb'(?:\\.|[^'\\])'|'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])')
    """,
    re.VERBOSE | re.DOTALL,
)
_TESTS = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+\w+\s*\{")
_ITEM = re.compile(r"\b(?:fn|struct|enum|trait|type|const|static|union|macro_rules!)\s+(?:mut\s+)?(\w+)")
# A parameter that every method has, or every binding.
_GIVEN = re.compile(r"(?:#\[[^\]]*\]\s*)*(?:(?:&\s*(?:'\w+\s+)?)?(?:mut\s+)?self\b|_?py\s*:)")
_PATH = re.compile(r"(?<![\w:$])\w+(?:\s*::\s*\w+)+")
# Declarations that name a path without using what is there.
_NO_USE_OF_ITEMS = re.compile(
    r"^[ \t]*(?:pub(?:\([^)]*\))?\s+)?(?:use\s+[^;]+|mod\s+\w+);|\bpub\(in [^)]*\)", re.MULTILINE
)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _end_of_block_comment(text: str, start: int) -> int:
    depth = 0
    for found in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return start + found.end()
    return len(text)


def without_comments(text: str) -> tuple[str, list[tuple[int, str]]]:
    """Returns the code with comments and literals blanked out, and the comments as (position, text)."""
    pieces: list[str] = []
    comments: list[tuple[int, str]] = []
    at = 0
    while found := _HIDDEN.search(text, at):
        pieces.append(text[at : found.start()])
        end = found.end()
        if found["block"]:
            end = _end_of_block_comment(text, found.start())
        hidden = text[found.start() : end]
        if found["line"] or found["block"]:
            comments.append((found.start(), hidden))
            pieces.append(_blank(hidden))
        else:
            # A literal stays a token, so that its line counts as code.
            pieces.append('"' + _blank(hidden[1:-1]) + '"')
        at = end
    pieces.append(text[at:])
    return "".join(pieces), comments


def closing(code: str, start: int) -> int:
    """The position of the bracket that closes the one at `start`; the end of the text if there is none."""
    pairs = {"{": "}", "(": ")", "[": "]"}
    opening, other = code[start], pairs[code[start]]
    depth = 0
    for found in re.finditer(f"[{re.escape(opening + other)}]", code[start:]):
        depth += 1 if found[0] == opening else -1
        if depth == 0:
            return start + found.start()
    return len(code)


def split(text: str) -> list[str]:
    """The parts between the commas that are inside no bracket."""
    parts, depth, start = [], 0, 0
    arrows_hidden = text.replace("->", "  ").replace("=>", "  ")
    for position, character in enumerate(arrows_hidden):
        if character in "([{<":
            depth += 1
        elif character in ")]}>":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


@dataclass
class Function:
    name: str
    path: Path
    lines: int
    parameters: int
    """Without `self` and `py`, which every method and every binding has."""


@dataclass
class Struct:
    name: str
    path: Path
    fields: int


@dataclass
class Source:
    path: Path
    code: str
    """The text with comments, literals and unit tests blanked out."""
    lines: int
    """All of them, but for unit tests."""
    code_lines: int
    doc_lines: int
    comment_lines: int
    module: tuple[str, ...] = ()
    items: set[str] = field(default_factory=set)
    imports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Local name: the path behind it, as written."""
    reexports: set[str] = field(default_factory=set)

    @functools.cached_property
    def functions(self) -> list[Function]:
        found = []
        for start in re.finditer(r"\bfn\s+(\w+)\s*(?=[<(])", self.code):
            opening = self._behind_generics(start.end(), "(")
            if opening is None:
                continue
            end = closing(self.code, opening)
            body = re.compile(r"[;{]").search(self.code, end)
            if body is None or body[0] == ";":
                continue
            parameters = [part for part in split(self.code[opening + 1 : end]) if not _GIVEN.match(part)]
            lines = self.code.count("\n", start.start(), closing(self.code, body.start())) + 1
            found.append(Function(start[1], self.path, lines, len(parameters)))
        return found

    def _behind_generics(self, position: int, wanted: str) -> int | None:
        """The first of these characters that is not in angle brackets, which may have parentheses and arrows inside."""
        depth = 0
        for at, character in enumerate(itertools.islice(self.code, position, None), position):
            if character == "<":
                depth += 1
            elif character == ">" and self.code[at - 1] not in "-=":
                depth -= 1
            elif character in wanted and depth == 0:
                return at
        return None

    @functools.cached_property
    def structs(self) -> list[Struct]:
        found = []
        for start in re.finditer(r"\bstruct\s+(\w+)\s*", self.code):
            opening = self._behind_generics(start.end(), "{(;")
            if opening is None or self.code[opening] != "{":
                continue
            inside = self.code[opening + 1 : closing(self.code, opening)]
            fields = [part for part in split(inside) if ":" in part]
            found.append(Struct(start[1], self.path, len(fields)))
        return found

    @functools.cached_property
    def methods_of(self) -> set[str]:
        """The names of the types to which this file adds methods of its own, not those of a trait."""
        types = set()
        for start in re.finditer(r"^\s*(?:unsafe\s+)?impl\b", self.code, re.MULTILINE):
            opening = self._behind_generics(start.end(), "{")
            head = re.sub(r"->|=>", "", self.code[start.end() : opening]).lstrip()
            # `impl<T: Bound<U>>` of nested angle brackets, innermost first.
            while head.startswith("<"):
                head = re.sub(r"<[^<>]*>", "", head).lstrip()
            if not re.search(r"\bfor\b", head) and "$" not in head and (name := re.match(r"(?:\w+::)*(\w+)", head)):
                types.add(name[1])
        return types

    @functools.cached_property
    def macros(self) -> list[tuple[str, int]]:
        """(name, lines) of each `macro_rules!`."""
        return [
            (start[1], self.code.count("\n", start.start(), closing(self.code, start.end() - 1)) + 1)
            for start in re.finditer(r"\bmacro_rules!\s+(\w+)\s*[{(]", self.code)
        ]


def _use_tree(prefix: tuple[str, ...], tree: str) -> list[tuple[str, tuple[str, ...]]]:
    """The (local name, path) pairs of a `use`."""
    tree = tree.strip()
    if "{" in tree:
        head, _, rest = tree.partition("{")
        base = prefix + tuple(part for part in re.split(r"\s*::\s*", head.strip()) if part)
        return [pair for part in split(rest[: rest.rindex("}")]) for pair in _use_tree(base, part)]
    name, _, alias = tree.partition(" as ")
    path = prefix + tuple(part for part in re.split(r"\s*::\s*", name.strip()) if part)
    if path and path[-1] == "self":
        path = path[:-1]
    return [(alias.strip() or (path[-1] if path else ""), path)]


def read(path: Path, top: Path) -> Source:
    """Reads a file of the crate whose sources are in `top`."""
    text = path.read_text()
    code, comments = without_comments(text)
    skipped: set[int] = set()
    while tests := _TESTS.search(code):
        end = closing(code, tests.end() - 1) + 1
        skipped.update(range(code.count("\n", 0, tests.start()), code.count("\n", 0, end) + 1))
        code = code[: tests.start()] + _blank(code[tests.start() : end]) + code[end:]

    for inner in re.finditer(r"\bmod\s+\w+\s*\{", code):
        end = closing(code, inner.end() - 1)
        # What is above a module inside this file is this file.
        code = code[: inner.end()] + code[inner.end() : end].replace("super::", "self ::") + code[end:]

    docs, plain = set(), set()
    for start, comment in comments:
        first = text.count("\n", 0, start)
        is_doc = re.match(r"//[/!](?!/)|/\*[*!]", comment)
        (docs if is_doc else plain).update(range(first, first + comment.count("\n") + 1))
    with_code = {number for number, line in enumerate(code.split("\n")) if line.strip()}

    parts = list(path.relative_to(top).with_suffix("").parts)
    if parts[-1] in ("mod", "lib", "main"):
        parts.pop()
    source = Source(
        path=path,
        code=code,
        lines=len(set(range(text.count("\n"))) - skipped),
        code_lines=len(with_code - skipped),
        doc_lines=len(docs - with_code - skipped),
        comment_lines=len(plain - with_code - docs - skipped),
        module=tuple(parts),
        items=set(_ITEM.findall(code)),
    )
    for use in re.finditer(r"(?m)^[ \t]*(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", code):
        for name, target in _use_tree((), use[2]):
            source.imports[name] = target
            if use[1]:
                source.reexports.add(name)
    return source


class Crate:
    """The sources of a crate."""

    def __init__(self, top: Path) -> None:
        self.name = top.parent.name
        self.top = top
        self.sources = [read(path, top) for path in sorted(top.rglob("*.rs"))]
        self._by_module = {source.module: source for source in self.sources}

    def _resolve(self, source: Source, path: tuple[str, ...], seen: frozenset[object] = frozenset()) -> Source | None:
        """The file that defines what `path` means in `source`, through re-exports; None if it is of another crate."""
        if not path or (source.module, path) in seen:
            return None
        seen |= {(source.module, path)}
        first, *rest = path
        at: tuple[str, ...]
        if first == "crate":
            at = ()
        elif first == "self":
            at = source.module
        elif first == "super":
            at = source.module[:-1]
            while rest and rest[0] == "super":
                at, rest = at[:-1], rest[1:]
        elif (*source.module, first) in self._by_module:
            at = (*source.module, first)
        elif first in source.items:
            return source
        elif first in source.imports and source.imports[first] != path:
            return self._resolve(source, (*source.imports[first], *rest), seen)
        else:
            return None
        while rest and (*at, rest[0]) in self._by_module:
            at, rest = (*at, rest[0]), rest[1:]
        there = self._by_module.get(at)
        if there is None or not rest or rest[0] in there.items:
            return there
        if rest[0] in there.imports:
            return self._resolve(there, (*there.imports[rest[0]], *rest[1:]), seen) or there
        stars = [target for name, target in there.imports.items() if name == "*"]
        for star in stars:
            if found := self._resolve(there, (*star[:-1], *rest), seen):
                return found
        return there

    @functools.cached_property
    def arrows(self) -> dict[Path, set[Path]]:
        """{file: the files of the crate whose items it names}. A re-export alone is no arrow."""
        found: dict[Path, set[Path]] = {}
        for source in self.sources:
            uses = found.setdefault(source.path, set())
            paths = {target for name, target in source.imports.items() if name not in source.reexports}
            without_uses = _NO_USE_OF_ITEMS.sub("", source.code)
            paths.update(tuple(re.split(r"\s*::\s*", path)) for path in _PATH.findall(without_uses))
            for name in source.reexports:
                if re.search(rf"\b{re.escape(name)}\b", without_uses):
                    paths.add(source.imports[name])
            for path in paths:
                there = self._resolve(source, path)
                if there is not None and there.path != source.path:
                    uses.add(there.path)
        return found

    @functools.cached_property
    def circles(self) -> list[list[Path]]:
        """The files that use each other, directly or through others; the largest circle first."""
        circles = [sorted(group) for group in _strongly_connected(self.arrows) if len(group) > 1]
        return sorted(circles, key=lambda group: (-len(group), group))

    @property
    def scattered(self) -> dict[str, list[Path]]:
        """{type: the files that define methods of it}, for types whose methods are in more than one."""
        homes: dict[tuple[Path, str], list[Path]] = {}
        for source in self.sources:
            for name in source.methods_of:
                home = source if name in source.items else self._resolve(source, (name,))
                if home is not None:
                    homes.setdefault((home.path, name), []).append(source.path)
        return {name: paths for (_, name), paths in homes.items() if len(paths) > 1}


def _strongly_connected(arrows: dict[Path, set[Path]]) -> list[set[Path]]:
    """Kosaraju's algorithm, without recursion."""
    order: list[Path] = []
    seen: set[Path] = set()
    for root in arrows:
        stack = [(root, iter(sorted(arrows[root])))] if root not in seen else []
        seen.add(root)
        while stack:
            node, targets = stack[-1]
            following = next((target for target in targets if target not in seen), None)
            if following is None:
                order.append(stack.pop()[0])
            else:
                seen.add(following)
                stack.append((following, iter(sorted(arrows[following]))))
    reversed_arrows: dict[Path, set[Path]] = {node: set() for node in arrows}
    for node, targets in arrows.items():
        for target in targets:
            reversed_arrows[target].add(node)
    groups: list[set[Path]] = []
    placed: set[Path] = set()
    for root in reversed(order):
        if root in placed:
            continue
        group, todo = set(), [root]
        while todo:
            node = todo.pop()
            if node not in placed:
                placed.add(node)
                group.add(node)
                todo.extend(reversed_arrows[node])
        groups.append(group)
    return groups
