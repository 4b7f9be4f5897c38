"""Reason with a trained student: signal, then step, until it answers (section 2.3 of arXiv 2509.23619).

    python sample.py "Question: Ada lies. Otto says Ada lies. Does Otto tell the truth?"
    python sample.py                                        # asks for questions
    python sample.py --eval data/algorithmic/test.jsonl     # accuracy, erroneous paths, signal accuracy
    python sample.py "..." --compare out/ckpt.pt clone/ckpt.pt
"""
import itertools
import json
import re
import shutil
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from annotate import annotate, write_atomically
from data.algorithmic import check
from model import KVCache, load_checkpoint, pick_device
from scaffold import COLORS, NO_SIGNAL, SIGNALS, Step, Trace, UserError, collate, encode, flag, paint, parse_flags, question_hash, read_jsonl, run


@dataclass
class Reasoning:
    """What the student wrote for one question."""
    steps: list = field(default_factory=list)  # of Step; a clone's signal is NO_SIGNAL
    confidence: list = field(default_factory=list)  # P(signal) of every step
    tokens: int = 0  # generated, terminators included
    finished: bool = False  # it wrote <|end|>


def pick(logits, temperature, top_k, generator):
    """One index a row of logits (B, V): the best at temperature 0, else sampled among the top_k best (0: all)."""
    if temperature == 0:
        return logits.argmax(-1)
    if top_k:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.size(-1))).values[:, -1:], -torch.inf)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]


@torch.inference_mode()
def reason(model, tokenizer, questions, method="scaffold", temperature=0.0, top_k=0, max_tokens=1024, generator=None):
    """Signal-then-step decoding of a batch of questions (list of str). Returns a Reasoning each.

    Whenever a row stands at a boundary (its last token ended the question or a step) the head names the next signal;
    that signal conditions every token of the step, its terminator included. A row ends at <|end|>, after max_tokens, or
    where the model's positions end. Raises UserError for a question that leaves no room to reason.
    """
    device, scaffolded = model.lm_head.weight.device, method == "scaffold"
    prompts = [tokenizer.encode(q.strip()) + [tokenizer.step_id] for q in questions]
    lengths = torch.tensor([len(p) for p in prompts])
    if (room := model.config.block_size - int(lengths.max())) <= 0:
        raise UserError(f"a question of {int(lengths.max())} tokens leaves no room in the model's {model.config.block_size}; shorten it")
    idx = torch.tensor([p + [tokenizer.end_id] * (int(lengths.max()) - len(p)) for p in prompts], device=device)
    lengths = lengths.to(device)
    cache = KVCache(model.config, len(prompts), int(lengths.max()) + min(room, max_tokens), model.lm_head.weight)
    h = model.hidden(idx, cache, lengths)[torch.arange(len(prompts), device=device), lengths - 1]  # (B, C)
    rows = torch.arange(len(prompts), device=device)  # which question each row of the batch still works on
    token = torch.full_like(rows, tokenizer.step_id)
    signal, confidence = torch.full_like(rows, NO_SIGNAL), torch.ones(len(rows), device=device)
    written = []  # (rows, token, signal, confidence) of every position
    for _ in range(min(room, max_tokens)):
        if scaffolded:  # the next signal, where a row is at a boundary
            signal_logits = model.signal_head(h).float()
            new = pick(signal_logits, temperature, top_k, generator)
            signal = torch.where(token == tokenizer.step_id, new, signal)
            p = signal_logits.softmax(-1).gather(1, new[:, None])[:, 0]
            confidence = torch.where(token == tokenizer.step_id, p, confidence)
        logits = model.token_logits(h, signal if scaffolded else None).float()  # (B, V)
        token = pick(logits, temperature, top_k, generator)
        written.append((rows, token, signal, confidence))
        if (going := token != tokenizer.end_id).sum() < len(rows):  # finished rows leave the batch
            rows, token, signal, confidence = rows[going], token[going], signal[going], confidence[going]
            cache.keep(going)
            if not len(rows):
                break
        h = model.hidden(token[:, None], cache)[:, 0]
    return collect(written, len(prompts), tokenizer)


def collect(written, n, tokenizer):
    """The n Reasonings in what `reason` wrote position by position."""
    out, parts = [Reasoning() for _ in range(n)], [[] for _ in range(n)]
    for position in written:
        for row, token, signal, p in zip(*(x.tolist() for x in position)):
            r = out[row]
            r.tokens += 1
            if not parts[row]:
                r.steps.append(Step(signal, ""))
                r.confidence.append(p)
            parts[row].append(token)
            r.finished = token == tokenizer.end_id
            if token in (tokenizer.step_id, tokenizer.end_id):
                r.steps[-1].text, parts[row] = tokenizer.decode(parts[row]), []
    for r, part in zip(out, parts):
        if part:
            r.steps[-1].text = tokenizer.decode(part)
    return out


