"""Annotate a teacher's traces (section 2.1 of the paper): cut into steps, name their signals.

    python annotate.py traces.jsonl annotated.jsonl
    python annotate.py questions.jsonl annotated.jsonl --teach --labeler llm --model qwen3

In: one JSON object a line with "question", "trace" (steps split by blank lines) and "answer". Out:
the same rows with "steps": [{"signal": "Contrast and Concession", "text": "But wait, ..."}, ...].

Stage one: a step that opens with a listed keyword gets the keyword's signal. Stage two: a chat
model keeps or corrects these and names the other steps (--labeler llm); or, without any API, a
bag-of-words classifier names the others. It learns from the steps with a keyword, their keyword
removed. With --teach the chat model writes the traces, too. Every reply is kept in
OUTPUT.replies.jsonl: the same command, run again, asks only for the rest.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from data.tools.annotation_report import describe, print_warnings
from data.tools.chat import ChatConfig
from data.tools.chat_teacher import NONE, llm_signals, teach
from data.tools.figures import check_picture, draw_annotation
from data.tools.files import check_outputs, write_jsonl
from data.tools.flags import Positional, UserError, flag, parse_flags, run_program
from data.tools.traces import load_gold, load_questions, load_traces
from scaffold import REASONING, RESPONSE, SIGNAL_NAMES, SIGNALS, keyword_signal, steps_of


@dataclass
class Steps:
    """The N steps of all traces, one after the other."""

    rows: list  # of the R traces
    lengths: list  # number of steps of each trace
    texts: list
    bags: list  # the bag of words of each step
    keywords: np.ndarray  # (N,) signal of the opening keyword, or NONE
    judge: np.ndarray  # (N,) signal by the gold file or the chat model, or NONE

    @property
    def ends(self):
        """(R,) where in the N steps the next trace begins."""
        return np.cumsum(self.lengths, dtype=int)


def collect_steps(rows, judge_signals):
    """Cut the traces into steps. Returns (Steps, Counter of the rows left out, by reason).

    judge_signals: the judge's signals of each row; steps beyond the end of its list have none.
    """
    steps = Steps([], [], [], [], [], [])
    dropped = Counter()
    for row, signals in zip(rows, judge_signals, strict=True):
        texts = steps_of(row)
        if not texts:
            dropped["empty trace"] += 1
            continue
        steps.rows.append(row)
        steps.lengths.append(len(texts))
        steps.texts += texts
        steps.judge += [*signals, *[NONE] * len(texts)][: len(texts)]
        previous = "<question>"
        for text in texts:
            signal, rest = keyword_signal(text)
            steps.keywords.append(NONE if signal is None else signal)
            steps.bags.append(bag_of(rest, previous))
            previous = f"<{signal}>"
    steps.keywords = np.array(steps.keywords, dtype=int)
    steps.judge = np.array(steps.judge, dtype=int)
    return steps, dropped


# ------------------------------------------------------------------------------------- classifier
BUCKETS = 4096  # words are hashed into so many


def bag_of(text, previous):
    """The buckets of a step's first 64 words, and of the keyword signal of the step before it."""
    words = re.findall(r"[^\W\d_]+|\d|[^\w\s]", text.lower())[:64]
    return [bucket_of(word) for word in [*words, previous]]


@cache
def bucket_of(word):
    """The bucket that a word's last eight bytes are hashed into; all digits share one."""
    text = b"0" if word.isdigit() else word.encode()
    return int.from_bytes(text[-8:], "little") * 2654435761 % 4294967291 % BUCKETS


def logits_of(weight, bags):
    """Logits (N, signals) of N bags: the sum of their words' rows of weight (BUCKETS, signals)."""
    words = torch.tensor([word for bag in bags for word in bag])
    starts = torch.tensor([0] + [len(bag) for bag in bags[:-1]]).cumsum(0)
    return F.embedding_bag(words, weight, starts, mode="sum")


def predict(weight, bags):
    """(N,) the most probable signal of each bag."""
    return logits_of(weight, bags).argmax(1).numpy()


