"""Messages as a stranger at a socket or a faulty process might send them: valid ones with changes."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections import Counter

from tests.compact.records import INLINE, message_of, record_of
from tests.compact.structures import Maker

import kettle.multiprocessing
from kettle.multiprocessing.connection import Connection

#: The errors that an invalid message may raise; any other is a fault. `UnicodeDecodeError` is a `ValueError`.
ORDINARY = (ValueError, TypeError, OSError, EOFError)
#: The beginning of a message that is followed by a pickle, whose mutations would test the interpreter's unpickler.
PICKLE = bytes([INLINE, 0])
#: Messages that a receiver drops, as if a dead process had left them, before it goes on waiting.
REST = 3
#: Numbers at which lengths and offsets overflow.
EDGES = [n + d for n in (0, 1 << 7, 1 << 8, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 63) for d in (-1, 0, 1)]


def messages(seed: int, count: int) -> list[bytes]:
    """Yields what a pipe carries: objects that skip pickle, in all their forms. Sort and kind, then the bytes."""
    sender, receiver = kettle.multiprocessing.Pipe()
    maker = Maker(seed, others=0)
    found: list[bytes] = []
    while len(found) < count:
        maker.made.clear()
        sender.send(maker.make())
        # An announced one leaves its block behind in the pipe's queue, where it is never fetched.
        record = os.read(receiver.fileno(), 1 << 16)
        if record[0] != INLINE:
            continue
        kind, body = message_of(record)
        message = bytes([INLINE, kind]) + body
        if message[:2] != PICKLE and len(message) < 500:
            found.append(message)
    return found


class Mutations:
    """Endless variations of some messages."""

    def __init__(self, seed: int, messages: list[bytes]) -> None:
        self.random = random.Random(seed)
        self.messages = messages

    def some(self, count: int) -> list[bytes]:
        """Returns the given number of them, each with one to three changes."""
        below, messages = self.random.random, self.messages
        made = []
        for noise in self.random.randbytes(count):
            message = bytearray(messages[int(below() * len(messages))])
            self._change(message, noise & 15)
            if noise & 0x30 == 0:
                self._change(message, noise >> 4)
                self._change(message, int(below() * 16))
            made.append(bytes(message))
        return made

    def _change(self, message: bytearray, how: int) -> None:
        below = self.random.random
        at = int(below() * len(message))
        if not message:
            message += b"\x07"
        elif how < 5:
            message[at] = int(below() * 256)
        elif how < 8:
            message[at] ^= 1 << int(below() * 8)
        elif how < 10:
            message[at] = int(below() * 24)  # a step of the decoder, or a small number
        elif how == 10:
            message[at:at] = self.random.randbytes(1 + int(below() * 4))
        elif how == 11:
            del message[at : at + 1 + int(below() * 4)]
        elif how == 12:
            del message[at:]
        elif how == 13:
            size = 4 if below() < 0.5 else 8
            edge = EDGES[int(below() * len(EDGES))] & ((1 << 8 * size) - 1)
            message[at : at + size] = edge.to_bytes(size, "little" if below() < 0.8 else "big")
        elif how == 14:
            message[at : at + 8] = message[: int(below() * 8)]
        else:
            other = self.messages[int(below() * len(self.messages))]
            message[at:] = other[int(below() * len(other)) :]


class Pipes:
    """Mutated messages through a pipe, received as objects."""

    def __init__(self, seed: int) -> None:
        self.mutations = Mutations(seed, messages(seed, 400))
        self.outcomes: Counter[str] = Counter()
        self.sender, self.receiver = kettle.multiprocessing.Pipe()

    def run(self, count: int) -> None:
        """Sends and receives the given number. An unexpected exception passes through, with the message as a note."""
        write, number, receive, outcomes = os.write, self.sender.fileno(), self.receiver.recv, self.outcomes
        for message in self.mutations.some(count):
            if message[:2] == PICKLE or len(message) < 2 or message[0] == REST:
                continue
            write(number, record_of(message[1], message[2:], message[0]))
            try:
                receive()
            except ORDINARY as error:
                outcomes[type(error).__name__] += 1
            except BaseException as error:
                raise AssertionError(f"this message raises {error!r}: {message.hex()}") from error
            else:
                outcomes["an object"] += 1


class Streams:
    """Mutated frames through a socket, received as bytes: what a stranger sends before authentication."""

    def __init__(self, seed: int) -> None:
        bodies = [random.Random(seed + i).randbytes(i * 7) for i in range(20)]
        frames = [struct.pack("!i", len(body)) + body for body in bodies]
        frames += [struct.pack("!iQ", -1, len(body)) + body for body in bodies]
        self.mutations = Mutations(seed, [a + b for a in frames for b in frames[::7]])
        self.outcomes: Counter[str] = Counter()

    def run(self, count: int) -> None:
        """Sends the given number, and receives until their end. Otherwise like `Pipes`."""
        for frames in self.mutations.some(count):
            ours, theirs = socket.socketpair()
            with Connection(ours.detach()) as receiver:
                with theirs:
                    theirs.sendall(frames)
                try:
                    while True:
                        receiver.recv_bytes()
                except ORDINARY as error:
                    self.outcomes[type(error).__name__] += 1
                except BaseException as error:
                    raise AssertionError(f"these frames raise {error!r}: {frames.hex()}") from error
