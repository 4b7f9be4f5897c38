"""Traces, annotated or not, and questions, read from JSONL files. All raise UserError."""

from data.benchmarks import prepare
from data.tools.files import check_field, read_jsonl
from data.tools.flags import UserError
from scaffold import SIGNAL_NAMES, SIGNALS, Step, Trace, split_steps, steps_of, taxonomy


def check_steps(row, path):
    """Raises UserError where the "steps" of a row are not what annotate.py writes."""
    where, steps = f"{path}, line {row.get('line', 1)}", row.get("steps")
    if not isinstance(steps, list) or not steps:
        raise UserError(f'{where}: no "steps"; run annotate.py on these traces first')
    for step in steps:
        match step:
            case {"signal": name, "text": str(text)} if name in SIGNAL_NAMES and text.strip():
                continue
        form = '{"signal": a name in scaffold.SIGNALS, "text": non-empty string}'
        raise UserError(f"{where}: a step must be {form}, not {str(step)[:60]}")


def to_trace(row, classes=None):
    """The Trace of an annotated row. classes: see `taxonomy`; None: the table's."""
    signals = taxonomy([SIGNAL_NAMES.index(s["signal"]) for s in row["steps"]], classes)
    texts = [s["text"].strip() for s in row["steps"]]
    steps = [Step(signal, text) for signal, text in zip(signals, texts, strict=True)]
    row_id = str(row.get("id", row.get("line", "")))
    return Trace(row["question"], steps, row["answer"], str(row.get("task") or ""), row_id)


def read_questions(path, annotated=False):
    """Rows of a JSONL file, or of a benchmark's split, with "question" and "answer".

    annotated: they must have "steps", too. BIG-Bench Hard's "input" and "target" become question
    and answer.
    """
    questions = load_rows(path, "question|input", "answer|target")
    for row in questions:
        if annotated or row.get("steps"):
            check_steps(row, path)
        row["question"] = row.get("question", row.get("input"))
        row["answer"] = row.get("answer", row.get("target"))
        row["task"] = str(row.get("task") or "")
    return questions


# ---------------------------------------------------------------------------- to annotate
def load_traces(source, field="trace"):
    """Rows of a JSONL file or of a benchmark's split ("gsm8k:train"), this field as "trace"."""
    rows = load_rows(source, "question", field, "answer")
    for row in rows:
        row["trace"] = row.pop(field)
    return rows


def load_questions(source):
    """Rows of a JSONL file or of a benchmark's split, none of which may have a trace."""
    rows = load_rows(source, "question", "answer")
    for row in rows:
        if row.get("trace") or row.get("steps"):
            line = row.get("line", 1)
            raise UserError(f"{source}, line {line}: has a trace already; leave out --teach")
    return rows


def load_rows(source, *fields):
    """Rows of a JSONL file or of a benchmark's split. Prints what the split left out.

    fields: those that a row has to have. Raises UserError.
    """
    name, _, split = source.partition(":")
    if not split or name not in prepare.BENCHMARKS:
        return read_jsonl(source, *fields)
    rows, reasons = prepare.all_rows(name, split)
    if reasons:
        print(f"{source}: {len(rows)} rows{reasons}")
    for field in fields:
        check_field(rows[0], field, f"{source} (--teach writes traces)")
    return rows


def load_gold(path, rows, source):
    """{row id: gold signals} of a JSONL file, for these rows of the source."""
    gold = {}
    valid = range(len(SIGNALS))
    for row in read_jsonl(path, "id"):
        signals = row.get("signals")
        if not isinstance(signals, list) or any(s not in valid for s in signals):
            form = f"a list of numbers from 0 to {valid[-1]}"
            raise UserError(f'{path}, line {row["line"]}: "signals" must be {form}')
        gold[row["id"]] = signals
    for row in rows:
        id = row.get("id")
        if not isinstance(id, str) or id not in gold:
            raise UserError(f"{source}: no gold signals for id {id!r} in {path}")
        steps = split_steps(row["trace"])  # the closing step may have none, see `steps_of`
        if not len(steps) <= len(gold[id]) <= len(steps_of(row)):
            problem = f"{len(gold[id])} signals of id {id!r}, which has {len(steps)} steps"
            raise UserError(f"{path}: {problem}; are these the gold signals of {source}?")
    return gold