def fit_classifier(bags, labels, steps=300, batch_size=256, seed=0):
    """Multinomial logistic regression on bags of words. Returns its weight (BUCKETS, signals)."""
    rng = np.random.default_rng(seed)
    weight = torch.zeros(BUCKETS, len(SIGNALS), requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.05)
    labels = torch.tensor(labels)
    for _ in range(steps):
        batch = rng.integers(len(bags), size=min(batch_size, len(bags)))
        logits = logits_of(weight, [bags[i] for i in batch])  # (B, signals)
        loss = F.cross_entropy(logits, labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weight.detach()


def fit_on_keywords(steps):
    """Learn the keywords' signals from what follows the keyword.

    Returns (weight, accuracy on a tenth of these steps, which is held out), each None where there
    are no steps to learn from or to hold out.
    """
    with_keyword = np.flatnonzero(steps.keywords >= 0)
    if len(with_keyword) == 0:
        return None, None
    shuffled = np.random.default_rng(0).permutation(with_keyword)
    held_out, train = np.split(shuffled, [len(shuffled) // 10])
    weight = fit_classifier([steps.bags[i] for i in train], steps.keywords[train])
    if len(held_out) == 0:
        return weight, None
    hits = predict(weight, [steps.bags[i] for i in held_out]) == steps.keywords[held_out]
    return weight, float(hits.mean())


# ------------------------------------------------------------------------------------- annotation
def annotate(rows, gold=None, weight=None, labeler="classifier", llm=None):
    """Give every row "steps" in place of "trace". Returns (rows, report).

    gold: row id -> gold signals, to score against. weight: a classifier fitted before. labeler:
    what names the steps without a keyword, the "classifier", or "keywords": nothing, they are
    Reasoning and Analysis. llm: the chat model's signals of each row, which overrule both. report:
    counts, shares and matrices for `describe` and for the figure. Rows without a step are dropped.
    """
    judge_signals = llm or [[]] * len(rows)
    if gold is not None:
        judge_signals = [gold[row["id"]] for row in rows]
    steps, dropped = collect_steps(rows, judge_signals)
    n_steps = len(steps.texts)
    report = {
        "rows": len(steps.rows),
        "dropped": dict(dropped),
        "steps": n_steps,
        "keyword_coverage": int((steps.keywords >= 0).sum()) / max(1, n_steps),
    }
    if weight is None and labeler != "keywords":
        weight, accuracy = fit_on_keywords(steps)
        if accuracy is not None:
            report["classifier_held_out"] = accuracy
    report["classifier"] = weight
    signals = name_steps(steps, weight)  # (N,)
    if (steps.judge >= 0).any():
        report["judge"] = "the gold signals" if gold is not None else "the language model"
        report |= agreement(steps, signals)
    if llm is not None:
        overruled = steps.judge >= 0
        overruled[steps.ends - 1] = False
        signals[overruled] = steps.judge[overruled]
    report["shares"] = np.bincount(signals, minlength=len(SIGNALS)) / max(1, n_steps)
    report["transitions"] = count_transitions(steps, signals)
    return annotated_rows(steps, signals), report


def name_steps(steps, weight):
    """(N,) the signals of the steps, by keyword, classifier (None: there is none) and position."""
    signals = steps.keywords.copy()
    rest = np.flatnonzero(signals == NONE)
    if weight is None:
        signals[rest] = REASONING
    elif len(rest):
        signals[rest] = predict(weight, [steps.bags[i] for i in rest])
    signals[steps.ends - 1] = RESPONSE  # the last step hands over the answer, whatever opens it
    return signals


def agreement(steps, signals):
    """The part of the report that compares signals (N,) with those of the judge."""
    judged = steps.judge >= 0
    has_keyword = steps.keywords >= 0
    confusion = np.zeros((len(SIGNALS), len(SIGNALS)), dtype=int)  # the judge's signal, ours
    np.add.at(confusion, (steps.judge[judged], signals[judged]), 1)
    keyword_hits = steps.keywords == steps.judge
    hits = signals == steps.judge
    return {
        "judged": float(judged.mean()),
        "confusion": confusion,
        "keyword_agreement": share(keyword_hits[judged & has_keyword]),
        "classifier_agreement": share(hits[judged & ~has_keyword]),
        "agreement": share(hits[judged]),
    }


def share(hits):
    """The share of True in a boolean array; nan where it is empty."""
    return float(hits.mean()) if len(hits) else float("nan")


def count_transitions(steps, signals):
    """(signals + 1, signals) how often a signal follows another; the last row: the question."""
    previous = np.roll(signals, 1)
    starts = steps.ends - np.array(steps.lengths, dtype=int)
    previous[starts] = len(SIGNALS)
    counts = np.zeros((len(SIGNALS) + 1, len(SIGNALS)), dtype=int)
    np.add.at(counts, (previous, signals), 1)
    return counts


def annotated_rows(steps, signals):
    """The rows with "steps" in place of "trace"."""
    pairs = zip(signals, steps.texts, strict=True)
    named = [{"signal": SIGNAL_NAMES[signal], "text": text} for signal, text in pairs]
    rows = []
    for row, length, end in zip(steps.rows, steps.lengths, steps.ends, strict=True):
        fields = {name: value for name, value in row.items() if name not in ("trace", "line")}
        rows.append({**fields, "steps": named[end - length : end]})
    return rows


# ----------------------------------------------------------------------------------- command line
@dataclass
class AnnotateConfig(ChatConfig):
    gold: str = flag("", 'JSONL of gold signals to score against: {"id", "signals"} a line')
    figure: str = flag("", "picture to write (.png, .pdf, .svg); empty: beside the output")
    trace_field: str = flag("trace", "name of the input's field that holds the trace")
    labeler: str = flag(
        "classifier",
        "names the steps without a keyword: nothing (keywords), a classifier fitted on the other "
        "steps, or a chat model that also checks the keywords (llm)",
        choices=("keywords", "classifier", "llm"),
    )
    teach: bool = flag(False, "let the chat model write the traces; the input has questions only")
    keep: str = flag(
        "correct", "traces of --teach to keep: right ones, or all", choices=("correct", "all")
    )


def check_flags(config):
    """Raise UserError for flags that cannot be obeyed, before anything is read."""
    field = config.trace_field
    if field in ("question", "answer", "line") or "|" in field:
        raise UserError(f"--trace_field {field}: cannot hold the trace; name the field that does")
    if config.gold and config.labeler == "llm":
        raise UserError("--gold scores keywords and classifier: leave out --labeler llm")
    if config.teach or config.labeler == "llm":
        config.check_endpoint()


def main(argv=None):
    source_help = "JSONL of traces, or a benchmark's split, as gsm8k:train"
    positionals = Positional("input", source_help), Positional("output", "annotated JSONL to write")
    description = __doc__.split("\n")[0]
    config, source, target = parse_flags(AnnotateConfig, argv, description, *positionals)
    figure = config.figure
    if not figure and Path(target).name:
        figure = str(Path(target).with_suffix(".png"))
    journal = f"{target}.replies.jsonl"
    check_outputs([target, figure, journal], source, config.gold)
    check_picture(figure)
    check_flags(config)

    not_taught = Counter()
    if config.teach:
        rows, not_taught = teach(load_questions(source), config, journal)
    else:
        rows = load_traces(source, config.trace_field)
    gold = load_gold(config.gold, rows, source) if config.gold else None
    llm = llm_signals(rows, config, journal) if config.labeler == "llm" else None
    annotated, report = annotate(rows, gold, labeler=config.labeler, llm=llm)
    report["dropped"] |= not_taught
    if not annotated:
        reasons = ", ".join(f"{n}: {reason}" for reason, n in report["dropped"].items())
        raise UserError(f"{source}: no trace is left ({reasons}); nothing was written")

    write_jsonl(target, annotated)
    draw_annotation(report, figure)
    print(describe(report))
    print_warnings(annotated)
    print(f"wrote {target} and {figure}")


if __name__ == "__main__":
    run_program(main)
