"""Annotate a teacher's traces (section 2.1 of arXiv 2509.23619): cut them into steps, give every step a signal.

    python annotate.py traces.jsonl annotated.jsonl
    python annotate.py questions.jsonl annotated.jsonl --teach --labeler llm --base_url http://localhost:11434/v1 --model qwen3

In: one object a line with "question", "trace" (steps split by blank lines), "answer". Out: the same rows with
"steps": [{"signal": "Contrast and Concession", "text": "But wait, ..."}, ...] in place of "trace".
Stage one of the paper: a step that opens with a listed keyword gets its signal. The other steps get theirs from a
bag-of-words classifier fitted on the keyword-labelled steps with their keyword removed, so that no API is needed.
Stage two, --labeler llm: a chat model keeps or corrects every keyword label and names the other steps. --teach: it
writes the traces too. Every reply is kept in OUTPUT.replies.jsonl; after a stop the same command asks for the rest.
"""
import asyncio
import hashlib
import json
import os
import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from data.benchmarks.answers import extract, same
from scaffold import KEYWORDS, RESPONSE, SIGNALS, UserError, flag, parse_flags, read_jsonl, run

# Longest keyword first; bullets, emphasis and an interjection may stand before it ("**Hmm, wait** ...").
OPENING = re.compile(r"[\s>*_#\"'“‘(-]*(?:(?:okay|ok|alright|hmm+|well|yes|yeah|right|oh|ah)\b[,.!… ]+)?"
                     "(" + "|".join(re.escape(k) for k in sorted(KEYWORDS, key=len, reverse=True)) + r")(?!\w)", re.I)


def split_steps(trace):
    """The steps of a trace: its paragraphs."""
    return [s.strip() for s in re.split(r"\n\s*\n", trace) if s.strip()]


ITEM = re.compile(r"\s*(?:[-*•]|\(?\d{1,2}[.)])\s+(?=\S)")


def keyword_signal(step):
    """(signal, rest of the step), or (None, step) where no keyword opens it. An item of a list is one more of its kind: Addition."""
    if m := OPENING.match(step):
        return KEYWORDS[m[1].lower()], step[m.end():].lstrip(" ,.:;!")
    return (0, step[m.end():]) if (m := ITEM.match(step)) else (None, step)


# ------------------------------------------------------------------------------------ the classifier
BUCKETS = 4096


def bag(text, before):
    """Hashed words of a step, and the keyword signal of the step before. Digits are alike, so are capitals."""
    words = re.findall(r"[^\W\d_]+|\d|[^\w\s]", text.lower())[:64]
    return [*map(hash_word, words), hash_word(before)]


@cache
def hash_word(word):
    return int.from_bytes((b"0" if word.isdigit() else word.encode())[-8:], "little") * 2654435761 % 4294967291 % BUCKETS


def logits_of(weight, bags):
    """Class logits (N, 7): the mean of the words' rows of weight (BUCKETS, 7)."""
    offsets = torch.tensor([0, *np.cumsum([len(b) for b in bags])[:-1]])
    return F.embedding_bag(torch.tensor([w for b in bags for w in b]), weight, offsets, mode="sum")


def fit_classifier(bags, labels, steps=300, batch_size=256, seed=0):
    """Multinomial logistic regression on bags of words. Returns weight (BUCKETS, 7)."""
    rng = np.random.default_rng(seed)
    weight = torch.zeros(BUCKETS, len(SIGNALS), requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.05)
    labels = torch.tensor(labels)
    for _ in range(steps):
        pick = rng.integers(len(bags), size=min(batch_size, len(bags)))
        loss = F.cross_entropy(logits_of(weight, [bags[i] for i in pick]), labels[pick])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weight.detach()


# ------------------------------------------------------------------------- a language model as teacher and labeller
ASK = "{question}\n\nReason step by step, with an empty line between steps. Close with a line of its own: The answer is ..."
LABEL = """A solution was cut into {n} steps. Give each step the one signal that names its function:
{signals}

Question: {question}

The steps; in brackets what a list of opening keywords makes of them, to be kept or corrected:
{steps}

Reply with JSON alone, one signal for every step in order: {{"signals": ["...", ...]}}"""
MEANING = ("adds a parallel or further fact", "tries a concrete case", "recalls a given fact or rule, states a belief", "turns, corrects, backtracks",
           "derives, computes, compares", "states an intermediate or final result", "hands over the final answer")
