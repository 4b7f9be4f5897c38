"""Reason with a trained student: signal, then step, until it answers (section 2.3 of the paper).

    python sample.py "Question: ..."
    python sample.py                                        # asks for questions
    python sample.py --eval data/algorithmic/test.jsonl     # accuracy, erroneous paths, signals
    python sample.py "..." --compare out/ckpt.pt clone/ckpt.pt

`generate` is the method as simple as it can be. `decode` does the same for a batch with a cache.
`reason` calls `decode`, once more for each pruned stage; `search` calls `reason` for several flows
of signals; `evaluate` asks many questions.
"""

import dataclasses
import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from data.tools import evaluation
from data.tools.batch import Batch, Reasoning, collect
from data.tools.checkpoint import load_student
from data.tools.checks import check_answering
from data.tools.display import (
    show_reasoning,
    side_by_side,
    signal_named,
    warn_of_unknown_words,
)
from data.tools.evaluation import annotated_traces, of_tasks, report
from data.tools.files import check_outputs, write_jsonl
from data.tools.flags import Positional, UserError, flag, parse_flags, run_program
from data.tools.machine import can_compile, pick_device
from data.tools.report_page import write_page
from data.tools.serve import serve
from data.tools.traces import read_questions
from data.tools.workers import start_workers
from scaffold import CONCLUSION, NO_SIGNAL, RESPONSE, classes_of, stands_for, taxonomy


# ------------------------------------------------------------------------- the method, one question
@torch.no_grad()
def generate(model, tokenizer, question, tau=0.0, max_tokens=1024):
    """Answer one question: no cache, no batch, greedy. Returns [(signal, text of the step), ...].

    tau: the confidence below which the student stops reasoning and answers (the gate).
    """
    prompt = tokenizer.encode_question(question)
    room = min(max_tokens, model.config.block_size - len(prompt))  # tokens that may be written
    idx = prompt + [tokenizer.step_id]
    signals = [NO_SIGNAL] * len(idx)  # signals[t]: of the token that follows idx[t]
    steps = []
    while True:
        # At the boundary the head predicts the signal of the next step.
        states = model.signal_states(read(model, idx, signals))  # (1, T, C)
        confidence, signal = model.signal_probs(states)[0, -1].max(-1)
        is_gated = bool(confidence < tau)
        signals[-1] = RESPONSE if is_gated else int(signal)
        # Given that signal, the student writes the step, token by token, to its terminator. A step
        # that the gate forces begins as the teacher's answers do.
        start = len(idx)
        if is_gated:
            opening = model.config.answer_opening[:room]
            idx += opening
            signals += [RESPONSE] * len(opening)
            room -= len(opening)
        # The <|step|> before `start` does not end it.
        while room and (len(idx) == start or idx[-1] not in (tokenizer.step_id, tokenizer.end_id)):
            hidden = read(model, idx, signals)[0, -1]  # (C,)
            logits = model.token_logits(hidden, torch.tensor(signals[-1]))  # (V,)
            idx.append(int(logits.argmax()))
            signals.append(signals[-1])
            room -= 1
        steps.append((signals[-1], tokenizer.decode(idx[start:])))
        if is_gated or idx[-1] == tokenizer.end_id or not room:
            return steps


def read(model, idx, signals):
    """Last hidden states (1, T, C) of the whole text, read anew."""
    idx, signals = torch.tensor([idx]), torch.tensor([signals])  # (1, T)
    return model.hidden(idx, model.input_signals(idx, signals))


# ---------------------------------------------------------------------------- a batch, with a cache
@dataclass
class Decoding:
    """How to decode."""

    tau: float = 0.0  # the gate: below this confidence Response Generation is forced
    prune: bool = False  # once a step concludes, forget the steps before it
    temperature: float = 0.0  # of signals and text; 0 is greedy
    top_k: int = 0  # sample among the top_k most probable; 0: among all
    max_tokens: int = 1024  # of one answer
    generator: torch.Generator | None = None
    graph_rows: int = 0  # CUDA: rows of a batch whose every token is one CUDA graph; 0: no graph


