"""Public benchmarks as rows of this project, read with the datasets library from the Hugging Face Hub or from a downloaded file.

    python -m data.benchmarks.prepare gsm8k --split train --out gsm8k.jsonl
    python -m data.benchmarks.prepare bbh --out bbh.jsonl --limit 50                          # 50 of each of its 27 tasks
    python -m data.benchmarks.prepare long --split train --file part.parquet --out long.jsonl # a file with the Hub's fields

Out: {"id": "train-gsm8k-0", "task": "gsm8k", "question", "answer"} a line and, where the dataset brings a solution, "trace", its
steps split by blank lines, as annotate.py reads it. A multiple-choice answer is "(B)", its options are part of the question.
"""
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from annotate import check_outputs, split_steps, write_atomically
from data.benchmarks.answers import boxed, extract
from scaffold import UserError, flag, parse_flags, question_hash, read_jsonl, run


def solved(question, steps, answer):
    """Fields of a question with a solution (list of str); without any step there is no trace."""
    steps = [s.strip() for s in steps if s.strip()]
    return {"question": question, "answer": answer, "trace": "\n\n".join([*steps, f"The answer is {answer}."]) if steps else ""}


def choice(question, texts, labels, right, shuffle=False):
    """Fields of a question with options; right: the label of the right one. shuffle: the same way whenever the question comes."""
    pairs = list(zip(texts, labels, strict=True))
    if shuffle:
        random.Random(question_hash(question)).shuffle(pairs)
    letters = [f"({chr(ord('A') + i)})" for i in range(len(pairs))]
    lines = [f"{letter} {text}" for letter, (text, _) in zip(letters, pairs)]
    return {"question": "\n".join([question, "Options:", *lines]), "answer": "".join(x for x, (_, label) in zip(letters, pairs) if label == right)}


def long(row):
    """Fields of a problem with the thoughts of the first of DeepSeek-R1's generations that was found right."""
    right = [g for g, ok in zip(row["generations"], row["correctness_math_verify"]) if ok and "</think>" in g]
    return solved(row["problem"], split_steps(right[0].partition("</think>")[0].replace("<think>", "")) if right else [], row["answer"])


def short_cot(row):
    """Fields of an LLM's short rationale, its sentences being the steps; "Q: ...? Answer choices: A: ..., B: ..." has options."""
    question, _, choices = row["instruction"].removeprefix("Q: ").partition(" Answer choices: ")
    text, answer = row["output"].replace("<Solution Path>", ""), extract(row["output"])
    text = re.split(r"(?:(?:therefore|thus|hence|so),? )?the (?:final )?answer is", text, flags=re.I)[0]
    if choices:
        texts, letter = re.split(r"(?:^|, )[A-E]: ", choices)[1:], re.findall(r"^\(?([A-E])\b", answer or "")
        question, answer = choice(question, texts, "ABCDE"[: len(texts)], "".join(letter)).values()
    return solved(question, re.split(r"\n+|(?<![A-Z]\.)(?<![A-Z][a-z]\.)(?<=[.!?])\s+(?=[A-Z])", text), answer)  # no step ends at "St."


BBH = """boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages formal_fallacies geometric_shapes hyperbaton
    logical_deduction_five_objects logical_deduction_seven_objects logical_deduction_three_objects movie_recommendation multistep_arithmetic_two
    navigate object_counting penguins_in_a_table reasoning_about_colored_objects ruin_names salient_translation_error_detection snarks
    sports_understanding temporal_sequences tracking_shuffled_objects_five_objects tracking_shuffled_objects_seven_objects
    tracking_shuffled_objects_three_objects web_of_lies word_sorting"""
MATH = "algebra counting_and_probability geometry intermediate_algebra number_theory prealgebra precalculus"
# Names and fields are those of the dataset cards. This was written without a network: no download was tried, only files like them.
BENCHMARKS = {  # name: (dataset on the Hub, its configs, its splits, row -> fields)
    "gsm8k": ("openai/gsm8k", "main", "train test",  # a line of the human solution is a step; its <<48/2=24>> marks stay
              lambda r: solved(r["question"], r["answer"].partition("####")[0].split("\n"), r["answer"].partition("####")[2].strip())),
    "math": ("EleutherAI/hendrycks_math", MATH, "train test",
             lambda r: solved(r["problem"], split_steps(r["solution"]), "".join(inside for _, inside in boxed(r["solution"])[-1:]))),
    "math500": ("HuggingFaceH4/MATH-500", "default", "test", lambda r: solved(r["problem"], split_steps(r["solution"]), r["answer"])),
    "strategyqa": ("ChilleD/StrategyQA", "default", "train test", lambda r: {"question": r["question"], "answer": ("No", "Yes")[r["answer"]]}),
    "commonsenseqa": ("tau/commonsense_qa", "default", "train validation test",  # the test split keeps its answers to itself
                      lambda r: choice(r["question"], r["choices"]["text"], r["choices"]["label"], r["answerKey"])),
    "truthfulqa": ("truthfulqa/truthful_qa", "multiple_choice", "validation",  # the right one always comes first there
                   lambda r: choice(r["question"], r["mc1_targets"]["choices"], r["mc1_targets"]["labels"], 1, shuffle=True)),
    "bbh": ("SaylorTwift/bbh", BBH, "test", lambda r: {"question": r["input"], "answer": r["target"]}),
    "long": ("open-r1/OpenR1-Math-220k", "default", "train", long),
    # Not on the Hub but at https://github.com/EIT-NLP/Distilling-CoT-Reasoning; its StrategyQA questions occur in strategyqa, too.
    "short_cot": ("", "default", "train", short_cot),
}