BACK_OFF = 1.0  # seconds before the first retry; doubles with every one


def ask(requests, config, journal, what):
    """Replies of a chat endpoint to requests [(keyword arguments of chat_completion, parse), ...], in their order.

    A reply is {"value": what parse made of it, "tokens": n}, {"refused": why}, or None where no usable one came. Each goes into
    the journal as soon as it is there, so that after a stop at any moment only what never came is asked for. A 429, a 5xx,
    a time-out, a broken reply and one that parse finds malformed (ValueError) are tried again, with another seed. Raises
    UserError where the endpoint is not there or will not let us in.
    """
    try:
        return asyncio.run(ask_all(requests, config, Path(journal), what))
    except OSError as e:
        raise UserError(f"{journal}: cannot be written ({e.strerror})") from None
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; what has come is kept, the same command goes on") from None
    finally:
        if os.path.isfile(journal) and not os.path.getsize(journal):  # nothing came: leave nothing behind
            os.remove(journal)


async def ask_all(requests, config, journal, what):
    from huggingface_hub import AsyncInferenceClient  # only here: slow to import
    from huggingface_hub.errors import HfHubHTTPError

    keys = [hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest() for request, _ in requests]
    replies, missing, at_once = read_journal(journal), 0, asyncio.Semaphore(config.concurrency)
    todo = {k: r for k, r in zip(keys, requests) if k not in replies}

    async def one(key, request, parse):
        nonlocal missing
        async with at_once:
            before, pause, why, there = len(replies), 0.0, "", False
            for attempt in range(config.tries):
                await asyncio.sleep(pause)
                pause = BACK_OFF * 2**attempt * random.uniform(0.5, 1)
                try:
                    out = await client.chat_completion(**request, **({"seed": attempt} if attempt else {}))  # some endpoints know no seed
                    there = True
                    reply = {"value": parse(out.choices[0]), "tokens": (out.usage or {}).get("completion_tokens") or 0}
                    break
                except HfHubHTTPError as e:
                    status, wait = e.response.status_code, e.response.headers.get("retry-after", "")
                    why, pause = f"HTTP {status}", max(pause, min(300, int(wait)) if wait.isdecimal() else 0)
                    if status in (401, 403, 404):
                        raise UserError(f"{config.base_url}: {why} ({' '.join(e.response.text.split())[:100]}); check --base_url, --model and the key") from None
                    if status < 500 and status not in (408, 409, 425, 429):
                        reply = {"refused": why}  # this one is not to its taste: too long, say
                        break
                except Exception as e:  # the client lets many kinds through: a lost connection, a time-out, half a JSON
                    why = f"{type(e).__name__} {e}"
            else:
                if not there and len(replies) == before:  # and nobody else had more luck meanwhile
                    raise UserError(f"{config.base_url}: no reply in {config.tries} tries ({why.splitlines()[0][:100]}); "
                                    "the same command goes on from what has come")
                missing += 1
                return
            f.write(json.dumps({"key": key, **reply}).encode() + b"\n")
            f.flush()
            replies[key] = reply
            bar.update()
            bar.set_postfix_str(f"{sum(r.get('tokens', 0) for r in replies.values()):,} tokens", refresh=False)

    # without any key the client would send the user's Hugging Face token to whatever server this is
    client = AsyncInferenceClient(base_url=config.base_url, api_key=config.api_key or os.environ.get("OPENAI_API_KEY") or "none", timeout=config.timeout)
    journal.parent.mkdir(parents=True, exist_ok=True)
    with open(journal, "ab") as f, tqdm(total=len(set(keys)), initial=len(set(keys)) - len(todo), desc=what, disable=None) as bar:
        async with client:
            await asyncio.gather(*(one(key, *r) for key, r in todo.items()))
    if missing:
        print(f"{missing} of {len(set(keys))} got no usable reply; the same command asks for them again")
    return [replies.get(k) for k in keys]


