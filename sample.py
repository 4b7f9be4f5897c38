"""Reason with a trained student: signal, then step, until it answers (section 2.3 of arXiv 2509.23619).

    python sample.py "Question: Ada lies. Otto says Ada lies. Does Otto tell the truth?"
    python sample.py                                        # asks for questions
    python sample.py --eval data/algorithmic/test.jsonl     # accuracy, erroneous paths, signal accuracy
    python sample.py "..." --compare out/ckpt.pt clone/ckpt.pt
"""
import dataclasses
import heapq
import itertools
import json
import math
import random
import re
import shutil
import textwrap
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from annotate import annotate, check_outputs, write_atomically
from data.algorithmic import check
from data.benchmarks.answers import extract, same
from data.benchmarks.arithmetic import arithmetic
from model import KVCache, load_checkpoint, pick_device
from scaffold import (COLORS, CONCLUSION, NO_SIGNAL, RESPONSE, SIGNALS, Step, Trace, UserError, check_steps, collate, encode, flag, paint, parse_flags,
                      printable, question_hash, read_jsonl, run, taxonomy)


@dataclass
class Reasoning:
    """What the student wrote for one question."""
    steps: list = field(default_factory=list)  # of Step; a clone's signal is NO_SIGNAL
    probs: list = field(default_factory=list)  # P(signal) of every class, before every step; empty lists for a clone
    tokens: int = 0  # generated, terminators included
    logp: float = 0.0  # of all these tokens
    finished: bool = False  # it wrote <|end|>

    @property
    def answer(self):
        return extract(self.steps[-1].text) if self.finished else None

    @property
    def confidence(self):
        return [p[s.signal] if p else 1.0 for s, p in zip(self.steps, self.probs)]


def pick(logits, temperature, top_k, generator):
    """One index a row of logits (B, V): the best at temperature 0, else sampled among the top_k best (0: all)."""
    if temperature < 1e-6:  # nothing smaller can divide: inf - inf
        return logits.argmax(-1)
    if top_k:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.size(-1))).values[:, -1:], -torch.inf)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]


def reason(model, tokenizer, questions, method="scaffold", flows=None, prune=False, max_tokens=1024, **options):
    """Signal-then-step decoding of a batch of questions (list of str). Returns a Reasoning each.

    flows: signals to write the first steps with (a list each), the head goes on from there. prune: once a step concludes,
    the steps before it are dropped from the context, earlier conclusions aside, and what is left is read anew. options:
    see `decode`. Raises UserError for a question that leaves no room to reason.
    """
    out, active = [Reasoning() for _ in questions], list(range(len(questions)))
    prompts, flows = [tokenizer.encode(q.strip()) for q in questions], flows or [[]] * len(questions)
    while active:  # one pass; with prune, one a stage
        parts = decode(model, tokenizer, [prompts[i] for i in active], method, [flows[i][len(out[i].steps) :] for i in active],
                       max_tokens, stages=prune, **options)
        for i, r in zip(active, parts):
            o = out[i]
            o.steps, o.probs, o.tokens, o.logp, o.finished = o.steps + r.steps, o.probs + r.probs, o.tokens + r.tokens, o.logp + r.logp, r.finished
            if prune:
                prompts[i] = [*prompts[i], tokenizer.step_id, *tokenizer.encode(r.steps[-1].text)]
        active = [i for i, r in zip(active, parts) if prune and not r.finished and r.steps[-1].signal % 7 == CONCLUSION
                  and out[i].tokens < max_tokens and len(prompts[i]) + 1 < model.config.block_size]
    return out


@lru_cache(maxsize=1)
def graphed(model, batch_size):
    """(`next_hidden` as a CUDA graph, the cache that it works on); kept, since compiling takes longer than many an answer."""
    cache = KVCache(model.config, batch_size, model.lm_head.weight, room=model.config.block_size)
    return torch.compile(model.next_hidden, mode="reduce-overhead", fullgraph=True), cache