def pick(logits, decoding):
    """One index for each row of logits (B, V): the best at temperature 0, else a sample."""
    if decoding.temperature < 1e-6:  # nothing smaller can divide
        return logits.argmax(-1)
    if decoding.top_k:
        worst = logits.topk(min(decoding.top_k, logits.size(-1))).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < worst, -torch.inf)
    probs = (logits / decoding.temperature).softmax(-1)
    return torch.multinomial(probs, 1, generator=decoding.generator)[:, 0]


def choose_signals(batch, model, planned, decoding):
    """At a boundary a row gets the signal of its next step: planned, the head's, or the gate's."""
    rows, at_boundary = batch.rows, batch.at_boundary()
    probs = model.signal_probs(rows.hidden)  # (B, K)
    predicted = pick(probs.log(), decoding)  # (B,)
    confidence = probs.gather(1, predicted[:, None])[:, 0]
    step = rows.n_steps.clamp(max=planned.size(1) - 1)
    signal = planned[rows.prompt, step]  # (B,)
    head_decides = signal < 0
    unsure = head_decides & (confidence < decoding.tau)
    signal = torch.where(head_decides, predicted, signal)
    signal = torch.where(unsure, RESPONSE, signal)
    rows.signal = torch.where(at_boundary, signal, rows.signal)
    rows.probs = torch.where(at_boundary[:, None], probs, rows.probs)
    rows.gated = torch.where(at_boundary, unsure, rows.gated)
    rows.n_written = torch.where(at_boundary, 0, rows.n_written + 1)
    rows.n_steps = rows.n_steps + at_boundary


@torch.no_grad()
def decode(model, tokenizer, prompts, flows, method, decoding):
    """Write on from each prompt. Yields the Batch after every token.

    prompts: lists of ids, without their last <|step|>. flows: planned signals of the first steps,
    a list for each prompt. decoding: a Decoding. A row ends at <|end|>, after max_tokens, or where
    the model's positions end; with prune, after a conclusion. Raises UserError for a prompt that
    leaves no room to reason.
    """
    batch = Batch(model, tokenizer, prompts, decoding)
    rows = batch.rows
    # Planned signals of the first steps (N, K); -1: there the head decides.
    n_planned = max(map(len, flows)) + 1
    planned = [flow + [-1] * (n_planned - len(flow)) for flow in flows]
    planned = torch.tensor(planned, device=rows.token.device)
    opening = torch.tensor([*model.config.answer_opening, -1], device=rows.token.device)
    is_scaffold = method == "scaffold"
    signal_in_token = model.config.conditioning == "token"
    while batch.refill():  # finished rows go out, waiting prompts come in
        if is_scaffold and signal_in_token:  # the <|step|> to be read must carry the signal
            choose_signals(batch, model, planned, decoding)
        batch.read_token()
        if is_scaffold and not signal_in_token:  # the head needs the state of the <|step|>
            choose_signals(batch, model, planned, decoding)
        logits = model.token_logits(rows.hidden, rows.signal if is_scaffold else None).float()
        token = pick(logits, decoding)  # (B,)
        forced = opening[rows.n_written.clamp(max=len(opening) - 1)]  # (B,)
        token = torch.where(rows.gated & (forced >= 0), forced, token)
        ends = rows.gated & (token == tokenizer.step_id)  # nothing follows a forced answer
        token = torch.where(ends, tokenizer.end_id, token)
        logp = logits.log_softmax(-1).gather(1, token[:, None])[:, 0]
        batch.write_token(token, logp)
        batch.retire()
        yield batch


