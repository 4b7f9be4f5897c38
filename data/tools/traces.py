"""Traces, annotated or not, and questions, read from JSONL files. All raise UserError."""

from data.benchmarks import prepare
from data.tools.files import read_jsonl
from data.tools.flags import UserError
from scaffold import SIGNAL_NAMES, SIGNALS, Step, Trace


def read_traces(path):
    """Traces of an annotated JSONL file. Raises UserError with file, line and reason.

    A row has "question", "answer" and "steps": [{"signal": name, "text": str}, ...].
    """
    traces = []
    for row in read_jsonl(path, "question", "answer"):
        check_steps(row, path)
        traces.append(to_trace(row))
    return traces


def check_steps(row, path):
    """Raises UserError where the "steps" of a row are not what annotate.py writes."""
    where, steps = f"{path}, line {row['line']}", row.get("steps")
    if not isinstance(steps, list) or not steps:
        mend = f"annotate the traces first: python annotate.py {path} annotated.jsonl"
        raise UserError(f'{where}: no "steps"; {mend}')
    for step in steps:
        if not is_step(step):
            form = '{"signal": one of the names in scaffold.SIGNALS, "text": non-empty string}'
            raise UserError(f"{where}: a step must be {form}, not {str(step)[:60]}")


def is_step(step):
    if not isinstance(step, dict) or step.get("signal") not in SIGNAL_NAMES:
        return False
    return isinstance(step.get("text"), str) and bool(step["text"].strip())


def to_trace(row):
    """The Trace of an annotated row."""
    steps = [Step(SIGNAL_NAMES.index(s["signal"]), s["text"].strip()) for s in row["steps"]]
    row_id = str(row.get("id", row.get("line", "")))
    return Trace(row["question"], steps, row["answer"], str(row.get("task") or ""), row_id)


def read_questions(path):
    """Rows of a JSONL file with "question" and "answer". Raises UserError.

    BIG-Bench Hard's "input" and "target" become these. Where a row has "steps", they are checked.
    """
    questions = []
    for row in read_jsonl(path, "question|input", "answer|target"):
        if row.get("steps"):
            check_steps(row, path)
        row["question"] = row.get("question", row.get("input"))
        row["answer"] = row.get("answer", row.get("target"))
        row["task"] = str(row.get("task") or "")
        questions.append(row)
    return questions


# ---------------------------------------------------------------------------- to annotate
def load_rows(source, *fields):
    """Rows with these string fields, of a JSONL file or of a benchmark's split ("gsm8k:train")."""
    name, _, split = source.partition(":")
    if not split or name not in prepare.BENCHMARKS:
        return read_jsonl(source, *fields)
    rows = list(prepare.rows(name, split))
    for field in fields:
        if rows and field not in rows[0]:
            advice = "--teach lets a chat model write the reasoning"
            raise UserError(f'{source}: has no "{field}"; {advice}')
    return rows


def load_traces(source, field):
    """The rows of the input, the trace of each moved from this field to "trace"."""
    rows = load_rows(source, "question", field, "answer")
    for row in rows:
        row["trace"] = row.pop(field)
    return rows


def load_questions(source):
    """The rows of the input, none of which may have a trace."""
    rows = load_rows(source, "question", "answer")
    for row in rows:
        if row.get("trace") or row.get("steps"):
            line = row.get("line", 1)
            raise UserError(f"{source}, line {line}: has a trace already; leave out --teach")
    return rows


def load_gold(path, rows, source):
    """{row id: gold signals} of a JSONL file. Raises UserError where a row's are missing."""
    gold = {}
    for row in read_jsonl(path, "id"):
        signals = row.get("signals")
        valid = range(len(SIGNALS))
        if not isinstance(signals, list) or any(s not in valid for s in signals):
            problem = f'"signals" must be a list of numbers from 0 to {valid[-1]}'
            raise UserError(f"{path}, line {row['line']}: {problem}")
        gold[row["id"]] = signals
    for row in rows:
        id = row.get("id")
        if not isinstance(id, str) or id not in gold:
            raise UserError(
                f"{source}, line {row['line']}: no gold signals for id {id!r} in {path}"
            )
    return gold