def extract_answer(text):
    """What a last step hands over: "So the answer is (B)." -> "(B)"; None where it hands over nothing."""
    found = re.findall(r"^.*\banswer\b(?:\s+is\b)?[ \t]*:?[ \t]*(.*?)[.\s]*$", text, re.I | re.M)
    return found[-1] or None if found else None


# --------------------------------------------------------------------------------------- evaluation
def load_questions(path):
    """Rows of a JSONL file with "question"/"answer" (or BBH's "input"/"target"), under the first two names."""
    rows = read_jsonl(path, "question|input", "answer|target")
    return [{**r, "question": r.get("question", r.get("input")), "answer": r.get("answer", r.get("target"))} for r in rows]


@torch.inference_mode()
def signal_hits(model, tokenizer, traces):
    """Teacher-forced: (hits, boundaries) of the signal head over each trace's boundary positions."""
    hits = []
    for i in range(0, len(traces), 64):
        examples = [encode(t, tokenizer) for t in traces[i : i + 64]]
        idx, _, _, signal_targets = collate(examples, tokenizer)
        device = model.lm_head.weight.device
        right = model.signal_head(model.hidden(idx.to(device))).argmax(-1).cpu() == signal_targets
        hits += [(int(r.sum()), int(b.sum())) for r, b in zip(right, signal_targets >= 0)]
    return hits


def evaluate(student, rows, batch_size=64, temperature=0.0, top_k=0, seed=0):
    """Let the student answer every row ("question", "answer"). Returns (result, records).

    result: the headline figures, also per task under "tasks", and under "unseen" without the questions met in training;
    records: every row's steps with their signals and the checker's verdicts ("" is right).
    """
    model, tokenizer, method, start = student["gpt"], student["tokenizer"], student["method"], time.time()
    generator = torch.Generator(model.lm_head.weight.device).manual_seed(seed)
    fits = [len(tokenizer.encode(r["question"])) + 1 < model.config.block_size for r in rows]
    order = sorted((i for i in range(len(rows)) if fits[i]), key=lambda i: len(rows[i]["question"]))  # alike lengths together
    answers = {}
    with tqdm(total=len(rows), desc="evaluating", unit="question", disable=None) as bar:
        for i in range(0, len(order), batch_size):
            chunk = order[i : i + batch_size]
            answers |= zip(chunk, reason(model, tokenizer, [rows[j]["question"] for j in chunk], method, temperature, top_k, generator=generator))
            bar.update(len(chunk))
    hits = gold_hits(student, rows) if method == "scaffold" else {}
    records = []
    for i, row in enumerate(rows):
        r = answers.get(i, Reasoning())  # a question too long to read goes unanswered
        verdicts = check.check(row["question"], [s.text for s in r.steps])
        answer = extract_answer(r.steps[-1].text) if r.finished else None
        correct = answer is not None and answer.casefold() == row["answer"].strip().rstrip(".").casefold()
        steps = [{"signal": SIGNALS[s.signal] if s.signal < NO_SIGNAL else None, "confidence": round(p, 4), "text": s.text,
                  "verdict": v} for s, p, v in zip(r.steps, r.confidence, verdicts if verdicts is not None else itertools.repeat(None))]
        records.append({"id": row.get("id", row.get("line", i)), "task": row.get("task") or check.task_of(row["question"]) or "other",
                        "question": row["question"], "answer": row["answer"], "given": answer, "correct": correct,
                        "erroneous": None if verdicts is None else not correct or any(verdicts) or not verdicts,
                        "seen": question_hash(row["question"]) in student["seen"], "tokens": r.tokens, "signals": hits.get(i), "steps": steps})
    result = score(records)
    unseen = [r for r in records if not r["seen"]]
    if len(unseen) < len(records):
        result |= {"seen_in_training": len(records) - len(unseen), "unseen": score(unseen)}
    by_task = lambda r: r["task"]
    result["tasks"] = {t: score(list(g)) for t, g in itertools.groupby(sorted(records, key=by_task), key=by_task)}
    return {**result, "seconds": time.time() - start}, records


def gold_hits(student, rows):
    """Row number -> (hits, boundaries) for the rows that bring a trace, annotated or not."""
    traced = [i for i, r in enumerate(rows) if r.get("trace") or r.get("steps")]
    bare = [rows[i] for i in traced if not rows[i].get("steps")]
    annotated = iter(annotate(bare, weight=student["classifier"])[0] if bare else [])
    traces = []
    for i in traced:
        steps = (rows[i] if rows[i].get("steps") else next(annotated))["steps"]
        traces.append(Trace(rows[i]["question"], [Step(SIGNALS.index(s["signal"]), s["text"]) for s in steps], rows[i]["answer"]))
    room = [k for k, t in enumerate(traces) if len(encode(t, student["tokenizer"]).signals) <= student["gpt"].config.block_size]
    return dict(zip([traced[k] for k in room], signal_hits(student["gpt"], student["tokenizer"], [traces[k] for k in room])))