@torch.no_grad()
def decode(model, tokenizer, prompts, method, flows, max_tokens, stages=False, tau=0.0, temperature=0.0, top_k=0, generator=None, graph=0):
    """Write on from each prompt (list of ids, its last <|step|> not included). Returns a Reasoning each.

    Whenever a row stands at a boundary the head names the next signal; that signal conditions every token of the step,
    its terminator included. tau, the confidence gate: where the head is less sure than that, Response Generation is forced
    and that step is the last one. A row ends at <|end|>, after max_tokens, where the model's positions end and, with
    stages, after a conclusion; it then leaves the batch. graph: in place of that, so many rows on a static cache, each
    token one CUDA graph; the places of finished rows go to the next prompts once a quarter of them are free.
    """
    device, scaffolded, step_id, block_size = model.lm_head.weight.device, method == "scaffold", tokenizer.step_id, model.config.block_size
    if (longest := max(map(len, prompts))) >= block_size - 1:
        raise UserError(f"a question of {longest} tokens leaves no room in the model's {block_size}; shorten it")
    given = torch.tensor([f + [-1] * (max(map(len, flows)) + 1 - len(f)) for f in flows], device=device)  # (N, K), -1: the head decides
    limit = torch.tensor([min(len(p) + max_tokens, block_size) for p in prompts], device=device)  # (N,)
    B = graph or len(prompts)
    one_more, cache = graphed(model, B) if graph else (model.next_hidden, KVCache(model.config, B, model.lm_head.weight))
    # of every row of the batch: its prompt (-1: none), newest token, the signal and number of its step, whether the gate forced that
    rows, token, signal, n_step, gated = (torch.full((B,), x, device=device) for x in (-1, step_id, NO_SIGNAL, 0, False))
    probs = torch.zeros(B, model.config.n_signals if scaffolded else 0, device=device)  # P(signal) before its step
    h = model.lm_head.weight.new_zeros(B, model.config.n_embd)  # its last hidden state
    waiting, written = list(range(len(prompts)))[::-1], []

    def next_signal(h):
        """New (signal, probs, gated, n_step) where a row stands at a boundary, the old ones elsewhere."""
        p, opens = model.signal_probs(h), token == step_id
        best, planned = pick(p.log(), temperature, top_k, generator), given[rows, n_step.clamp(max=given.size(1) - 1)]
        unsure = (planned < 0) & (p.gather(1, best[:, None])[:, 0] < tau)
        new = torch.where(unsure, RESPONSE, torch.where(planned < 0, best, planned))
        return torch.where(opens, new, signal), torch.where(opens[:, None], p, probs), torch.where(opens, unsure, gated), n_step + opens

    while True:
        free = (rows < 0).nonzero()[:, 0]
        if waiting and 4 * len(free) >= B:
            new = [waiting.pop() for _ in range(min(len(free), len(waiting)))]
            at, lengths = free[: len(new)], torch.tensor([len(prompts[i]) for i in new], device=device)
            idx = pad_sequence([torch.tensor(prompts[i], device=device) for i in new], batch_first=True)  # (K, T)
            h[at] = model.hidden(idx, cache=cache, rows=at, lengths=lengths)[torch.arange(len(new), device=device), lengths - 1]
            rows = rows.index_copy(0, at, torch.tensor(new, device=device))
            token, signal, n_step = token.index_fill(0, at, step_id), signal.index_fill(0, at, NO_SIGNAL), n_step.index_fill(0, at, 0)
        elif len(free) == len(rows):
            return collect(written, len(prompts), tokenizer)
        elif len(free) and not graph:
            left = rows >= 0
            rows, token, signal, n_step, gated, probs, h = (x[left] for x in (rows, token, signal, n_step, gated, probs, h))
            cache.keep(left)
        if scaffolded and model.config.conditioning == "token":  # the boundary's own token shows the signal
            signal, probs, gated, n_step = next_signal(h)
        h = one_more(token, cache, signal)
        if scaffolded and model.config.conditioning != "token":
            signal, probs, gated, n_step = next_signal(h)
        logits = model.token_logits(h, signal if scaffolded else None).float()  # (B, V)
        token = pick(logits, temperature, top_k, generator)
        token = torch.where(gated & (token == step_id), tokenizer.end_id, token)  # nothing follows a forced answer
        logp = logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
        written.append((rows, token, signal, logp, probs))
        over = (token == tokenizer.end_id) | (stages & (token == step_id) & (signal % 7 == CONCLUSION)) | (cache.lengths >= limit[rows])
        rows = torch.where(over, -1, rows)
        cache.lengths *= rows >= 0  # a free row stays where it is


