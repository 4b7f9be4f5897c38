"""Text for a terminal that never obeys what it shows."""

import sys


def printable(text, keep="\n"):
    """The text without control characters: these could move the cursor or rename the window."""
    return "".join(c if c.isprintable() or c in keep else "\ufffd" for c in text)


def one_line(message):
    """A message as one line that can be read, whatever it quotes."""
    text = printable(str(message), keep="")
    return text if len(text) <= 500 else f"{text[:240]} ... {text[-240:]}"


def first_line(error):
    """The kind of an exception and what it says, on one short line."""
    return f"{type(error).__name__} {error}".splitlines()[0][:100]


def paint(text, color):
    """The text in an ANSI colour (a number), or plain where the output is no terminal."""
    text = printable(text)
    return f"\x1b[{color}m{text}\x1b[0m" if sys.stdout.isatty() else text
