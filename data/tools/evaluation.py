"""Scoring: right answers, erroneous paths, predicted and obeyed signals."""

import re
import time

import torch
from tqdm import tqdm

from annotate import annotate
from data.algorithmic.check import check, task_of
from data.benchmarks.answers import same
from data.benchmarks.arithmetic import arithmetic
from data.tools.files import question_hash
from data.tools.flags import UserError
from data.tools.terminal import printable
from data.tools.traces import to_trace
from data.tools.workers import side_by_side
from scaffold import NO_SIGNAL, collate, encode, signal_of


def evaluate(student, rows, answer, traces, rows_at_once, tau=0.0):
    """Let the student answer every row ("question", "answer"). Returns (result, records).

    answer: row numbers -> a Reasoning each. traces: row number -> its annotated Trace, if any. tau:
    the gate that answer uses. result: see `summarize`, with the "seconds" that all of it took and
    the "answer_seconds" of answering alone. records: see `make_record`.
    """
    start = time.time()
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["question"]))  # little padding
    chunks = [by_length[i : i + rows_at_once] for i in range(0, len(rows), rows_at_once)][::-1]
    answers = side_by_side(answer, chunks)  # the longest first: the last ones end together
    reasonings = {}
    for numbers in tqdm(chunks, desc="evaluating", disable=None):
        reasonings |= zip(numbers, next(answers), strict=True)
    answered = time.time()
    predictions = boundary_predictions(student, list(traces.values()))
    hits = {i: signal_hits(p, tau) for i, p in zip(traces, predictions, strict=True)}
    obeyed = obedience(student, reasonings) if student.method == "scaffold" else {}
    records = []
    for i, row in enumerate(rows):
        id = row.get("id", row.get("line", i))
        seen = question_hash(row["question"]) in student.seen
        records.append(make_record(row, reasonings[i], id, seen, hits.get(i), obeyed.get(i)))
    seconds = {"answer_seconds": answered - start, "seconds": time.time() - start}
    return summarize(records) | seconds, records


def make_record(row, reasoning, id=None, seen=None, hits=None, obeyed=None):
    """What became of one question, as plain types. seen: in training; hits: of `signal_hits`."""
    steps = []
    for step, confidence in zip(reasoning.steps, reasoning.confidence, strict=True):
        signal = None if step.signal == NO_SIGNAL else signal_of(step.signal).name
        confidence = round(confidence, 4)
        steps.append({"signal": signal, "confidence": confidence, "text": step.text})
    record = {
        "id": id,
        "task": task_name(row),
        "question": row["question"],
        "answer": row["answer"],
        "given": reasoning.answer,
        "correct": None,
        "erroneous": None,
        "seen": seen,
        "tokens": reasoning.tokens,
        "gated": reasoning.gated,
        "signals": hits,
        "obeyed": obeyed,
        "steps": steps,
    }
    judge_record(record)
    return record


def judge_record(record):
    """Fill in what the checkers say of a record, anew if it is an old one."""
    task, steps = record["task"], record["steps"]
    verdicts = judge(record["question"], [step["text"] for step in steps], task)
    record["correct"] = same(record["given"], record["answer"], task)
    record["erroneous"] = None
    if verdicts is not None:
        record["erroneous"] = not record["correct"] or any(verdicts) or not verdicts
    for step, verdict in zip(steps, verdicts or [None] * len(steps), strict=True):
        step["verdict"] = verdict


def task_name(row):
    """The task of a row, by its name or its question's form."""
    return row.get("task") or task_of(row["question"]) or "other"


def of_tasks(rows, tasks, path):
    """Those of a file's rows that are of these tasks: names, or "all". Raises UserError."""
    if tasks in ("", "all"):
        return rows
    names = tasks.split(",")
    missing = set(names) - {task_name(row) for row in rows}
    if missing:
        raise UserError(f"--tasks: {path} has no row of the task {min(missing)!r}")
    return [row for row in rows if task_name(row) in names]


def judge(question, texts, task=None):
    """What the checker finds wrong with each step's text ("": nothing); None: there is no checker.

    In GSM8K only the written arithmetic is checked.
    """
    if task == "gsm8k":
        return ["; ".join(arithmetic(text)) for text in texts]
    return check(question, texts)


# ---------------------------------------------------------------------------------------- signals
def annotated_traces(student, rows):
    """Row number -> Trace, for rows with a trace (annotated or not) that the student can read."""
    bare, annotated = {}, {}
    for i, row in enumerate(rows):
        if row.get("steps"):
            annotated[i] = row
        elif isinstance(row.get("trace"), str) and row["trace"].strip():
            bare[i] = row
    with_steps, _ = annotate(list(bare.values()), weight=student.classifier)
    annotated |= zip(bare, with_steps, strict=True)
    traces = {}
    for i, row in sorted(annotated.items()):
        trace = to_trace(row, student.classes)
        if len(encode(trace, student.tokenizer).signals) <= student.model.config.block_size:
            traces[i] = trace
    return traces


def boundary_predictions(student, traces):
    """(confidence, is_right), both (n,), at the n boundaries of each trace: the teacher's text."""
    model = student.model
    device = model.lm_head.weight.device

    @torch.inference_mode()
    def predict(first):
        examples = [encode(trace, student.tokenizer) for trace in traces[first : first + 64]]
        idx, signals, _, signal_targets = collate(examples, student.tokenizer)
        input_signals = model.input_signals(idx, signals).to(device)
        states = model.signal_states(model.hidden(idx.to(device), input_signals))
        confidence, predicted = model.signal_probs(states).max(-1)  # (B, T)
        is_right = predicted.cpu() == signal_targets
        return [
            (confidence[b].cpu()[is_boundary], is_right[b][is_boundary])
            for b, is_boundary in enumerate(signal_targets >= 0)
        ]

    return [p for part in side_by_side(predict, range(0, len(traces), 64)) for p in part]