def reason(model, tokenizer, questions, method="scaffold", flows=None, **options):
    """Let the student answer questions (list of str). Returns a Reasoning each.

    flows: signals to write the first steps with, a list each; from there on the head decides.
    options: the fields of Decoding. With prune, each conclusion drops the steps before it, earlier
    conclusions aside, and what is left is read anew. Raises UserError, see `decode`.
    """
    decoding = Decoding(**options)
    flows = flows or [[]] * len(questions)
    prompts = [tokenizer.encode_question(q) for q in questions]
    reasonings = [Reasoning() for _ in questions]
    active = list(range(len(questions)))
    while active:  # one pass; with prune, one for each stage
        rest = [flows[i][len(reasonings[i].steps) :] for i in active]
        waiting = [prompts[i] for i in active]
        *_, batch = decode(model, tokenizer, waiting, rest, method, decoding)  # once all is written
        parts = collect(batch.written, len(active), tokenizer)
        unfinished = []
        for i, part in zip(active, parts, strict=True):
            reasonings[i].extend(part)
            if not decoding.prune:
                continue
            last = part.steps[-1]
            prompts[i] = [*prompts[i], tokenizer.step_id, *tokenizer.encode(last.text)]
            concluded = not part.finished and stands_for(last.signal, CONCLUSION)
            has_room = len(prompts[i]) + 1 < model.config.block_size
            if concluded and has_room and reasonings[i].tokens < decoding.max_tokens:
                unfinished.append(i)
        active = unfinished
    return reasonings


# ------------------------------------------------------------------------------------------ search
def search(model, tokenizer, questions, k, choose="vote", method="scaffold", **options):
    """Answer each question k times and keep one Reasoning.

    The scaffold decodes k different flows of signals. First comes the head's own. Each next try
    takes the most probable *beginning* of a flow that is not tried yet: a flow from before up to
    one boundary, and another signal there; from there on the head decides. This may miss the most
    probable whole flows. The clone draws k samples.
    choose: "vote" takes the most frequent answer (the first of equals), "score" the text with the
    highest mean log-probability of a token.
    """
    heaps = [[(0.0, [])] for _ in questions]  # of (-log P, first signals of a flow)
    tries = [[] for _ in questions]
    for _ in range(k):
        todo = [i for i, heap in enumerate(heaps) if heap]
        flows = [heapq.heappop(heaps[i])[1] for i in todo]
        waiting = [questions[i] for i in todo]
        found = reason(model, tokenizer, waiting, method, flows, **options)
        for i, flow, reasoning in zip(todo, flows, found, strict=True):
            tries[i].append(reasoning)
            if method == "scaffold":
                push_alternatives(heaps[i], reasoning, len(flow))
            else:
                heaps[i] = [(0.0, [])]
    return [choose_one(found, choose) for found in tries]


def push_alternatives(heap, reasoning, n_planned):
    """Add every flow that leaves this one after its planned steps."""
    cost = 0.0  # -log P of the signals so far
    signals = [step.signal for step in reasoning.steps]
    for j, probs in enumerate(reasoning.probs):
        if j >= n_planned:
            for other, p in enumerate(probs):
                if other != signals[j]:
                    flow = signals[:j] + [other]
                    heapq.heappush(heap, (cost - math.log(p + 1e-12), flow))
        cost -= math.log(probs[signals[j]] + 1e-12)


def choose_one(found, choose):
    """One of several Reasonings on one question, with the tokens of all of them."""
    votes = Counter(r.answer for r in found if r.answer is not None)

    def quality(reasoning):
        if choose == "vote":
            return votes[reasoning.answer]
        return reasoning.logp / max(1, reasoning.tokens)

    best = max(found, key=quality)  # the first of equals
    return dataclasses.replace(best, tokens=sum(r.tokens for r in found))


def ask(student, questions, flows=None, k=1, choose="vote", **options):
    """A Student's Reasonings on questions: by `reason` or, with k above 1, by `search`."""
    model, tokenizer, method = student.model, student.tokenizer, student.method
    if k > 1:
        return search(model, tokenizer, questions, k, choose, method, **options)
    return reason(model, tokenizer, questions, method, flows, **options)


