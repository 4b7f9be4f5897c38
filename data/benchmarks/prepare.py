"""Public benchmarks as rows of this project, from the Hugging Face Hub or a downloaded file.

    python -m data.benchmarks.prepare gsm8k --split train --out gsm8k.jsonl
    python -m data.benchmarks.prepare bbh --limit 50  # of each of its 27 tasks
    python -m data.benchmarks.prepare long --split train --file part.parquet

A line of the output is {"id": "train-gsm8k-0", "task": "gsm8k", "question", "answer"} and, where
the dataset has a solution, "trace": its steps split by blank lines. A multiple-choice answer is
"(B)"; its options are part of the question.
"""

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data.benchmarks.answers import boxed, extract
from data.tools.files import check_outputs, question_hash, read_jsonl, write_jsonl
from data.tools.flags import Positional, UserError, flag, parse_flags, run_program
from scaffold import split_steps


def solved(question, steps, answer):
    """Fields of a question with a solution (list of str), which may be empty."""
    steps = [step.strip() for step in steps if step.strip()]
    trace = "\n\n".join([*steps, f"The answer is {answer}."]) if steps else ""
    return {"question": question, "answer": answer, "trace": trace}


def choice(question, texts, labels, right, shuffle=False):
    """Fields of a question with options (texts); right: the label of the right one.

    shuffle: into an order that depends on the question alone.
    """
    options = list(zip(texts, labels, strict=True))
    if shuffle:
        random.Random(question_hash(question)).shuffle(options)
    lines = [question, "Options:"]
    answer = ""
    for i, (text, label) in enumerate(options):
        letter = f"({chr(ord('A') + i)})"
        lines.append(f"{letter} {text}")
        if label == right:
            answer += letter
    return {"question": "\n".join(lines), "answer": answer}


def from_gsm8k(row):
    """A line of the human solution is a step; its marks <<48/2=24>> stay."""
    question = row["question"]
    solution, _, answer = row["answer"].partition("####")
    return solved(question, solution.split("\n"), answer.strip())


def from_math(row):
    """The answer is in the last box of the solution."""
    question = row["problem"]
    solution = row["solution"]
    boxes = [content for _, content in boxed(solution)]
    return solved(question, split_steps(solution), boxes[-1] if boxes else "")


def from_math500(row):
    return solved(row["problem"], split_steps(row["solution"]), row["answer"])


def from_strategyqa(row):
    return {"question": row["question"], "answer": ("No", "Yes")[row["answer"]]}


def from_commonsenseqa(row):
    """The test split has no answers."""
    question = row["question"]
    choices = row["choices"]
    return choice(question, choices["text"], choices["label"], row["answerKey"])


def from_truthfulqa(row):
    """The right option always comes first in the dataset."""
    question = row["question"]
    targets = row["mc1_targets"]
    return choice(question, targets["choices"], targets["labels"], right=1, shuffle=True)


def from_bbh(row):
    return {"question": row["input"], "answer": row["target"]}


def from_long(row):
    """The trace is the thinking of DeepSeek-R1's first generation that was found right."""
    generations = zip(row["generations"], row["correctness_math_verify"], strict=False)
    right = [text for text, is_right in generations if is_right and "</think>" in text]
    thoughts = right[0].partition("</think>")[0].replace("<think>", "") if right else ""
    return solved(row["problem"], split_steps(thoughts), row["answer"])


ANSWER_PHRASE = r"(?:(?:therefore|thus|hence|so),? )?the (?:final )?answer is"
# Not after an initial or a title: "J.", "Dr."
SENTENCE_END = r"\n+|(?<![A-Z]\.)(?<![A-Z][a-z]\.)(?<=[.!?])\s+(?=[A-Z])"


def from_short_cot(row):
    """A sentence is a step. Options are written "Q: ... Answer choices: A: ..., B: ..."."""
    question, _, choices = row["instruction"].removeprefix("Q: ").partition(" Answer choices: ")
    text = row["output"].replace("<Solution Path>", "")
    text = re.split(ANSWER_PHRASE, text, flags=re.IGNORECASE)[0]
    answer = extract(row["output"])
    if choices:
        texts = re.split(r"(?:^|, )[A-E]: ", choices)[1:]
        letter = re.match(r"\(?([A-E])\b", answer or "")
        right = letter[1] if letter else ""
        fields = choice(question, texts, "ABCDE"[: len(texts)], right)
        question, answer = fields["question"], fields["answer"]
    return solved(question, re.split(SENTENCE_END, text), answer)