def collect(written, n, tokenizer):
    """The n Reasonings in what `decode` wrote position by position."""
    out, parts = [Reasoning() for _ in range(n)], [[] for _ in range(n)]
    for row, token, signal, logp, p in zip(*(torch.cat(column).tolist() for column in zip(*written))):
        if row < 0:
            continue
        r = out[row]
        r.tokens, r.logp, r.finished = r.tokens + 1, r.logp + logp, token == tokenizer.end_id
        if not parts[row]:
            r.steps.append(Step(signal, ""))
            r.probs.append(p)
        parts[row].append(token)
        if token in (tokenizer.step_id, tokenizer.end_id):
            r.steps[-1].text, parts[row] = tokenizer.decode(parts[row]), []
    for r, part in zip(out, parts):
        if part:
            r.steps[-1].text = tokenizer.decode(part)
    return out


def search(model, tokenizer, questions, k, choose="vote", method="scaffold", **options):
    """Answer each question k times, keep one Reasoning. The scaffold decodes its k most probable flows of signals: given
    a flow, greedy text is a function of it, so the next flow to try is the most probable way to leave one already tried
    at one boundary (best first, no flow twice). The clone draws k samples. choose: "vote" (the answer most of them give;
    the most probable flow breaks a tie) or "score" (the highest mean log-probability of a token)."""
    heaps, tries = [[(0.0, [])] for _ in questions], [[] for _ in questions]  # heaps: (-log P, first signals of a flow)
    for _ in range(k):
        todo = [(i, *heapq.heappop(heap)) for i, heap in enumerate(heaps) if heap]
        for (i, _, flow), r in zip(todo, reason(model, tokenizer, [questions[i] for i, *_ in todo], method, [flow for *_, flow in todo], **options)):
            tries[i].append(r)
            if method != "scaffold":
                heaps[i] = [(0.0, [])]
                continue
            cost, signals = 0.0, [s.signal for s in r.steps]
            for j, (signal, p) in enumerate(zip(signals, r.probs)):
                for other in range(len(p)) if j >= len(flow) else ():
                    if other != signal:
                        heapq.heappush(heaps[i], (cost - math.log(p[other] + 1e-12), signals[:j] + [other]))
                cost -= math.log(p[signal] + 1e-12)
    out = []
    for found in tries:
        votes = Counter(r.answer for r in found if r.answer is not None)
        best = max(found, key=lambda r: (votes[r.answer] if choose == "vote" else r.logp / max(1, r.tokens)))
        out.append(dataclasses.replace(best, tokens=sum(r.tokens for r in found)))
    return out


# --------------------------------------------------------------------------------------- evaluation
def load_questions(path):
    """Rows of a JSONL file with "question"/"answer" (or BBH's "input"/"target"), under the first two names."""
    rows = read_jsonl(path, "question|input", "answer|target")
    for r in rows:
        if r.get("steps"):
            check_steps(r, path)
    return [{**r, "question": r.get("question", r.get("input")), "answer": r.get("answer", r.get("target")), "task": str(r.get("task") or "")} for r in rows]


@torch.inference_mode()
def signal_hits(model, tokenizer, traces, tau=0.0):
    """Teacher-forced, over each trace's boundary positions: (right and kept, kept, all); the gate keeps confidences of tau and more."""
    hits, device = [], model.lm_head.weight.device
    for i in range(0, len(traces), 64):
        examples = [encode(t, tokenizer) for t in traces[i : i + 64]]
        idx, signals, _, signal_targets = collate(examples, tokenizer)
        confidence, best = model.signal_probs(model.before_signal(model.hidden(idx.to(device), own=model.own_signals(idx, signals).to(device)))).max(-1)
        boundary = signal_targets >= 0
        kept = boundary & (confidence.cpu() >= tau)
        hits += zip((kept & (best.cpu() == signal_targets)).sum(1).tolist(), kept.sum(1).tolist(), boundary.sum(1).tolist())
    return hits


