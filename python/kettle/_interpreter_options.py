"""The command line of an interpreter: its options, and the program that it runs.

Imports nothing, because each `kettle run` pays for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CommandLine", "Mistake"]

_ALONE = frozenset("bBdEiIOPqRsSuvx")
_WITH_VALUE = frozenset("WX")
_LONG_WITH_VALUE = ("--check-hash-based-pycs",)


class Mistake(Exception):
    """An interpreter would not understand this; the message says what to do."""


class CommandLine:
    """`python OPTIONS... PROGRAM ARGUMENTS...`, parsed.

    words: the words after the name of the interpreter. Raises Mistake.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self._next = 0
        #: The options alone, one letter per word, each value as a separate word.
        self.options: list[str] = []
        #: The letters of those without a value.
        self.flags: set[str] = set()
        #: How the program is given: "-c", "-m", "-" for standard input, "" for a file or folder, None for not at all.
        self.kind: str | None = None
        #: The code, the module or the path.
        self.program = ""
        #: The remaining words, for the program.
        self.arguments: list[str] = []
        self._read()

    def _read(self) -> None:
        while self.kind is None and self._next < len(self._words):
            word = self._words[self._next]
            if word == "-":
                self.kind = word
            elif not word.startswith("-"):
                self.kind = ""
                self.program = word
            elif word == "--":
                if self._next + 1 < len(self._words):
                    self.kind = ""
                    self.program = self._value(word)
            elif word.startswith("--"):
                self._read_long(word)
            else:
                self._read_letters(word)
            self._next += 1
        self.arguments = list(self._words[self._next :])

    def _read_long(self, word: str) -> None:
        if word not in _LONG_WITH_VALUE:
            raise _unknown(word)
        self.options += [word, self._value(word)]

    def _read_letters(self, word: str) -> None:
        for place, letter in enumerate(word[1:], start=1):
            option = f"-{letter}"
            if letter in _ALONE:
                self.flags.add(letter)
                self.options.append(option)
                continue
            if letter not in _WITH_VALUE and letter not in "cm":
                raise _unknown(option if place == 1 else f"{option} in {word}")
            value = word[place + 1 :] or self._value(option)
            if letter in _WITH_VALUE:
                self.options += [option, value]
            else:
                self.kind, self.program = option, value
            return

    def _value(self, option: str) -> str:
        self._next += 1
        if self._next == len(self._words):
            raise Mistake(_NEEDS.get(option, f"{option} needs a value behind it"))
        return self._words[self._next]


_NEEDS = {
    "-c": "-c needs the code to run: kettle run -c 'print(1)'",
    "-m": "-m needs the name of a module: kettle run -m package.module",
}


def _unknown(option: str) -> Mistake:
    return Mistake(f"unknown option {option}; options of the program come after its name")
