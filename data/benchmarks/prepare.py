"""Public benchmarks as rows of this project, from the Hugging Face Hub or a downloaded file.

    python -m data.benchmarks.prepare gsm8k --split train --out gsm8k.jsonl
    python -m data.benchmarks.prepare bbh --limit 50  # of each of its 27 tasks

A line of the output is {"id": "train-gsm8k-0", "task": "gsm8k", "question", "answer"} and, where
the dataset has a solution, "trace": its steps split by blank lines. A multiple-choice answer is
"(B)"; its options are part of the question.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import ascii_uppercase

from data.benchmarks.answers import boxed, extract
from data.tools.files import check_outputs, question_hash, read_jsonl, write_jsonl
from data.tools.flags import Positional, UserError, flag, parse_flags, run_program
from scaffold import split_steps


def solved(question, answer, steps):
    """Fields of a question with the steps (list of str) of a solution, or none."""
    steps = [step.strip() for step in steps if step.strip()]
    trace = "\n\n".join([*steps, f"The answer is {answer}."]) if steps else ""
    return {"question": question, "answer": answer, "trace": trace}


def choice(question, options, right):
    """Fields of a question with options (text, label); right: the label of the right one."""
    fields = {"question": f"{question}\nOptions:", "answer": ""}
    for letter, (text, label) in zip(ascii_uppercase, options, strict=False):
        fields["question"] += f"\n({letter}) {text}"
        if label == right:
            fields["answer"] += f"({letter})"
    return fields


def from_gsm8k(row):
    """A line of the human solution is a step; its marks <<48/2=24>> stay."""
    question = row["question"]
    solution, _, answer = row["answer"].partition("####")
    return solved(question, answer.strip(), solution.split("\n"))


def from_math(row):
    """The answer is in the last box of the solution."""
    boxes = boxed(row["solution"]) or [(0, "")]
    return solved(row["problem"], boxes[-1][1], split_steps(row["solution"]))


def from_math500(row):
    return solved(row["problem"], row["answer"], split_steps(row["solution"]))


def from_strategyqa(row):
    return {"question": row["question"], "answer": ("No", "Yes")[row["answer"]]}


def from_commonsenseqa(row):
    """The test split has no answers."""
    choices = row["choices"]
    options = zip(choices["text"], choices["label"], strict=True)
    return choice(row["question"], options, row["answerKey"])


def from_truthfulqa(row):
    """The right option always comes first in the dataset: we shuffle them."""
    targets = row["mc1_targets"]
    options = list(zip(targets["choices"], targets["labels"], strict=True))
    random.Random(question_hash(row["question"])).shuffle(options)
    return choice(row["question"], options, right=1)


def from_bbh(row):
    return {"question": row["input"], "answer": row["target"]}


def from_long(row):
    """The trace is the thinking of DeepSeek-R1's first generation that was found right."""
    generations = zip(row["generations"], row["correctness_math_verify"], strict=False)
    right = [text for text, is_right in generations if is_right and "</think>" in text]
    thoughts = right[0].partition("</think>")[0].replace("<think>", "") if right else ""
    return solved(row["problem"], row["answer"], split_steps(thoughts))


# Not after an initial or a title: "J.", "Dr."
SENTENCE_END = r"\n+|(?<![A-Z]\.)(?<![A-Z][a-z]\.)(?<=[.!?])\s+(?=[A-Z])"


def from_short_cot(row):
    """A sentence is a step. Options are written "Q: ... Answer choices: A: ..., B: ..."."""
    question, _, choices = row["instruction"].removeprefix("Q: ").partition(" Answer choices: ")
    fields = {"question": question, "answer": extract(row["output"])}
    if choices:
        texts = re.split(r"(?:^|, )[A-E]: ", choices)[1:]
        letter = re.match(r"\(?([A-E])\b", fields["answer"] or "")
        options = zip(texts, "ABCDE", strict=False)
        fields = choice(question, options, letter and letter[1])
    text = row["output"].replace("<Solution Path>", "")
    handover = r"(?i)(?:(?:therefore|thus|hence|so),? )?the (?:final )?answer is"
    return solved(**fields, steps=re.split(SENTENCE_END, re.split(handover, text)[0]))


CONVERTERS = {
    "gsm8k": from_gsm8k,
    "math": from_math,
    "math500": from_math500,
    "strategyqa": from_strategyqa,
    "commonsenseqa": from_commonsenseqa,
    "truthfulqa": from_truthfulqa,
    "bbh": from_bbh,
    "long": from_long,
    "short_cot": from_short_cot,
}