def read_journal(path):
    """{key: reply} of what has come so far; a last line that a stop cut short is removed."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return {r["key"]: r for r in read_jsonl(path, "key")} if whole else {}


def thought_and_answer(choice):
    """(reasoning, what follows it) of a reply: its reasoning field, the text inside <think>, or else all of it. Raises ValueError."""
    text, reasoning = (choice.message.content or "").replace("<think>", "", 1).strip(), choice.message.get("reasoning_content") or choice.message.reasoning
    if "</think>" in text:
        reasoning, text = map(str.strip, text.split("</think>", 1))
    if not (text or reasoning):
        raise ValueError("an empty reply")
    return [reasoning or text, text, choice.finish_reason == "length"]


def teach(rows, config, journal):
    """Let the model reason about each row's question, zero-shot. Returns (rows with "trace", Counter of those left out and why)."""
    requests = [({"model": config.model, "messages": [{"role": "user", "content": ASK.format(question=r["question"])}],
                  "max_tokens": config.max_tokens, "temperature": config.temperature}, thought_and_answer) for r in rows]
    kept, dropped = [], Counter()
    for row, reply in zip(rows, ask(requests, config, journal, "asking")):
        if "value" not in (reply or {}):
            dropped[reply["refused"] if reply else "no reply"] += 1
            continue
        trace, text, cut = reply["value"]
        given = extract(text)
        right = given is not None and same(given, row["answer"])
        if config.keep == "correct" and not right:
            dropped["cut off at --max_tokens" if cut else "wrong answer"] += 1
        else:
            ending = "" if given is None or hands_over(split_steps(trace)[-1]) else f"\n\nThe answer is {row['answer'] if right else given}."
            kept.append({**row, "trace": trace + ending})
    return kept, dropped


class AsIs(str):
    """A string equal to none: huggingface_hub rewrites a response_format of type "json_schema" into the form of its own servers."""
    __eq__, __hash__ = lambda self, other: False, str.__hash__


def llm_signals(rows, config, journal, at_once=40, longest=400):
    """Row number -> the signal of every step by the chat model (stage two of the paper); -1 where it gave no valid answer.

    Asked for at_once steps of a trace at a time, of each step its first `longest` characters.
    """
    requests, parts, signals = [], [], {i: [-1] * len(steps_of(r)) for i, r in enumerate(rows)}
    for i, row in enumerate(rows):
        steps = steps_of(row)
        for start in range(0, len(steps), at_once):
            some = steps[start : start + at_once]
            guesses = [k if (k := keyword_signal(s)[0]) is not None else -1 for s in some]
            listed = "\n".join(f"{start + j + 1} [{SIGNALS[g] if g >= 0 else '?'}] {' '.join(s.split())[:longest]}" for j, (s, g) in enumerate(zip(some, guesses)))
            prompt = LABEL.format(n=len(some), question=row["question"], steps=listed, signals="\n".join(f"{s}: {m}" for s, m in zip(SIGNALS, MEANING)))
            array = {"type": "array", "items": {"type": "string", "enum": SIGNALS}, "minItems": len(some), "maxItems": len(some)}
            schema = {"type": "object", "properties": {"signals": array}, "required": ["signals"], "additionalProperties": False}
            request = {"model": config.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": config.max_tokens, "temperature": 0.0,
                       "response_format": {"type": AsIs("json_schema"), "json_schema": {"name": "signals", "schema": schema}}}
            requests.append((request, partial(names_of, n=len(some))))
            parts.append((i, start))
    for (i, start), reply in zip(parts, ask(requests, config, journal, "labelling")):
        named = (reply or {}).get("value", [])
        signals[i][start : start + len(named)] = named
    return signals


def names_of(choice, n):
    """The n signals (indices) that a reply lists: {"signals": [...]}, nothing but the seven names. Raises ValueError."""
    text = (choice.message.content or "").split("</think>")[-1].strip().removeprefix("```json").strip("`\n ")
    names = json.loads(text)
    names = names.get("signals") if isinstance(names, dict) else None
    if not isinstance(names, list) or len(names) != n or not all(name in SIGNALS for name in names):
        raise ValueError(f"not {n} of the seven signals")
    return [SIGNALS.index(name) for name in names]


# -------------------------------------------------------------------------------------- annotation
def hands_over(step):
    """Does a step give the answer, by its keyword or by naming it?"""
    return keyword_signal(step)[0] == RESPONSE or re.search(r"\banswer\b", step, re.I) is not None