# -------------------------------------------------------------------------------------- evaluation
def evaluate(
    student, rows, batch_size=64, seed=0, signals="predicted", k=1, choose="vote", compile=True,
    **options,
):  # fmt: skip
    """Let the student answer every row ("question", "answer"): see data.tools.evaluation.

    signals: the head's own ("predicted"), those of the row's annotated trace ("gold", an oracle),
    these at the forks of a row alone ("forks": rows of prepare.rows with forks; elsewhere the head
    decides), or "random" ones. k and choose: see `search`. compile: use CUDA graphs where there is
    CUDA. options: the fields of Decoding. Raises UserError where there are no such signals.
    """
    method, device = student.method, student.model.lm_head.weight.device
    use_graphs = can_compile(compile, device)
    options["graph_rows"] = batch_size if use_graphs else 0
    traces = annotated_traces(student, rows) if method == "scaffold" else {}
    if signals != "predicted" and (method == "clone" or k > 1):
        raise UserError(f"--signals {signals}: a clone has none, and --k searches them itself")

    def flow(i):
        """The signals that row i is to be answered with; none: the head decides."""
        if signals == "random":
            return random.Random(f"{seed}/{i}").choices(classes_of(student.classes), k=64)
        if signals == "predicted":
            return []
        if i not in traces or (signals == "forks" and "open" not in rows[i]):
            where = f"row {rows[i].get('line', i + 1)}"
            raise UserError(f"--signals {signals}: {where} has no trace to take the signals from")
        gold = [step.signal for step in traces[i].steps]
        if signals == "gold":
            return gold
        pairs = zip(gold, rows[i]["open"], strict=True)
        return [signal if len(choices) > 1 else -1 for signal, choices in pairs]

    def answer(numbers):
        """Reasonings for row numbers; a question too long to read goes unanswered."""
        lengths = {i: len(student.tokenizer.encode_question(rows[i]["question"])) for i in numbers}
        short = [i for i in numbers if lengths[i] + 1 < student.model.config.block_size]
        questions = [rows[i]["question"] for i in short]
        # Of their own: others may be answered at the same time.
        generator = torch.Generator(device).manual_seed(seed + numbers[0])
        flows = [flow(i) for i in short]
        found = ask(student, questions, flows, k, choose, generator=generator, **options)
        by_row = dict(zip(short, found, strict=True))
        return [by_row.get(i, Reasoning()) for i in numbers]

    # With CUDA graphs `decode` fills the places of finished rows itself: it gets all questions.
    rows_at_once = max(1, len(rows)) if use_graphs else batch_size
    return evaluation.evaluate(student, rows, answer, traces, rows_at_once, options.get("tau", 0.0))


# ------------------------------------------------------------------------------------ command line
@dataclass
class AnswerConfig:
    """How a student answers: what `evaluate` takes."""

    signals: str = flag(
        "predicted",
        "with --eval: the head's own signals, those of the test traces (an oracle), or random ones",
        choices=("predicted", "gold", "random"),
    )
    tau: float = flag(
        0.0,
        "the gate: a head less sure than this stops reasoning and answers (paper: 0.96); 0: off",
        high=1.0,
    )
    prune: bool = flag(False, "forget the steps before a conclusion: a shorter context")
    k: int = flag(
        1, "answers to choose from: by other signals, or a clone's samples", low=1, high=1000
    )
    choose: str = flag(
        "vote", "of k answers, the most frequent or the most probable", choices=("vote", "score")
    )
    temperature: float = flag(0.0, "of signals and text; 0: the most probable", high=100.0)
    top_k: int = flag(0, "with --temperature: sample among the most probable; 0: all")
    batch_size: int = flag(64, "questions decoded at a time; fewer need less memory", low=1)
    seed: int = flag(0, "seed of the sampling", high=2**31)
    compile: bool = flag(True, "with --eval on CUDA: torch.compile and CUDA graphs")


