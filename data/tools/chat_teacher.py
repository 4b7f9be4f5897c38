"""A chat model as labeller of steps (stage two of section 2.1) and as teacher."""

import json
from collections import Counter
from functools import partial

from data.benchmarks.answers import extract, same
from data.tools.chat import Request, ask, json_format, reasoning_and_text
from scaffold import SIGNAL_NAMES, SIGNALS, hands_over, keyword_signal, split_steps, steps_of

NONE = -1  # in place of a signal: the model has named none

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
    messages = [{"role": "user", "content": prompt}]
    limits = {"max_tokens": config.max_tokens, "temperature": temperature}
    return Request({"model": config.model, "messages": messages, **limits, **arguments}, parse)


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
    items = {"type": "string", "enum": SIGNAL_NAMES}
    schema = {
        "type": "object",
        "properties": {"signals": {"type": "array", "items": items, "minItems": n, "maxItems": n}},
        "required": ["signals"],
        "additionalProperties": False,
    }
    response_format = json_format("signals", schema)
    return chat_request(
        prompt, 0.0, config, partial(parse_signals, n=n), response_format=response_format
    )


def parse_signals(choice, n):
    """The n signals (indices) of a reply {"signals": [name, ...]}. Raises ValueError."""
    text = (choice.message.content or "").split("</think>")[-1]
    content = json.loads(text.strip().removeprefix("```json").strip("`\n "))
    names = content.get("signals") if isinstance(content, dict) else None
    if not isinstance(names, list) or len(names) != n or any(s not in SIGNAL_NAMES for s in names):
        raise ValueError(f"not {n} signals of the table")
    return [SIGNAL_NAMES.index(name) for name in names]


def llm_signals(rows, config, journal):
    """A chat model's signals of every row's steps (list of lists); NONE without a valid answer."""
    signals = [[NONE] * len(steps_of(row)) for row in rows]
    requests, places = [], []
    for i, row in enumerate(rows):
        steps = steps_of(row)
        for start in range(0, len(steps), STEPS_PER_REQUEST):
            part = steps[start : start + STEPS_PER_REQUEST]
            requests.append(label_request(row["question"], part, start + 1, config))
            places.append((i, start))
    replies = ask(requests, config, journal, "labelling")
    for (i, start), reply in zip(places, replies, strict=True):
        if reply is not None and "value" in reply:
            part = reply["value"]
            signals[i][start : start + len(part)] = part
    return signals


ASK = (
    "{question}\n\nReason step by step, with an empty line between steps. "
    "Close with a line of its own: The answer is ..."
)


def teach(rows, config, journal):
    """Let the chat model reason about each row's question, zero-shot.

    Returns (rows with a "trace", Counter of the rows left out, by reason).
    """
    requests = []
    for row in rows:
        prompt = ASK.format(question=row["question"])
        requests.append(chat_request(prompt, config.temperature, config, reasoning_and_text))
    kept, dropped = [], Counter()
    for row, reply in zip(rows, ask(requests, config, journal, "asking"), strict=True):
        trace, problem = taught_trace(reply, row["answer"], config.keep)
        if problem:
            dropped[problem] += 1
        else:
            kept.append({**row, "trace": trace})
    return kept, dropped


def taught_trace(reply, answer, keep):
    """(the trace of a reply to ASK, ""), or (None, why it is left out)."""
    if reply is None:
        return None, "no reply"
    if "refused" in reply:
        return None, reply["refused"]
    trace, text, cut_off = reply["value"]
    given = extract(text)
    right = given is not None and same(given, answer)
    if keep == "correct" and not right:
        return None, "cut off at --max_tokens" if cut_off else "wrong answer"
    if given is not None and not hands_over(split_steps(trace)[-1]):
        trace += f"\n\nThe answer is {answer if right else given}."
    return trace, ""