def steps_of(row):
    """The steps of a row's trace; its answer becomes a last step where the trace does not hand it over itself."""
    steps = split_steps(row["trace"])
    if steps and not hands_over(steps[-1]):
        steps.append(f"The answer is {row['answer'].strip()}.")
    return steps


def annotate(rows, gold=None, weight=None, labeler="classifier", llm=None):
    """Give every row "steps" in place of "trace".

    gold: row id -> gold signals, only to score against; weight: a classifier fitted before; labeler: what names the steps
    without a keyword, "classifier", or "keywords": nothing, they are Reasoning and Analysis; llm: row number -> a chat
    model's signals, -1 where there is none, which overrule both. Returns (rows, report); report holds counts, shares and
    the matrices that `draw` draws. A row without any step is dropped and counted.
    """
    kept, dropped = [], Counter()
    texts, labels, bags, ends, true = [], [], [], [], []  # of all steps, one after the other; ends: the last one of each trace
    for i, row in enumerate(rows):
        steps, before = steps_of(row), "<question>"
        if not steps:
            dropped["empty trace"] += 1
            continue
        for step in steps:
            signal, rest = keyword_signal(step)
            texts.append(step)
            labels.append(-1 if signal is None else signal)
            bags.append(bag(rest, before))
            before = f"<{signal}>"
        ends.append(len(texts) - 1)
        kept.append((row, len(steps)))
        judged = gold[row["id"]] if gold is not None else llm[i] if llm is not None else []
        true += (judged + [-1] * len(steps))[: len(steps)]
    labels, true = np.array(labels, dtype=int), np.array(true, dtype=int)
    by_keyword = np.flatnonzero(labels >= 0)
    report = {"rows": len(kept), "dropped": dict(dropped), "steps": len(labels), "keyword_coverage": len(by_keyword) / max(1, len(labels))}
    signals = labels.copy()
    predict = lambda which: logits_of(weight, [bags[i] for i in which]).argmax(1).numpy()
    if weight is None and len(by_keyword) and labeler != "keywords":
        shuffled = np.random.default_rng(0).permutation(by_keyword)
        held_out, train = np.split(shuffled, [len(shuffled) // 10])
        weight = fit_classifier([bags[i] for i in train], labels[train])
        if len(held_out):
            report["classifier_held_out"] = float((predict(held_out) == labels[held_out]).mean())
    rest = np.flatnonzero(labels < 0)
    if len(rest):  # without a single keyword there is nothing to learn from
        signals[rest] = predict(rest) if weight is not None else SIGNALS.index("Reasoning and Analysis")
    report["classifier"] = weight
    signals[ends] = RESPONSE  # by now every trace ends by handing over its answer, whatever opens that step
    known = true >= 0
    if known.any():
        share = lambda named, which: float((named == true)[which & known].mean()) if (which & known).any() else float("nan")
        confusion = np.zeros((len(SIGNALS), len(SIGNALS)), dtype=int)
        np.add.at(confusion, (true[known], signals[known]), 1)
        report |= {"judge": "the gold signals" if gold is not None else "the language model", "judged": float(known.mean()), "confusion": confusion,
                   "keyword_agreement": share(labels, labels >= 0), "classifier_agreement": share(signals, labels < 0), "agreement": share(signals, known)}
    if llm is not None:
        signals = np.where(known & ~np.isin(np.arange(len(signals)), ends), true, signals)
    matrix, out, at = np.zeros((len(SIGNALS) + 1, len(SIGNALS)), dtype=int), [], 0  # signal to next signal; the last row: from the question
    for row, n in kept:
        mine = signals[at : at + n].tolist()
        for a, b in zip([len(SIGNALS), *mine], mine):
            matrix[a, b] += 1
        out.append({**{k: v for k, v in row.items() if k not in ("trace", "line")},
                    "steps": [{"signal": SIGNALS[s], "text": t} for s, t in zip(mine, texts[at : at + n])]})
        at += n
    return out, {**report, "shares": np.bincount(signals, minlength=len(SIGNALS)) / max(1, len(signals)), "transitions": matrix}


def describe(report):
    """The report as lines of text."""
    percent = lambda share: f"{share:.1%}" if share == share else "n/a"  # nan: there were none
    lines = [f"{report['rows']} traces, {report['steps']} steps, {report['steps'] / max(1, report['rows']):.1f} a trace"]
    lines += [f"dropped {n}: {why}" for why, n in report["dropped"].items()]
    lines.append(f"keyword coverage {report['keyword_coverage']:.1%} of the steps (paper: 74%)")
    if "judge" in report:
        lines.append(f"agreement with {report['judge']}, which name {report['judged']:.1%} of the steps: keywords {percent(report['keyword_agreement'])} "
                     f"(paper, with an LLM: 87%), the rest {percent(report['classifier_agreement'])}, all {percent(report['agreement'])}")
    if "classifier_held_out" in report:
        lines.append(f"the classifier names the keyword's signal, the keyword removed, of {report['classifier_held_out']:.1%} of held-out steps")
    by_signal = [f"  {share:6.1%}  {name}" for name, share in zip(SIGNALS, report["shares"])]
    if "judge" in report:  # chance: our labels, dealt out at random
        confusion, chance = report["confusion"], report["confusion"].sum(0) / report["confusion"].sum()
        by_signal = [f"{line:36}" + (f"{hits / n:6.0%} of the judge's {n:6} (by chance {p:.0%})" if n else "")
                     for line, hits, n, p in zip(by_signal, confusion.diagonal(), confusion.sum(1), chance)]
    return "\n".join(lines + by_signal)


def draw(report, path):
    """Signal-to-signal transitions and, where there is gold, the confusion with it, as one picture."""
    from matplotlib.figure import Figure  # only here: slow to import

    short = ["Addition", "Examples", "Recall", "Contrast", "Reasoning", "Conclusion", "Response"]
    panels = [("next signal, by signal", report["transitions"], short + ["(question)"])]
    if "confusion" in report:
        panels.append((f"annotated signal, by {report['judge']}", report["confusion"], short))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(7 * len(panels), 5.5), layout="tight")
    for ax, (title, counts, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        share = counts / np.maximum(1, counts.sum(1, keepdims=True))
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        ax.set_xticks(range(len(short)), short, rotation=35, ha="right")
        ax.set_yticks(range(len(names)), names)
        for (i, j), p in np.ndenumerate(share):
            if p >= 0.005:
                ax.text(j, i, f"{p:.0%}", ha="center", va="center", color="white" if p > 0.5 else "black", fontsize=9)
        ax.set(title=title, xlabel=title.split(",")[0], ylabel=title.split("by ")[1])
    figure.savefig(path, dpi=120)


def write_atomically(path, text):
    """Write a text file whole or not at all."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    except OSError as e:
        if part.is_file():
            part.unlink()
        raise UserError(f"{path}: cannot be written ({e.strerror})") from None


def check_outputs(outputs, *inputs):
    """Before any work is done: refuse an output that could not be written, or would replace an input or another output. Raises UserError."""
    taken = {os.path.realpath(p) for p in inputs if p}
    for path in map(Path, outputs):
        if os.path.realpath(path) in taken:
            raise UserError(f"{path}: is also the input, or another output; name another file for the output")
        taken.add(os.path.realpath(path))
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is a folder or a device; name a file for the output")
        folder = next(p for p in path.absolute().parents if p.exists())  # what is missing below it will be made
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UserError(f"{path}: cannot be written, {folder} is no folder that takes files; name another file for the output")


@dataclass
class AnnotateConfig:
    gold: str = flag("", "JSONL of gold signals ({\"id\", \"signals\"}) to score against")
    figure: str = flag("", "where the picture of the signals goes; empty: beside the output")
    trace_field: str = flag("trace", "name of the field that holds the trace")
    labeler: str = flag("classifier", "what names the steps: their keywords (all others are Reasoning and Analysis), a classifier fitted on these, "
                        "or a chat model that checks the keywords' labels and names the rest", choices=("keywords", "classifier", "llm"))
    teach: bool = flag(False, "the input has no traces: let the chat model write them")
    keep: str = flag("correct", "with --teach: only the traces that end in the right answer, or all", choices=("correct", "all"))
    base_url: str = flag(os.environ.get("OPENAI_BASE_URL", "http://localhost:8000/v1"), "of the OpenAI-compatible endpoint; $OPENAI_BASE_URL, where that is set")
    model: str = flag(os.environ.get("OPENAI_MODEL", ""), "its model; $OPENAI_MODEL, where that is set")
    api_key: str = flag("", "its key; empty: $OPENAI_API_KEY, which no process list shows")
    concurrency: int = flag(8, "requests at a time", low=1, high=100)
    tries: int = flag(6, "tries for one reply, with a back-off that doubles", low=1, high=20)
    timeout: float = flag(600.0, "seconds until a request counts as lost", low=0.1)
    max_tokens: int = flag(8192, "of one reply", low=1)
    temperature: float = flag(0.6, "of the teacher; labels are asked for at 0", high=2.0)


def load_rows(source, *fields):
    """Rows of a JSONL file with these string fields, or, where there is no such file, of a benchmark's split: "gsm8k:train"."""
    from data.benchmarks import prepare  # only here: it imports this module

    name, _, split = source.partition(":")
    if not split or name not in prepare.BENCHMARKS:
        return read_jsonl(source, *fields)
    rows = list(prepare.rows(name, split))
    if missing := [f for f in fields for r in rows[:1] if f not in r]:
        raise UserError(f'{source}: has no "{missing[0]}"; --teach lets a chat model write the reasoning')
    return rows


def main(argv=None):
    config, source, target = parse_flags(AnnotateConfig, argv, __doc__.split("\n")[0],
                                         ("input", "JSONL of traces (with --teach, of questions), or a benchmark and its split, as gsm8k:train", None),
                                         ("output", "annotated JSONL to write", None))
    figure, journal = config.figure or str(Path(target).with_suffix(".png") if Path(target).name else ""), f"{target}.replies.jsonl"
    asks = config.teach or config.labeler == "llm"
    check_outputs([target, figure, journal], source, config.gold)
    if Path(figure).suffix not in (".png", ".pdf", ".svg"):
        raise UserError(f"--figure {figure}: is no picture; let it end in .png, .pdf or .svg")
    if config.trace_field in ("question", "answer", "line") or "|" in config.trace_field:
        raise UserError(f"--trace_field {config.trace_field}: cannot hold the trace; name the field that does")
    if asks and not config.model:
        raise UserError("--model: name the model that the endpoint is to use, here or in $OPENAI_MODEL")
    if asks and not re.match("https?://[^/]", config.base_url):  # the client would take any other text for a model of the Hugging Face Hub
        raise UserError(f"--base_url {config.base_url}: write a whole address, as http://localhost:8000/v1")
    rows, dropped = load_rows(source, "question", *([] if config.teach else [config.trace_field]), "answer"), Counter()
    if config.teach:
        if taught := next((r for r in rows if r.get("trace") or r.get("steps")), None):
            raise UserError(f"{source}, line {taught.get('line', 1)}: has a trace already; leave out --teach")
        rows, dropped = teach(rows, config, journal)
        config.trace_field = "trace"
    rows = [{**{k: v for k, v in r.items() if k != config.trace_field}, "trace": r[config.trace_field]} for r in rows]
    gold = None
    if config.gold:
        gold = {}
        for r in read_jsonl(config.gold, "id"):
            if not isinstance(r.get("signals"), list) or not all(s in range(len(SIGNALS)) for s in r["signals"]):
                raise UserError(f'{config.gold}, line {r["line"]}: "signals" must be a list of numbers from 0 to {len(SIGNALS) - 1}')
            gold[r["id"]] = r["signals"]
        for r in rows:
            if not isinstance(r.get("id"), str) or r["id"] not in gold:
                raise UserError(f"{source}, line {r['line']}: no gold signals for id {r.get('id')!r} in {config.gold}")
    llm = llm_signals(rows, config, journal) if config.labeler == "llm" else None
    annotated, report = annotate(rows, gold, labeler=config.labeler, llm=llm)
    report["dropped"] |= dropped
    if not annotated:
        raise UserError(f"{source}: no trace is left (" + ", ".join(f"{n}: {why}" for why, n in report["dropped"].items()) + "); nothing was written")
    write_atomically(target, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in annotated))
    draw(report, figure)
    print(describe(report))
    if wrong := sum(not same(extract(r["steps"][-1]["text"]), r["answer"]) for r in annotated):
        print(f"{wrong} traces end in another answer than their row's: a student would learn them all the same")
    if report["steps"] < 1.5 * len(annotated):
        print("hardly a trace has more than one step: steps are split by blank lines")
    print(f"wrote {target} and {figure}")


if __name__ == "__main__":
    run(main)