def signal_hits(prediction, tau):
    """(right and kept, kept, all) boundaries of a trace; the gate keeps those of confidence tau."""
    confidence, is_right = prediction
    kept = confidence >= tau
    return int((is_right & kept).sum()), int(kept.sum()), len(kept)


def choose_tau(student, rows):
    """The gate's threshold as the paper chooses it, on rows with traces.

    It is where the share of the signals that are kept and the accuracy of these cross. Raises
    UserError where no row has a trace.
    """
    traces = list(annotated_traces(student, rows).values())
    if not traces:
        raise UserError("the threshold is chosen on traces, and there are none")
    predictions = zip(*boundary_predictions(student, traces), strict=True)
    confidence, is_right = (torch.cat(parts) for parts in predictions)
    confidence, order = confidence.sort(descending=True)
    n_kept = torch.arange(1, len(order) + 1)
    accuracy = is_right[order].cumsum(0) / n_kept
    crossing = (n_kept / len(order) - accuracy).abs().argmin()
    return confidence[crossing].item()


def evaluate_gated(evaluate, student, rows, val_rows, settings):
    """`sample.evaluate` with the gate's threshold chosen for each task on rows with traces."""
    records = []
    for task in sorted({task_name(row) for row in rows}):
        tau = choose_tau(student, [row for row in val_rows if task_name(row) == task])
        print(f"{task}: tau {tau:.3f}")
        task_rows = [row for row in rows if task_name(row) == task]
        records += evaluate(student, task_rows, **{**settings, "tau": tau})[1]
    return summarize(records), records


def obedience(student, reasonings):
    """Row number -> for each step that says anything, whether it obeys. Empty without an annotator.

    A step obeys when the annotator gives it the signal under which it was written. The last step
    does not count: the annotator names it for its place.
    """
    if student.classifier is None:
        return {}
    written, rows = {}, []
    for i, reasoning in reasonings.items():
        steps = [step for step in reasoning.steps if step.text.strip()]
        if steps:
            written[i] = steps
            trace = "\n\n".join(re.sub(r"\s+", " ", step.text) for step in steps)
            rows.append({"question": "", "trace": trace, "answer": ""})
    annotated, _ = annotate(rows, weight=student.classifier)
    obeyed = {}
    for (i, steps), row in zip(written.items(), annotated, strict=True):
        again = to_trace(row, student.classes).steps
        pairs = zip(steps[:-1], again, strict=False)  # annotated, the last step may be a new one
        obeyed[i] = [step.signal == found.signal for step, found in pairs]
    return obeyed


# ---------------------------------------------------------------------------------------- figures
def mean(values):
    return sum(values) / len(values) if values else None


def share(counts, part, whole):
    """Sum of one column of counts over that of another; None where that is 0."""
    total = sum(c[whole] for c in counts)
    return sum(c[part] for c in counts) / total if total else None


def score(records):
    """The figures of some records; None where there is nothing to judge by."""
    signals = [r["signals"] for r in records if r["signals"]]
    obeyed = [hit for r in records for hit in r["obeyed"] or []]
    gated = [r for r in records if r["gated"]]
    scores = {
        "questions": len(records),
        "accuracy": mean([r["correct"] for r in records]),
        "erroneous_paths": mean([r["erroneous"] for r in records if r["erroneous"] is not None]),
        "signal_accuracy": share(signals, 0, 1),
        "signals_kept": share(signals, 1, 2),
        "obedience": mean(obeyed),
        "tokens_per_answer": mean([r["tokens"] for r in records]),
    }
    if gated:
        scores["gated"] = len(gated) / len(records)
        scores["gated_answered"] = mean([r["given"] is not None for r in gated])
    return scores


def summarize(records):
    """The figures of all records, of those with an unseen question, and of each task."""
    result = score(records)
    unseen = [r for r in records if not r["seen"]]
    if len(unseen) < len(records):
        result["seen_in_training"] = len(records) - len(unseen)
        result["unseen"] = score(unseen)
    tasks = sorted({r["task"] for r in records})
    result["tasks"] = {task: score([r for r in records if r["task"] == task]) for task in tasks}
    return result


def report(result):
    """The result as key: value lines, then a table of the tasks."""
    lines = []
    for name, value in result.items():
        if not isinstance(value, (dict, list)):
            lines.append(f"{name}: {show_number(value)}")
    if "unseen" in result:
        figures = [f"{name} {show_number(v)}" for name, v in result["unseen"].items()]
        lines.append("on the unseen questions: " + ", ".join(figures))
    table_row = "{:28}{:>10}{:>10}{:>11}{:>9}"
    lines.append(table_row.format("task", "questions", "accuracy", "erroneous", "signals"))
    for task, scores in result["tasks"].items():
        cells = [printable(task, keep="")[:27], scores["questions"]]
        for name in ("accuracy", "erroneous_paths", "signal_accuracy"):
            cells.append("n/a" if scores[name] is None else f"{scores[name]:.1%}")
        lines.append(table_row.format(*cells))
    return "\n".join(lines)


def show_number(value):
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