def evaluate(student, rows, batch_size=64, seed=0, signals="predicted", k=1, choose="vote", compile=True, **options):
    """Let the student answer every row ("question", "answer"). Returns (result, records).

    signals: the head's own ("predicted"), those of the row's annotated trace ("gold", an oracle), or "random" ones; k and
    choose: see `search`; compile: use CUDA graphs where there is CUDA; options: see `reason`. result: the headline figures,
    also per task under "tasks", and under "unseen" without the questions met in training; records: every row's steps with
    their signals and the checker's verdicts ("" is right). Raises UserError for gold signals where a row has no trace, and
    for any but a clone's own.
    """
    model, tokenizer, method, start = student["gpt"], student["tokenizer"], student["method"], time.time()
    device = model.lm_head.weight.device
    generator, graph = torch.Generator(device).manual_seed(seed), batch_size * (compile and device.type == "cuda")
    fits = [len(tokenizer.encode(r["question"].strip())) + 1 < model.config.block_size for r in rows]
    order = sorted((i for i in range(len(rows)) if fits[i]), key=lambda i: len(rows[i]["question"]))  # alike lengths together
    gold, answers, rng = annotated_traces(student, rows) if method == "scaffold" else {}, {}, random.Random(seed)
    if signals != "predicted" and (method == "clone" or k > 1):
        raise UserError(f"--signals {signals}: a clone has no signals, and --k searches them itself")
    if signals == "gold" and (bare := [i for i in order if i not in gold]):
        raise UserError(f"--signals gold: row {rows[bare[0]].get('line', bare[0] + 1)} has no trace to take the signals from")
    flow_of = {"predicted": lambda i: [], "gold": lambda i: [s.signal for s in gold[i].steps],
               "random": lambda i: rng.choices(range(model.config.n_signals), k=64)}[signals]
    answer_all = partial(search, k=k, choose=choose) if k > 1 else reason
    with tqdm(total=len(rows), desc="evaluating", unit="question", disable=None) as bar:
        at_once = len(rows) if graph else batch_size  # a graph's rows take up the next questions by themselves
        for chunk in (order[i : i + at_once] for i in range(0, len(order), at_once)):
            flows, questions = {} if k > 1 else {"flows": [flow_of(j) for j in chunk]}, [rows[j]["question"] for j in chunk]
            answers |= zip(chunk, answer_all(model, tokenizer, questions, method=method, generator=generator, graph=graph, **flows, **options))
            bar.update(len(chunk))
    hits = dict(zip(gold, signal_hits(model, tokenizer, list(gold.values()), options.get("tau", 0.0))))
    obeyed = obedience(student, rows, answers) if method == "scaffold" else {}
    records = []
    for i, row in enumerate(rows):
        r = answers.get(i, Reasoning())  # a question too long to read goes unanswered
        verdicts, correct = judge(row["question"], r, row.get("task")), same(r.answer, row["answer"])
        steps = [{"signal": SIGNALS[s.signal % 7] if s.signal < NO_SIGNAL else None, "confidence": round(p, 4), "text": s.text,
                  "verdict": v} for s, p, v in zip(r.steps, r.confidence, verdicts if verdicts is not None else itertools.repeat(None))]
        records.append({"id": row.get("id", row.get("line", i)), "task": row.get("task") or check.task_of(row["question"]) or "other",
                        "question": row["question"], "answer": row["answer"], "given": r.answer, "correct": correct,
                        "erroneous": None if verdicts is None else not correct or any(verdicts) or not verdicts,
                        "seen": question_hash(row["question"]) in student["seen"], "tokens": r.tokens, "signals": hits.get(i),
                        "obeyed": obeyed.get(i), "steps": steps})
    result = score(records)
    unseen = [r for r in records if not r["seen"]]
    if len(unseen) < len(records):
        result |= {"seen_in_training": len(records) - len(unseen), "unseen": score(unseen)}
    by_task = lambda r: r["task"]
    result["tasks"] = {t: score(list(g)) for t, g in itertools.groupby(sorted(records, key=by_task), key=by_task)}
    return {**result, "seconds": time.time() - start}, records


def judge(question, reasoning, task=None):
    """What is wrong with each step ("": nothing), by the checker of the question's family; in gsm8k, by its written arithmetic alone.
    None: nobody checks such a question."""
    texts = [s.text for s in reasoning.steps]
    return check.check(question, texts) if task != "gsm8k" else ["; ".join(arithmetic(t)) for t in texts]


def annotated_traces(student, rows):
    """Row number -> Trace with signals, for the rows that bring a trace, annotated or not, that the student has room for."""
    traced = [i for i, r in enumerate(rows) if r.get("steps") or isinstance(r.get("trace"), str) and r["trace"].strip()]
    bare = [rows[i] for i in traced if not rows[i].get("steps")]
    annotated = iter(annotate(bare, weight=student["classifier"])[0] if bare else [])
    traces = {}
    for i in traced:
        steps = (rows[i] if rows[i].get("steps") else next(annotated))["steps"]
        signals = taxonomy([SIGNALS.index(s["signal"]) for s in steps], student["classes"])
        traces[i] = Trace(rows[i]["question"], [Step(signal, s["text"]) for signal, s in zip(signals, steps)], rows[i]["answer"])
    return {i: t for i, t in traces.items() if len(encode(t, student["tokenizer"]).signals) <= student["gpt"].config.block_size}