def rows(name, split="test", source="", limit=0, dropped=None):
    """Yield the rows (dicts) of a benchmark's split, or of a local file in its place; limit: read so many of each task (0: all).

    A row with an empty field is left out; dropped: a Counter, to learn how many and why. Raises UserError, one line, for an unknown
    name or split, where the Hub or the file can't be read, and for a row without the dataset's fields.
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    hub, configs, splits, convert = BENCHMARKS[name]
    if not source and split not in splits.split():
        raise UserError(f"{name} has no split {split!r}: choose from {', '.join(splits.split())}")
    for config in [Path(source).stem] if source else configs.split():
        task = config if config in configs.split() and " " in configs else name
        for i, row in enumerate(read(name, config, split, source, limit)):
            where = f"{source or hub}, " + (f"line {row['line']}" if "line" in row else f"row {i}")
            try:
                fields = {k: (v or "").strip() for k, v in convert(row).items()}
            except KeyError as e:
                raise UserError(f'{where}: field "{e.args[0]}" is missing') from None
            except (TypeError, ValueError, AttributeError, IndexError) as e:
                raise UserError(f"{where}: not a row of {name} ({e})") from None
            empty = [f"no {k}" for k, v in fields.items() if not v]
            if not empty:
                yield {"id": f"{split}-{task}-{i}", "task": task, **fields}
            elif dropped is not None:
                dropped.update(empty[:1])


def read(name, config, split, source, limit):
    """The first limit rows (0: all) of one config or a local file, as they are; those of a .jsonl with their "line"."""
    if source.endswith(".jsonl"):
        return read_jsonl(source)[: limit or None]
    if not source and not BENCHMARKS[name][0]:
        raise UserError(f"{name} is not on the Hub; download one of its files and name it with --file")
    if source and not source.endswith((".json", ".parquet")):  # any other ending is a name that the library looks up on the Hub
        raise UserError(f"{source}: cannot be read; take a .jsonl, .json or .parquet")
    from datasets import load_dataset  # only here: slow to import

    try:
        if source:
            data = load_dataset(Path(source).suffix[1:], data_files=source, split="train")
        else:
            data = load_dataset(BENCHMARKS[name][0], config, split=split, streaming=limit > 0)  # a stream downloads no more than it must
        return list(islice(data, limit)) if limit else data
    except Exception as e:  # the library raises whatever its readers and its download raised
        reason = f"{type(e).__name__}: {str(e).strip()}".split("\n")[0]
        raise UserError(f"{source}: cannot be read as .jsonl, .json or .parquet ({reason})" if source else
                        f"{name}: the Hub cannot be reached ({reason}); download the file and name it with --file") from None


@dataclass
class PrepareConfig:
    split: str = flag("test", "split to read; of a --file only its name in the ids")
    out: str = flag("", "JSONL to write; empty: NAME-SPLIT.jsonl")
    file: str = flag("", "local .jsonl, .json or .parquet with the dataset's fields, in place of the Hub")
    limit: int = flag(0, "rows to read of each task; 0: all")


def main(argv=None):
    config, name = parse_flags(PrepareConfig, argv, __doc__.split("\n")[0], ("name", f"one of {', '.join(BENCHMARKS)}", None))
    out, dropped = config.out or f"{name}-{config.split}.jsonl", Counter()
    check_outputs([out], config.file)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(name, config.split, config.file, config.limit, dropped)]
    left_out = "".join(f", dropped {n}: {why}" for why, n in dropped.items())
    if not lines:
        raise UserError(f"{config.file or name}: no rows{left_out}")
    write_atomically(out, "".join(lines))
    print(f"wrote {len(lines)} rows to {out}{left_out}")


if __name__ == "__main__":
    run(main)