@dataclass(frozen=True)
class Benchmark:
    hub: str  # its name on the Hub, if it is there
    configs: str  # where there are several, each is a task
    splits: str
    convert: Callable  # a row of it -> our fields


BBH_TASKS = """
    boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages
    formal_fallacies geometric_shapes hyperbaton logical_deduction_five_objects
    logical_deduction_seven_objects logical_deduction_three_objects movie_recommendation
    multistep_arithmetic_two navigate object_counting penguins_in_a_table
    reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks
    sports_understanding temporal_sequences tracking_shuffled_objects_five_objects
    tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects web_of_lies
    word_sorting
"""
MATH_TASKS = """
    algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra
    precalculus
"""

# Names and fields are those of the dataset cards; no download was tried, only files like them.
# short_cot: https://github.com/EIT-NLP/Distilling-CoT-Reasoning, shares questions with strategyqa.
BENCHMARKS = {
    "gsm8k": Benchmark("openai/gsm8k", "main", "train test", from_gsm8k),
    "math": Benchmark("EleutherAI/hendrycks_math", MATH_TASKS, "train test", from_math),
    "math500": Benchmark("HuggingFaceH4/MATH-500", "default", "test", from_math500),
    "strategyqa": Benchmark("ChilleD/StrategyQA", "default", "train test", from_strategyqa),
    "commonsenseqa": Benchmark(
        "tau/commonsense_qa", "default", "train validation test", from_commonsenseqa
    ),
    "truthfulqa": Benchmark(
        "truthfulqa/truthful_qa", "multiple_choice", "validation", from_truthfulqa
    ),
    "bbh": Benchmark("SaylorTwift/bbh", BBH_TASKS, "test", from_bbh),
    "long": Benchmark("open-r1/OpenR1-Math-220k", "default", "train", from_long),
    "short_cot": Benchmark("", "default", "train", from_short_cot),
}


def rows(name, split="test", source="", limit=0, dropped=None):
    """Yield the rows (dicts) of a benchmark's split, or of a local file (source) in its place.

    limit: rows to read of each task; 0: all. dropped: a Counter of the rows left out because of an
    empty field. Raises UserError for an unknown name or split, for a source that cannot be read,
    and for a row without the dataset's fields.
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    splits = benchmark.splits.split()
    if not source and split not in splits:
        raise UserError(f"{name} has no split {split!r}: choose from {', '.join(splits)}")
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
    if source.endswith(".jsonl"):
        return read_jsonl(source)[: limit or None]
    if not source and not hub:
        advice = "download one of its files and name it with --file"
        raise UserError(f"{name} is not on the Hub; {advice}")
    if source and not source.endswith((".json", ".parquet")):  # the library would ask the Hub
        raise UserError(f"{source}: cannot be read; take a .jsonl, .json or .parquet")
    from datasets import load_dataset  # only here: slow to import

    try:
        if source:
            data = load_dataset(Path(source).suffix[1:], data_files=source, split="train")
        else:  # streaming downloads no more than it must
            data = load_dataset(hub, config, split=split, streaming=limit > 0)
        return list(islice(data, limit)) if limit else data
    except Exception as e:  # the library raises whatever its readers and its download raised
        reason = f"{type(e).__name__}: {str(e).strip()}".split("\n")[0]
        problem = f"{source}: cannot be read as .jsonl, .json or .parquet ({reason})"
        if not source:
            advice = "download the file and name it with --file"
            problem = f"{name}: the Hub cannot be reached ({reason}); {advice}"
        raise UserError(problem) from None


@dataclass
class PrepareConfig:
    split: str = flag("test", "split to read; of a --file only its name in the ids")
    out: str = flag("", "JSONL to write; empty: NAME-SPLIT.jsonl")
    file: str = flag(
        "", "local .jsonl, .json or .parquet with the dataset's fields, in place of the Hub"
    )
    limit: int = flag(0, "rows to read of each task; 0: all")


def main(argv=None):
    benchmark = Positional("name", f"one of {', '.join(BENCHMARKS)}")
    config, name = parse_flags(PrepareConfig, argv, __doc__.split("\n")[0], benchmark)
    out = config.out or f"{name}-{config.split}.jsonl"
    check_outputs([out], config.file)
    dropped = Counter()
    kept = list(rows(name, config.split, config.file, config.limit, dropped))
    reasons = "".join(f", dropped {count}: {reason}" for reason, count in dropped.items())
    if not kept:
        raise UserError(f"{config.file or name}: no rows{reasons}")
    write_jsonl(out, kept)
    print(f"wrote {len(kept)} rows to {out}{reasons}")


if __name__ == "__main__":
    run_program(main)