def obedience(student, rows, answers):
    """Row number -> (hits, steps): does a written step, annotated again, carry the signal it was written under? Its last
    step aside, which the annotator names for its place; None without an annotator."""
    if student["classifier"] is None:
        return {}
    written = [(i, [s for s in r.steps if s.text.strip()]) for i, r in answers.items()]
    written = [(i, steps) for i, steps in written if steps]
    again = annotate([{"trace": "\n\n".join(re.sub(r"\s+", " ", s.text) for s in steps), "answer": ""} for _, steps in written], weight=student["classifier"])[0]
    again = [taxonomy([SIGNALS.index(s["signal"]) for s in row["steps"]], student["classes"]) for row in again]
    return {i: (sum(s.signal == other for s, other in zip(steps[:-1], signals)), len(steps) - 1) for (i, steps), signals in zip(written, again)}


def score(records):
    """The headline figures of some records; None where there is nothing to judge by."""
    mean = lambda xs: sum(xs) / len(xs) if xs else None
    judged = [r["erroneous"] for r in records if r["erroneous"] is not None]
    share = lambda name, a, b: sum(x[a] for x in counts) / max(1, sum(x[b] for x in counts)) if (counts := [r[name] for r in records if r[name]]) else None
    return {"questions": len(records), "accuracy": mean([r["correct"] for r in records]), "erroneous_paths": mean(judged),
            "signal_accuracy": share("signals", 0, 1), "signals_kept": share("signals", 1, 2), "obedience": share("obeyed", 0, 1),
            "tokens_per_answer": mean([r["tokens"] for r in records])}


def report(result):
    """The result as key: value lines, then a table of the tasks."""
    number = lambda v: "n/a" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v)
    lines = [f"{k}: {number(v)}" for k, v in result.items() if not isinstance(v, (dict, list, str))]
    if "unseen" in result:
        lines.append("on the unseen questions: " + ", ".join(f"{k} {number(v)}" for k, v in result["unseen"].items()))
    lines.append(f"{'task':28}{'questions':>10}{'accuracy':>10}{'erroneous':>11}{'signals':>9}")
    percent = lambda v: "n/a" if v is None else f"{v:.1%}"
    return "\n".join(lines + [f"{printable(t, keep='')[:27]:28}{s['questions']:>10}{percent(s['accuracy']):>10}{percent(s['erroneous_paths']):>11}{percent(s['signal_accuracy']):>9}"
                              for t, s in result["tasks"].items()])


# ------------------------------------------------------------------------------------------ showing
def lines_of(reasoning, question, width=0):
    """A Reasoning as terminal lines, a colour a signal; a wrong step says why."""
    lines, verdicts = [], judge(question, reasoning) or [""] * len(reasoning.steps)
    for s, p, wrong in zip(reasoning.steps, reasoning.confidence, verdicts):
        name, color = ("", 0) if s.signal == NO_SIGNAL else (f"[{SIGNALS[s.signal % 7]}  {p:.2f}]", COLORS[s.signal % 7])
        for text, c in ((name, color), (s.text, color), (f"  ^ {wrong}" if wrong else "", 91)):
            lines += [paint(part.ljust(width), c) for part in (textwrap.wrap(text, width) if width else [text]) if part]
    return lines if reasoning.finished else lines + [paint("(stopped before an answer)".ljust(width), 91)]


def signal_named(name):
    """Index of the signal that a name is a part of: "recall", "Contrast", "reasoning"."""
    found = [i for i, s in enumerate(SIGNALS) if name.strip().lower() in s.lower()]
    if len(found) != 1 or not name.strip():
        raise UserError(f"--flow: {name!r} names {'no' if not found else 'more than one'} signal; take a word of: {', '.join(SIGNALS)}")
    return found[0]


