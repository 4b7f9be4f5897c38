"""The embedded teacher: procedural problems with a written-out reasoning trace, made in seconds.

Nine families: algorithmic tasks of BIG-Bench Hard (Suzgun et al. 2022) in its question format,
family_relations (after the quiz of fairydreaming/farel-bench), reachability (breadth-first search
on a map) and word_problems (in the form of GSM8K). A row of train.jsonl, on several lines:

    {"id": "train-boolean_expressions-2", "task": "boolean_expressions",
     "question": "( False or True ) is",
     "trace": "Right, False or True makes True, which leaves ( True ).
               \\n\\nLet me see: ( True ) makes True, leaving True.
               \\n\\nThe whole expression is True.\\n\\nThe answer is True.",
     "answer": "True"}

The algorithm decides the signal of every step, never a coin; train.gold.jsonl holds these gold
signals. Only the wording is random. What a signal means here:

    RECALL     states a given fact or rule           REASONING  computes, follows, compares
    ADDITION   one more case like the step before    EXAMPLES   tries a concrete case
    CONTRAST   turns: a claim is false, a direction reverses, an item does not count, a dead end
    CONCLUSION sums up                               RESPONSE   hands over the answer

With --forks the teacher of some families chooses by chance where several ways are right: to sum up
in between or to go on, to compare what somebody says or to suppose the contrary, which operation
or town goes first. What it then does still decides the signal. The questions stay the same, and a
line of train.gold.jsonl gets "open": for each step, the signals of all ways that the teacher had.

    python -m data.algorithmic.prepare                                   # the default set
    python -m data.algorithmic.prepare --tasks navigate --lengths 10-12 --out_dir longer
    python -m data.algorithmic.prepare --forks --out_dir forked
"""

import hashlib
import random
import re
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from data.algorithmic.common import write
from data.tools.files import normal_form, write_jsonl
from data.tools.flags import UserError, flag, parse_flags, run_program
from scaffold import RESPONSE

# A tenth family is one more file in this folder and one more line here.
FAMILY_NAMES = [
    "web_of_lies",
    "navigate",
    "boolean_expressions",
    "dyck_languages",
    "object_counting",
    "tracking_shuffled_objects",
    "family_relations",
    "reachability",
    "word_problems",
]
FAMILIES = {name: import_module(f"data.algorithmic.{name}").FAMILY for name in FAMILY_NAMES}
FORKED = [name for name, family in FAMILIES.items() if family.has_forks]
# Those that two cores learn within the default run.
DEFAULT_TASKS = "web_of_lies,boolean_expressions,dyck_languages,object_counting"


def split_of(question):
    """train (80%), val or test (10% each), by a hash: they share no question, whatever the seed.

    White space makes no difference, as in `question_hash`.
    """
    splits = ("val", "test", *["train"] * 8)
    return splits[hashlib.blake2b(normal_form(question).encode()).digest()[0] % 10]


def problem(rng, task, lengths=None, forks=None):
    """One random Problem; lengths: (shortest, longest) in place of the family's own.

    forks: the random.Random that chooses at its forks, or None: there is no choice.
    """
    family = FAMILIES[task]
    low, high = lengths or family.lengths
    only = [n for n in family.only_lengths if low <= n <= high] or family.only_lengths[-1:]
    length = rng.choice(only) if only else family.draw_length(rng, low, high)
    options = {"forks": forks} if family.has_forks else {}
    return family.make(rng, length, **options)


def generate(task, split, n, seed=0, lengths=None, forks=False):
    """Yield n rows (dict, gold signals) of one task; the first rows do not depend on n.

    forks: the same questions, but the teacher chooses where several ways are right, and a row has
    "open": for each step the signals that were right there. Raises ValueError when there are not so
    many different questions.
    """
    rng = random.Random(f"{seed}/{task}/{split}")
    choices = random.Random(f"{seed}/{task}/{split}/forks")
    seen = set()
    misses = 0
    while len(seen) < n:
        state = rng.getstate() if forks else None
        p = problem(rng, task, lengths)
        if p.question in seen or split_of(p.question) != split:
            misses += 1
            if misses == 5000:  # in a row
                found = f"only {len(seen)} different {split} questions of these lengths, {n} wanted"
                raise ValueError(f"{task}: {found}: widen --lengths or ask for fewer")
            continue
        steps, texts = written(rng, p)
        if forks:  # the same problem once more; rng itself has gone on to the next question
            again = random.Random()
            again.setstate(state)
            p = problem(again, task, lengths, choices)
            steps, texts = written(again, p)
        row = {
            "id": f"{split}-{task}-{len(seen)}",
            "task": task,
            "question": p.question,
            "trace": "\n\n".join(texts),
            "answer": p.answer,
        }
        signals = [signal for signal, _ in steps]
        if forks:
            row["open"] = [sorted(p.open_signals.get(i, {s})) for i, s in enumerate(signals)]
        seen.add(p.question)
        misses = 0
        yield row, signals


