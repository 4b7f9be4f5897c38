"""A chat model as labeller of steps (stage two of section 2.1) and as teacher."""

import json
from collections import Counter
from functools import partial

from data.benchmarks.answers import extract, same
from data.tools.chat import Request, ask, json_format, reasoning_and_text
from scaffold import SIGNAL_NAMES, SIGNALS, hands_over, keyword_signal, split_steps, steps_of

NONE = -1  # in place of a signal: nobody has named one

LABEL = """A solution was cut into {n} steps. Give each step the one signal that names its function:
{signals}

Question: {question}

The steps; in brackets what a list of opening keywords makes of them, to be kept or corrected:
{steps}

Reply with JSON alone, one signal for every step in order: {{"signals": ["...", ...]}}"""
STEPS_PER_REQUEST = 40  # a longer trace is labelled in parts
SHOWN_CHARACTERS = 400  # of each step


def chat_request(prompt, temperature, config, parse, **arguments):
    """A request of one user message."""
    arguments["model"] = config.model
    arguments["messages"] = [{"role": "user", "content": prompt}]
    arguments["max_tokens"] = config.max_tokens
    arguments["temperature"] = temperature
    return Request(arguments, parse)


def label_request(question, steps, first_number, config):
    """Ask for the signals of some steps of a trace, which are numbered from first_number."""
    lines = []
    for number, step in enumerate(steps, first_number):
        signal = keyword_signal(step)[0]
        hint = "?" if signal is None else SIGNAL_NAMES[signal]
        lines.append(f"{number} [{hint}] {' '.join(step.split())[:SHOWN_CHARACTERS]}")
    meanings = "\n".join(f"{s.name}: {s.meaning}" for s in SIGNALS)
    n = len(steps)
    prompt = LABEL.format(n=n, question=question, signals=meanings, steps="\n".join(lines))
    names = {"type": "string", "enum": SIGNAL_NAMES}
    schema = {
        "type": "object",
        "properties": {"signals": {"type": "array", "items": names, "minItems": n, "maxItems": n}},
        "required": ["signals"],
        "additionalProperties": False,
    }
    form = json_format("signals", schema)
    return chat_request(prompt, 0.0, config, partial(parse_signals, n=n), response_format=form)


def parse_signals(choice, n):
    """The n signals (indices) of a reply {"signals": [name, ...]}.

    Raises ValueError, KeyError or TypeError where the reply has another form.
    """
    text = (choice.message.content or "").split("</think>")[-1]
    names = json.loads(text.strip().removeprefix("```json").strip("`\n "))["signals"]
    signals = [SIGNAL_NAMES.index(name) for name in names]
    if len(signals) != n:
        raise ValueError(f"not {n} signals")
    return signals


def llm_signals(rows, config, journal):
    """A chat model's signals of every row's steps (list of lists); NONE without a usable reply."""
    requests, parts = [], []
    for i, row in enumerate(rows):
        steps = steps_of(row)
        for start in range(0, len(steps), STEPS_PER_REQUEST):
            part = steps[start : start + STEPS_PER_REQUEST]
            requests.append(label_request(row["question"], part, start + 1, config))
            parts.append((i, len(part)))
    signals = [[] for _ in rows]
    replies = ask(requests, config, journal, "labelling")
    for (i, n_steps), reply in zip(parts, replies, strict=True):
        signals[i] += (reply or {}).get("value", [NONE] * n_steps)
    return signals


ASK = (
    "{question}\n\nReason step by step, with an empty line between steps. "
    "Close with a line of its own: The answer is ..."
)


def teach(rows, config, journal):
    """Let the chat model reason about each row's question, zero-shot.

    Returns (rows with a "trace", Counter of the rows left out, by reason).
    """
    prompts = [ASK.format(question=row["question"]) for row in rows]
    temperature = config.temperature
    requests = [chat_request(p, temperature, config, reasoning_and_text) for p in prompts]
    kept, dropped = [], Counter()
    for row, reply in zip(rows, ask(requests, config, journal, "asking"), strict=True):
        trace, problem = taught_trace(reply, row, config.keep)
        if problem:
            dropped[problem] += 1
        else:
            kept.append({**row, "trace": trace})
    return kept, dropped


def taught_trace(reply, row, keep):
    """(the trace of a reply to ASK for a row, ""), or (None, why it is left out)."""
    if reply is None:
        return None, "no reply"
    if "refused" in reply:
        return None, reply["refused"]
    trace, text, cut_off = reply["value"]
    given = extract(text)
    right = given is not None and same(given, row["answer"], row.get("task"))
    if keep == "correct" and not right:
        return None, "cut off at --max_tokens" if cut_off else "wrong answer"
    if given is not None and not hands_over(split_steps(trace)[-1]):
        trace += f"\n\nThe answer is {row['answer'] if right else given}."
    return trace, ""
