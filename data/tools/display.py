"""Examples and what a student wrote, for the terminal; and signals as a user names them."""

import itertools
import re
import shutil
import textwrap
from pathlib import Path

from data.tools.evaluation import judge
from data.tools.flags import UserError
from data.tools.terminal import paint, printable
from scaffold import END, NO_SIGNAL, PIECES, SIGNAL_NAMES, SIGNALS, signal_of


def show(example, tokenizer):
    """One Example as text for the terminal.

    Each signal has its colour, what the loss masks out is grey, and | marks every boundary.
    """
    special = {tokenizer.step_id: "|", tokenizer.end_id: END}
    signals = [NO_SIGNAL, *example.signals]  # of the tokens themselves, not of their targets
    parts = []
    for i, token in enumerate(example.ids):
        text = special.get(token) or tokenizer.encoding.decode([token])
        color = 90 if signals[i] == NO_SIGNAL else signal_of(signals[i]).color
        parts.append(paint(text, color))
        opens = signals[i + 1] if i + 1 < len(signals) else NO_SIGNAL
        if token == tokenizer.step_id and opens != NO_SIGNAL:
            opened = signal_of(opens)
            parts.append("\n" + paint(f"[{opened.name}]", opened.color))
    return "".join(parts)


def unknown_words(question, tokenizer):
    """Words of a question that a vocabulary built from the training traces lacks: a list.

    They are spelt in bytes. A student that seldom met such words cannot copy them.
    """
    if not isinstance(tokenizer.pieces, list):  # a published vocabulary, of parts of words
        return []
    pieces = dict.fromkeys(re.findall(PIECES, " " + question))
    known = set(tokenizer.pieces)
    unknown = [p for p in pieces if p not in known and len(p) > 1]
    return [p.strip() for p in unknown if p.strip().isalpha()]


def warn_of_unknown_words(question, tokenizer):
    """Print the `unknown_words` of a question, if any: expect little of the answer."""
    words = unknown_words(question, tokenizer)
    if words:
        print(paint(printable(f"not in the vocabulary: {', '.join(words)}"), 91))


def show_reasoning(reasoning, question, width=0):
    """A Reasoning as lines for the terminal, a colour for each signal; a wrong step says why.

    width: columns to wrap and fill; 0: lines as they are.
    """
    lines = []

    def add(text, color):
        for line in textwrap.wrap(text, width) if width else [text]:
            if line:
                lines.append(paint(line.ljust(width), color))

    texts = [step.text for step in reasoning.steps]
    verdicts = judge(question, texts) or [""] * len(texts)
    for i, step in enumerate(reasoning.steps):
        color = 0
        if step.signal != NO_SIGNAL:
            signal = signal_of(step.signal)
            color = signal.color
            add(f"[{signal.name}  {reasoning.confidence[i]:.2f}]", color)
        add(step.text, color)
        if verdicts[i]:
            add(f"  ^ {verdicts[i]}", 91)
    if not reasoning.finished:
        add("(stopped before an answer)", 91)
    return lines


def side_by_side(paths, students, reasonings, question):
    """Two Reasonings in two columns, as one text."""
    width = max(10, (shutil.get_terminal_size().columns - 3) // 2)
    columns = []
    for path, student, reasoning in zip(paths, students, reasonings, strict=True):
        title = printable(f"{Path(path)} ({student.method})", keep="")[-width:].ljust(width)
        columns.append([title, "-" * width, *show_reasoning(reasoning, question, width)])
    pairs = itertools.zip_longest(*columns, fillvalue=" " * width)
    return "\n".join(f"{left} | {right}" for left, right in pairs)


def signal_named(name):
    """Index of the signal whose names contain this: "recall", "Contrast". Raises UserError."""
    names = [f"{signal.name} {signal.short}".lower() for signal in SIGNALS]
    found = [i for i, both in enumerate(names) if name.strip().lower() in both]
    if len(found) != 1:  # an empty name is in all of them
        count = "more than one" if found else "no"
        names = ", ".join(SIGNAL_NAMES)
        raise UserError(f"--flow: {name!r} names {count} signal; take a word of: {names}")
    return found[0]
