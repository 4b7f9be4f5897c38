"""What the page of serve.py shows: students, questions to choose from, steps while they decode."""

from pathlib import Path

from data.algorithmic import prepare
from data.tools.batch import collect
from data.tools.display import unknown_words
from data.tools.evaluation import judge, task_name
from data.tools.files import read_jsonl
from data.tools.report_page import fill, palette
from scaffold import SIGNALS, classes_of, signal_of

TEMPLATE = Path(__file__).with_name("serve.html")


def class_names(student):
    """The name of each signal that a student can have -> its class; empty for a clone."""
    classes = classes_of(student.classes) if student.method == "scaffold" else []
    return {signal_of(c).short + " again" * (c >= len(SIGNALS)): c for c in classes}


def page_of(paths, students):
    """The page (str) of students and the paths of their checkpoints."""
    shown = []
    for path, student in zip(paths, students, strict=True):
        signals = []
        for name, c in class_names(student).items():
            about = f"{signal_of(c).name}: {signal_of(c).meaning}"
            color, line = palette(len(SIGNALS))[c % len(SIGNALS)]
            signals.append({"name": name, "about": about, "color": color, "line": line})
        shown.append({"name": f"{path} ({student.method})", "signals": signals})
    return fill(TEMPLATE, {"students": shown, "questions": questions_beside(paths[0])})


def questions_beside(path, n=30):
    """n questions to choose from: those that train.py asked in the end, or the teacher's."""
    asked = Path(path).with_name("traces.jsonl")
    if asked.is_file() and asked.stat().st_size:
        rows = read_jsonl(asked, "question")[:n]
    else:
        rows = [row for row, _ in prepare.rows(prepare.DEFAULT_TASKS.split(","), "test", n)]
    return [{"task": task_name(row), "text": row["question"]} for row in rows]


def live_steps(student, question, flow, decode, decoding):
    """Yield a dict or None after every token: a step where it ends, and last the answer.

    flow: classes of the first steps. decode, decoding: see sample.py, and what it raises.
    """
    tokenizer = student.tokenizer
    names = {c: name for name, c in class_names(student).items()}
    prompt = tokenizer.encode_question(question)
    for batch in decode(student.model, tokenizer, [prompt], [flow], student.method, decoding):
        is_over = bool(batch.rows.prompt < 0)
        if not is_over and batch.rows.token != tokenizer.step_id:
            yield None
            continue
        reasoning = collect(batch.written, 1, tokenizer)[0]
        texts = [step.text for step in reasoning.steps]
        # A missing answer is the last text's fault: until the end, that is an empty one.
        verdicts = judge(question, texts if is_over else [*texts, ""])
        probs = reasoning.probs[-1]
        yield {
            "signal": names.get(reasoning.steps[-1].signal),
            "probs": {name: round(probs[c], 4) for c, name in names.items()},
            "text": texts[-1],
            "verdict": verdicts[len(texts) - 1] if verdicts else None,
        }
    unknown = unknown_words(question, tokenizer)
    yield {"finished": reasoning.finished, "answer": reasoning.answer, "unknown": unknown}