@dataclass
class SampleConfig:
    ckpt: str = flag("out/ckpt.pt", "checkpoint of the student")
    eval: str = flag("", "JSONL with question/answer or input/target: score the student on it")
    tasks: str = flag("", "with --eval: only these tasks, comma-separated")
    flow: str = flag("", "signals of the first steps, as recall,reason,contrast; the head goes on from there")
    signals: str = flag("predicted", "with --eval: the head's own signals, those of the test traces (an oracle), or random ones",
                        choices=("predicted", "gold", "random"))
    tau: float = flag(0.0, "confidence gate: below it the student stops reasoning and answers (paper: 0.96); 0: off", high=1.0)
    prune: bool = flag(False, "drop the steps before a conclusion from the context")
    k: int = flag(1, "answers to choose from: the k most probable flows, or k samples of a clone (with --temperature)", low=1, high=1000)
    choose: str = flag("vote", "among k answers: the most frequent, or the most probable text", choices=("vote", "score"))
    compare: tuple = flag((), "two checkpoints: both students' reasoning on one question, side by side", nargs=2)
    temperature: float = flag(0.0, "of signals and text; 0 is greedy", high=100.0)
    top_k: int = flag(0, "sample among the k best only; 0: all")
    batch_size: int = flag(64, "questions decoded at a time", low=1)
    seed: int = flag(0, "seed of the sampling", high=2**31)
    device: str = flag("auto", "cuda, mps or cpu", choices=("auto", "cuda", "mps", "cpu"))
    compile: bool = flag(True, "with --eval: torch.compile and CUDA graphs on CUDA")
    out: str = flag("", "with --eval: where the generated traces go; empty: eval-<name of the file>.jsonl beside the checkpoint")


def asked():
    """A question from the terminal; "" where the input ends."""
    try:
        return input("question (empty line ends): ").replace("\\n", "\n")
    except EOFError:
        return ""


def main(argv=None):
    config, question = parse_flags(SampleConfig, argv, __doc__.split("\n")[0], ("question", "a question; none: asks for questions", "?"))
    device, why = pick_device(config.device)
    students = [load_checkpoint(path, device) for path in (config.compare or [config.ckpt])]
    options = {name: getattr(config, name) for name in ("tau", "prune", "temperature", "top_k")}
    if config.k > 1 and not config.temperature and any(s["method"] == "clone" for s in students):
        raise UserError("--k samples a clone's answers: give a --temperature above 0")
    flow = [signal_named(name) for name in config.flow.split(",") if config.flow]
    if flow and (config.eval or config.k > 1 or students[0]["method"] == "clone"):
        raise UserError("--flow is for a scaffold's question, decoded once: leave out --eval and --k, and take no clone")
    if config.eval:
        rows, out = load_questions(config.eval), config.out or Path(config.ckpt).parent / f"eval-{Path(config.eval).stem}.jsonl"
        check_outputs([out], config.eval, config.ckpt)
        if config.tasks:
            rows = [r for r in rows if (r.get("task") or check.task_of(r["question"])) in config.tasks.split(",")]
            if not rows:
                raise UserError(f"{config.eval}: no question of the tasks {config.tasks}")
        print(f"device: {device} ({why})")
        result, records = evaluate(students[0], rows, config.batch_size, config.seed, config.signals, config.k, config.choose, config.compile, **options)
        write_atomically(out, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
        print(report({**result, "tokens_per_second": students[0]["tokens_per_second"]}))
        print(f"every trace with its verdicts: {out}")
        return
    generator = torch.Generator(device).manual_seed(config.seed)
    for q in iter(asked, "") if question is None else [question]:
        if not q.strip():
            raise UserError("the question is empty")
        how = {**options, "generator": generator, **({"k": config.k, "choose": config.choose} if config.k > 1 else {"flows": [flow]})}
        both = [(search if config.k > 1 else reason)(s["gpt"], s["tokenizer"], [q], method=s["method"], **how)[0] for s in students]
        if len(both) == 1:
            print("\n".join(lines_of(both[0], q)))
            continue
        width = max(10, (shutil.get_terminal_size().columns - 3) // 2)
        columns = [[printable(f"{Path(p)} ({s['method']})", keep="")[-width:].ljust(width), "-" * width, *lines_of(r, q, width)]
                   for p, s, r in zip(config.compare, students, both)]
        print("\n".join(f"{a} | {b}" for a, b in itertools.zip_longest(*columns, fillvalue=" " * width)))


if __name__ == "__main__":
    run(main)