def score(records):
    """The headline figures of some records; None where there is nothing to judge by."""
    mean = lambda xs: sum(xs) / len(xs) if xs else None
    judged = [r["erroneous"] for r in records if r["erroneous"] is not None]
    hits = [r["signals"] for r in records if r["signals"]]
    return {"questions": len(records), "accuracy": mean([r["correct"] for r in records]), "erroneous_paths": mean(judged),
            "signal_accuracy": sum(h for h, _ in hits) / sum(n for _, n in hits) if hits else None,
            "tokens_per_answer": mean([r["tokens"] for r in records])}


def report(result):
    """The result as key: value lines, then a table of the tasks."""
    number = lambda v: "n/a" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v)
    lines = [f"{k}: {number(v)}" for k, v in result.items() if not isinstance(v, (dict, list, str))]
    if "unseen" in result:
        lines.append("on the unseen questions: " + ", ".join(f"{k} {number(v)}" for k, v in result["unseen"].items()))
    lines.append(f"{'task':28}{'questions':>10}{'accuracy':>10}{'erroneous':>11}{'signals':>9}")
    percent = lambda v: "n/a" if v is None else f"{v:.1%}"
    return "\n".join(lines + [f"{t[:27]:28}{s['questions']:>10}{percent(s['accuracy']):>10}{percent(s['erroneous_paths']):>11}{percent(s['signal_accuracy']):>9}"
                              for t, s in result["tasks"].items()])


# ------------------------------------------------------------------------------------------ showing
def lines_of(reasoning, question, width=0):
    """A Reasoning as terminal lines, a colour a signal; a wrong step says why."""
    verdicts = check.check(question, [s.text for s in reasoning.steps]) or [""] * len(reasoning.steps)
    lines = []
    for s, p, wrong in zip(reasoning.steps, reasoning.confidence, verdicts):
        name, color = ("", 0) if s.signal == NO_SIGNAL else (f"[{SIGNALS[s.signal]}  {p:.2f}]", COLORS[s.signal])
        for text, c in ((name, color), (s.text, color), (f"  ^ {wrong}" if wrong else "", 91)):
            lines += [paint(part.ljust(width), c) for part in (textwrap.wrap(text, width) if width else [text]) if part]
    return lines if reasoning.finished else lines + [paint("(stopped before an answer)".ljust(width), 91)]


@dataclass
class SampleConfig:
    ckpt: str = flag("out/ckpt.pt", "checkpoint of the student")
    eval: str = flag("", "JSONL with question/answer or input/target: score the student on it")
    tasks: str = flag("", "with --eval: only these tasks, comma-separated")
    compare: tuple = flag((), "two checkpoints: both students' reasoning on one question, side by side", nargs=2)
    temperature: float = flag(0.0, "of signals and text; 0 is greedy", high=100.0)
    top_k: int = flag(0, "sample among the k best only; 0: all")
    batch_size: int = flag(64, "questions decoded at a time", low=1)
    seed: int = flag(0, "seed of the sampling", high=2**31)
    device: str = flag("auto", "cuda, mps or cpu", choices=("auto", "cuda", "mps", "cpu"))
    out: str = flag("", "with --eval: where the generated traces go; empty: eval-<name of the file>.jsonl beside the checkpoint")


def main(argv=None):
    config, question = parse_flags(SampleConfig, argv, __doc__.split("\n")[0], ("question", "a question; none: asks for questions", "?"))
    device, why = pick_device(config.device)
    students = [load_checkpoint(path, device) for path in (config.compare or [config.ckpt])]
    if config.eval:
        rows = load_questions(config.eval)
        if config.tasks:
            rows = [r for r in rows if (r.get("task") or check.task_of(r["question"])) in config.tasks.split(",")]
            if not rows:
                raise UserError(f"{config.eval}: no question of the tasks {config.tasks}")
        print(f"device: {device} ({why})")
        result, records = evaluate(students[0], rows, config.batch_size, config.temperature, config.top_k, config.seed)
        out = config.out or Path(config.ckpt).parent / f"eval-{Path(config.eval).stem}.jsonl"
        write_atomically(out, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
        print(report({**result, "tokens_per_second": students[0]["tokens_per_second"]}))
        print(f"every trace with its verdicts: {out}")
        return
    generator = torch.Generator(device).manual_seed(config.seed)
    for q in [question] if question else iter(lambda: input("question (empty line ends): ").replace("\\n", "\n"), ""):
        if not q.strip():
            raise UserError("the question is empty")
        both = [reason(s["gpt"], s["tokenizer"], [q], s["method"], config.temperature, config.top_k, generator=generator)[0] for s in students]
        if len(both) == 1:
            print("\n".join(lines_of(both[0], q)))
            continue
        width = (shutil.get_terminal_size().columns - 3) // 2
        columns = [[f"{Path(p)} ({s['method']})"[-width:].ljust(width), "-" * width, *lines_of(r, q, width)] for p, s, r in zip(config.compare, students, both)]
        print("\n".join(f"{a} | {b}" for a, b in itertools.zip_longest(*columns, fillvalue=" " * width)))


if __name__ == "__main__":
    run(main)