def written(rng, p):
    """(steps of a Problem with the last one, which hands over the answer; their texts)."""
    steps = [*p.steps, (RESPONSE, p.answer)]
    return steps, [write(rng, signal, body) for signal, body in steps]


def rows(tasks, split, n, seed=0, lengths=None, forks=False):
    """The first n (row, gold signals) over several tasks, in turn; in training by their share."""
    shares = {task: FAMILIES[task].train_share if split == "train" else 1 for task in tasks}
    counts = dict.fromkeys(tasks, 0)
    order = []
    for _ in range(n):
        wanted = [t for t in tasks if counts[t] < FAMILIES[t].most_train] or tasks
        task = min(wanted, key=lambda t: (counts[t] + 1) / shares[t])
        counts[task] += 1
        order.append(task)
    streams = {task: generate(task, split, counts[task], seed, lengths, forks) for task in tasks}
    return [next(streams[task]) for task in order]


@dataclass
class PrepareConfig:
    tasks: str = flag(
        DEFAULT_TASKS, "all, or families, comma-separated, of: " + ", ".join(FAMILIES)
    )
    n_train: int = flag(20000, "training rows over all families; 0: no such file", high=10**7)
    n_val: int = flag(250, "validation rows over all families", high=10**7)
    n_test: int = flag(500, "test rows over all families", high=10**7)
    lengths: str = flag(
        "",
        "shortest and longest problem, as 7-10, in people, instructions, tokens, symbols, items, "
        "objects, facts, towns or operations; empty: each family's own",
    )
    forks: bool = flag(
        False,
        "the teacher chooses where several ways are right, and .gold.jsonl has their signals; in "
        + ", ".join(FORKED),
    )
    seed: int = flag(0, "seed of the data; other questions for another seed", high=2**31)
    out_dir: str = flag(
        str(Path(__file__).parent), "folder for train.jsonl, val.jsonl, test.jsonl and .gold.jsonl"
    )


def parse_lengths(text):
    """(shortest, longest) of "7-10"; None for an empty text. Raises UserError."""
    if not text:
        return None
    if re.fullmatch(r"\d{1,3}-\d{1,3}", text):
        shortest, longest = map(int, text.split("-"))
        if 2 <= shortest <= longest:
            return shortest, longest
    raise UserError(f"--lengths {text[:20]!r}: write two whole numbers from 2 to 999, as 7-10")


def parse_tasks(text, forks=False):
    """The names in "navigate,reachability", or "all" of them.

    Raises UserError for a task that is no family, and for forks where no family has any.
    """
    tasks = FAMILY_NAMES if text == "all" else text.split(",")
    unknown = sorted(set(tasks) - set(FAMILIES))
    if unknown:
        raise UserError(f"unknown task {unknown[0][:60]!r}: choose from {', '.join(FAMILIES)}")
    if forks and not set(tasks) & set(FORKED):
        raise UserError(f"--forks: {', '.join(tasks)} has none; choose from {', '.join(FORKED)}")
    return tasks


def main(argv=None):
    (config,) = parse_flags(PrepareConfig, argv, __doc__.split("\n")[0])
    tasks = parse_tasks(config.tasks, config.forks)
    lengths = parse_lengths(config.lengths)
    start = time.time()
    out = Path(config.out_dir)
    sizes = {"train": config.n_train, "val": config.n_val, "test": config.n_test}
    sizes = {split: n for split, n in sizes.items() if n}
    try:  # make all of them before the first is written
        settings = config.seed, lengths, config.forks
        splits = {split: rows(tasks, split, n, *settings) for split, n in sizes.items()}
    except ValueError as e:  # a family ran dry, or has no problem of such a length
        raise UserError(f"--lengths {config.lengths or 'of the families'}: {e}") from None
    for split, pairs in splits.items():
        gold = [{"id": row["id"], "signals": signals} for row, signals in pairs]
        if config.forks:
            for line, (row, _) in zip(gold, pairs, strict=True):
                line["open"] = row.pop("open")
        write_jsonl(out / f"{split}.jsonl", [row for row, _ in pairs])
        write_jsonl(out / f"{split}.gold.jsonl", gold)
    counts = ", ".join(f"{n} {split}" for split, n in sizes.items())
    print(f"{counts} problems in {out} ({time.time() - start:.1f} s)")


if __name__ == "__main__":
    run_program(main)