@dataclass
class SampleConfig(AnswerConfig):
    ckpt: str = flag("out/ckpt.pt", "checkpoint of the student")
    eval: str = flag(
        "",
        "score the student on a JSONL file of question/answer or input/target, or on a "
        "benchmark's split, as gsm8k:test",
    )
    n: int = flag(0, "with --eval: questions to draw from them (--seed); 0: all")
    tasks: str = flag("", "with --eval: only these tasks, comma-separated; empty: all")
    flow: str = flag(
        "", "signals of the first steps, as recall,reason,contrast; then the head decides"
    )
    tau_from: str = flag(
        "",
        "with --eval: choose --tau for each task on the traces of this file, as the paper does",
    )
    compare: tuple = flag((), "two checkpoints: show both students side by side", nargs=2)
    serve: bool = flag(False, "answer on a page for the browser")
    port: int = flag(8000, "of --serve's page", high=65535)
    device: str = flag("auto", "auto takes a GPU if any", choices=("auto", "cuda", "mps", "cpu"))
    out: str = flag("", "with --eval: file to write; empty: eval-NAME.jsonl by the checkpoint")
    html: str = flag("", "with --eval: HTML page of all answers")


def ask_question():
    """A question from the terminal; "" where the input ends."""
    try:
        return input("question (empty line ends): ").replace("\\n", "\n")
    except EOFError:
        return ""


def run_evaluation(config, student):
    """--eval: score the student on a file, write every trace, print the figures."""
    rows = of_tasks(read_questions(config.eval), config.tasks, config.eval)
    name = Path(config.eval).stem.replace(":", "-")
    out = config.out or Path(config.ckpt).with_name(f"eval-{name}.jsonl")
    check_outputs(filter(None, [out, config.html]), config.eval, config.ckpt, config.tau_from)
    if 0 < config.n < len(rows):
        rows = random.Random(config.seed).sample(rows, config.n)
    settings = {f.name: getattr(config, f.name) for f in dataclasses.fields(AnswerConfig)}
    if config.tau_from:
        val_rows = read_questions(config.tau_from)
        result, records = evaluation.evaluate_gated(evaluate, student, rows, val_rows, settings)
    else:
        result, records = evaluate(student, rows, **settings)
    write_jsonl(out, records)
    print(report(result | {"tokens_per_second": student.tokens_per_second}))
    print(f"traces with verdicts: {out}")
    if config.html:
        write_page(config.html, result, records, config.ckpt)


def main(argv=None):
    positional = Positional("question", "a question; none: asks for questions", "?")
    description = __doc__.split("\n")[0]
    config, question = parse_flags(SampleConfig, argv, description, positional)
    device, why = pick_device(config.device)
    paths = config.compare or [config.ckpt]
    students = [load_student(path, device) for path in paths]
    check_answering(config, question, students)
    if config.serve:
        return serve(config, question, students, decode, Decoding(config.tau))
    flow = [signal_named(name) for name in config.flow.split(",")] if config.flow else []
    if config.eval:
        print(f"device: {device} ({why})")
        start_workers(device)
        return run_evaluation(config, students[0])
    names = "k choose tau prune temperature top_k".split()
    options = {name: getattr(config, name) for name in names}
    options["generator"] = torch.Generator(device).manual_seed(config.seed)
    for q in iter(ask_question, "") if question is None else [question]:
        if not q.strip():
            raise UserError("the question is empty")
        warn_of_unknown_words(q, students[0].tokenizer)
        reasonings = [
            ask(student, [q], [taxonomy(flow, student.classes)], **options)[0]
            for student in students
        ]
        if config.compare:
            print(side_by_side(paths, students, reasonings, q))
        else:
            print("\n".join(show_reasoning(reasonings[0], q)))


if __name__ == "__main__":
    run_program(main)