@dataclass(frozen=True)
class Benchmark:
    hub: str  # its name on the Hub, if it is there
    configs: str  # where there are several, each is a task
    splits: str
    convert: Callable  # a row of it -> our fields


# Names and fields are those of the dataset cards; no download was tried, only files like them.
# short_cot: https://github.com/EIT-NLP/Distilling-CoT-Reasoning, shares questions with strategyqa.
HUB = json.loads(Path(__file__).with_name("hub.json").read_text(encoding="utf-8"))
BENCHMARKS = {name: Benchmark(**HUB[name], convert=f) for name, f in CONVERTERS.items()}


def rows(name, split="test", source="", limit=0, dropped=None):
    """Yield the rows (dicts) of a benchmark's split, or of a local file (source) in its place.

    limit: rows to read of each task; 0: all. dropped: a Counter of the rows left out because of an
    empty field. Raises UserError for an unknown name or split, for a source that cannot be read,
    and for a row without the dataset's fields.
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    if not source and split not in benchmark.splits.split(", "):
        raise UserError(f"{name} has no split {split!r}: choose from {benchmark.splits}")
    configs = benchmark.configs.split()
    for config in [Path(source).stem] if source else configs:
        task = config if len(configs) > 1 and config in configs else name
        for i, row in enumerate(read(name, config, split, source, limit)):
            place = f"line {row['line']}" if "line" in row else f"row {i}"
            fields = convert(name, row, f"{source or benchmark.hub}, {place}")
            empty = [field for field, text in fields.items() if not text]
            if not empty:
                yield {"id": f"{split}-{task}-{i}", "task": task, **fields}
            elif dropped is not None:
                dropped[f"no {empty[0]}"] += 1


def all_rows(name, split="test", source="", limit=0):
    """(`rows` as a list, what was left out, in words). Raises UserError where no row is left."""
    dropped = Counter()
    kept = list(rows(name, split, source, limit, dropped))
    reasons = "".join(f", dropped {count}: {reason}" for reason, count in dropped.items())
    if not kept:
        raise UserError(f"{source or name}: no rows{reasons}")
    return kept, reasons


def convert(name, row, where):
    """Our fields of a row; where (str): its place. Raises UserError."""
    try:
        fields = BENCHMARKS[name].convert(row)
        return {field: (text or "").strip() for field, text in fields.items()}
    except KeyError as e:
        raise UserError(f'{where}: field "{e.args[0]}" is missing') from None
    except (TypeError, ValueError, AttributeError, IndexError) as e:
        raise UserError(f"{where}: not a row of {name} ({e})") from None


def read(name, config, split, source, limit):
    """The first limit rows (0: all) of a config or a local file; of a .jsonl with their "line"."""
    hub = BENCHMARKS[name].hub
    suffix = Path(source).suffix
    if suffix == ".jsonl":
        return read_jsonl(source)[: limit or None]
    if source and suffix not in (".json", ".parquet"):  # the library would ask the Hub
        raise UserError(f"{source}: cannot be read; take a .jsonl, .json or .parquet")
    if not source and not hub:
        raise UserError(f"{name} is not on the Hub; name a downloaded file with --file")
    from datasets import load_dataset  # only here: slow to import

    try:
        if source:
            data = load_dataset(suffix[1:], data_files=source, split="train")
        else:  # streaming downloads no more than it must
            data = load_dataset(hub, config, split=split, streaming=limit > 0)
        return list(islice(data, limit)) if limit else data
    except Exception as e:  # the library raises whatever its readers and its download raised
        reason = f"{type(e).__name__}: {str(e).strip()}".split("\n")[0]
        if source:
            raise UserError(f"{source}: cannot be read ({reason})") from None
        problem = f"{name}: the Hub cannot be reached ({reason})"
        raise UserError(f"{problem}; download the file and name it with --file") from None


@dataclass
class PrepareConfig:
    split: str = flag("test", "split to read; of a --file only its name in the ids")
    out: str = flag("", "JSONL to write; empty: NAME-SPLIT.jsonl")
    file: str = flag("", "local .jsonl, .json or .parquet with the dataset's fields, not the Hub")
    limit: int = flag(0, "rows to read of each task; 0: all")


def main(argv=None):
    benchmark = Positional("name", f"one of {', '.join(BENCHMARKS)}")
    config, name = parse_flags(PrepareConfig, argv, __doc__.split("\n")[0], benchmark)
    out = config.out or f"{name}-{config.split}.jsonl"
    check_outputs([out], config.file)
    kept, reasons = all_rows(name, config.split, config.file, config.limit)
    write_jsonl(out, kept)
    print(f"wrote {len(kept)} rows to {out}{reasons}")


if __name__ == "__main__":
    run_program(main)
