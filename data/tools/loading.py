"""The traces and questions of a run, as its flags ask for them."""

from pathlib import Path

import numpy as np

from annotate import annotate
from data.algorithmic import prepare
from data.tools import parallel
from data.tools.flags import UserError
from data.tools.traces import read_traces, to_trace
from scaffold import SIGNAL_NAMES, Step, taxonomy


def load_data(config):
    """(training Traces, validation Traces, test rows, the annotation's report or None).

    Raises UserError for unknown tasks and for data without a training trace.
    """
    tasks = [task for task in config.tasks.split(",") if task]
    if config.data == "algorithmic":
        return load_embedded(config, tasks or prepare.DEFAULT_TASKS.split(","))
    splits = {"train": [], "val": [], "test": []}
    for trace in read_traces(config.data):
        if not tasks or trace.task in tasks:
            splits[prepare.split_of(trace.question)].append(trace)  # questions stay together
    if not splits["train"]:
        which = f" of the tasks {config.tasks}" if tasks else ""
        raise UserError(f"{config.data}: no training trace{which}")
    test_rows = {trace.question: to_row(trace) for trace in splits["test"]}
    train, val = splits["train"][: config.n_train], splits["val"][: config.n_val]
    return train, val, list(test_rows.values())[: config.n_test], None


def to_row(trace):
    """An annotated row, as `read_traces` reads it."""
    steps = [{"signal": SIGNAL_NAMES[s.signal], "text": s.text} for s in trace.steps]
    row = {"id": trace.id, "task": trace.task, "question": trace.question, "answer": trace.answer}
    return {**row, "steps": steps}


def load_embedded(config, tasks):
    """`load_data` for the embedded teacher: traces are generated, then annotated."""
    unknown = sorted(set(tasks) - set(prepare.FAMILIES))
    if unknown:
        choices = ", ".join(prepare.FAMILIES)
        raise UserError(f"--tasks: unknown task {unknown[0]!r}; choose from {choices}")
    folder = Path(prepare.__file__).parent
    if not (folder / "test.jsonl").exists() and not parallel.RANK:  # to read, and for --eval
        prepare.main(["--n_train", "0", "--out_dir", str(folder)])
    try:
        train = prepare.rows(tasks, "train", config.n_train, config.seed)
        val = prepare.rows(tasks, "val", config.n_val)
        test = prepare.rows(tasks, "test", config.n_test)
    except ValueError as e:  # a family with few short problems ran dry
        raise UserError(str(e)) from None
    gold = {row["id"]: signals for row, signals in train}
    rows, annotation = annotate([row for row, _ in train], gold=gold)
    val_rows, _ = annotate([row for row, _ in val], weight=annotation["classifier"])
    if config.labels == "gold":
        for row, (_, signals) in zip(rows + val_rows, train + val, strict=True):
            for step, signal in zip(row["steps"], signals, strict=True):
                step["signal"] = SIGNAL_NAMES[signal]
    traces = [to_trace(row) for row in rows]
    val_traces = [to_trace(row) for row in val_rows]
    return traces, val_traces, [row for row, _ in test], annotation


def relabel(traces, config):
    """Give the steps the signals of --classes or, with --shuffle, those of other steps."""
    for trace in traces:
        signals = taxonomy([step.signal for step in trace.steps], config.classes)
        pairs = zip(signals, trace.steps, strict=True)
        trace.steps = [Step(signal, step.text) for signal, step in pairs]  # views share steps
    if config.shuffle:
        steps = [step for trace in traces for step in trace.steps]
        rng = np.random.default_rng(config.seed)
        shuffled = rng.permutation([step.signal for step in steps]).tolist()
        for step, signal in zip(steps, shuffled, strict=True):
            step.signal = signal
