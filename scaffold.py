"""Reasoning Scaffolding (arXiv 2509.23619), the method: signals, steps, tokenizer, encoding, batches.

A teacher's trace is a list of steps, each with one of seven signals. `encode` turns a trace into what the student
learns from; for a question Q and steps A_1, A_2 with signals s_1, s_2:

    input    Q ... <|step|>  A_1 ... <|step|>  A_2 ...
    target          A_1 ... <|step|>  A_2 ... <|end|>     next token; the question itself is masked out
    signal          s_1 ...  s_1       s_2 ...   s_2      of the step the target belongs to: conditions the LM head
    boundary          ^                 ^                 where the input is <|step|>: here the head predicts the
                                                          next signal, before a word of its step is seen
"""
import argparse
import dataclasses
import gc
import hashlib
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import tiktoken
import torch

# The seven signals (section 2.1 of the paper) with the keywords that give them away at the opening of a step.
SIGNALS = {
    "Addition and Elaboration": """also|in addition|additionally|moreover|next|furthermore|besides|similarly|likewise|again|
        after that|then|another|what's more|on top of that|meanwhile|and""",
    "Examples and Illustration": """for example|for instance|say|take|suppose|let's say|imagine|e.g.|such as|as an example|
        to illustrate|assume|let's try|try|case""",
    "Personal Opinion and Recall": """i recall|i know|i think|we are told|remember|recall|i remember|i believe|we know|given|
        i have|we have|the problem|the question|according to|it says|i guess|in my opinion|from statement|from relationship|
        from the|from point|based on|point|relationship|relationships|statement|option|i see|i don't see""",
    "Contrast and Concession": """but|however|wait|on the other hand|alternatively|yet|although|though|hold on|actually|instead|
        no|unless|despite|conversely|even so|still|maybe|perhaps|i don't think""",
    "Reasoning and Analysis": """since|because|let me|let's|if|consider|now|looking|first|starting|start with|when|as|to find|
        i need to|we need to|for each|is there|using|
        just to|to be sure|in this case|calculate|calculating|compute|computing|simplify|adding|subtract|divide|multiply""",
    "Conclusion and Summary": """so|therefore|thus|in summary|hence|in conclusion|overall|consequently|that means|this means|
        which means|to sum up|to summarize|as a result|it follows|accordingly|finally|in short|total|
        that's|which is|that would""",
    "Response Generation": """the answer is|final answer|the final answer|answer:|my answer|the correct answer|the correct option|
        the solution is|\\boxed|\\[ \\boxed""",
}
KEYWORDS = {" ".join(k.split()): i for i, words in enumerate(SIGNALS.values()) for k in words.split("|")}
SIGNALS = list(SIGNALS)
CONCLUSION, RESPONSE = SIGNALS.index("Conclusion and Summary"), SIGNALS.index("Response Generation")
CLASSES = 2 * len(SIGNALS)  # of the finest taxonomy, see `taxonomy`
NO_SIGNAL = CLASSES  # the question and the padding carry none
COLORS = [36, 35, 34, 33, 32, 96, 91]  # terminal colours, one a signal

STEP, END = "<|step|>", "<|end|>"  # end the question and every step; end the last step


class UserError(Exception):
    """A mistake of the user's: printed as one line, exit code 2."""


@dataclass(slots=True)
class Step:
    signal: int  # index into SIGNALS
    text: str


@dataclass
class Trace:
    question: str
    steps: list  # of Step
    answer: str
    task: str = ""
    id: str = ""
    given: int = 0  # so many of the steps are context only, not to be learned
    whole: bool = True  # ends with the answer; a stage that ends before goes on after its last <|step|>


# --------------------------------------------------------------------------------------------- reading
def read_jsonl(path, *required):
    """Rows (dicts) of a JSONL file, each with its "line" number. A required "a|b" is a non-empty string under a or b.

    Raises UserError with file, line and reason at the first row that is not such an object.
    """
    rows = []
    try:
        with open(path, "rb") as f:
            for n, raw in enumerate(f, 1):
                where = f"{path}, line {n}"
                try:
                    row = json.loads(raw.decode("utf-8-sig"), parse_constant=lambda c: None)  # NaN is no value
                    json.dumps(row, ensure_ascii=False).encode()
                except UnicodeDecodeError as e:
                    raise UserError(f"{where}: not UTF-8 (byte {e.start}); save the file as UTF-8") from None
                except UnicodeEncodeError:
                    raise UserError(f"{where}: a lone surrogate escape is no character; replace it") from None
                except (ValueError, RecursionError) as e:
                    if not raw.strip():
                        continue
                    why = getattr(e, "msg", "nested too deep" if isinstance(e, RecursionError) else "a number of too many digits")
                    raise UserError(f"{where}: not JSON ({why}); write one JSON object a line") from None
                if not isinstance(row, dict):
                    raise UserError(f"{where}: a {type(row).__name__}, not an object; write one JSON object a line")
                for names in required:
                    value = next((row[k] for k in names.split("|") if k in row), None)
                    if not isinstance(value, str) or not value.strip():
                        what = "is missing" if value is None else "is empty" if isinstance(value, str) else f"is a {type(value).__name__}, not a string"
                        quoted = " or ".join(f'"{k}"' for k in names.split("|"))
                        raise UserError(f"{where}: field {quoted} {what}")
                rows.append({**row, "line": n})
    except OSError as e:
        raise UserError(f"{path}: {e.strerror}") from None
    if not rows:
        raise UserError(f"{path}: no rows; write one JSON object a line")
    return rows


def read_traces(path):
    """Traces of an annotated JSONL file: question, answer, and steps [{"signal": name, "text": str}, ...]."""
    traces = []
    for row in read_jsonl(path, "question", "answer"):
        check_steps(row, path)
        traces.append(to_trace(row))
    return traces


def check_steps(row, path):
    """Raises UserError where the "steps" of a row are not what annotate.py writes."""
    where, steps = f"{path}, line {row['line']}", row.get("steps")
    if not isinstance(steps, list) or not steps:
        raise UserError(f'{where}: no "steps"; annotate the traces first: python annotate.py {path} annotated.jsonl')
    for s in steps:
        if not isinstance(s, dict) or s.get("signal") not in SIGNALS or not isinstance(s.get("text"), str) or not s["text"].strip():
            raise UserError(f'{where}: a step must be {{"signal": one of the seven names, "text": non-empty string}}, not {str(s)[:60]}')


def to_trace(row):
    """The Trace of an annotated row."""
    steps = [Step(SIGNALS.index(s["signal"]), s["text"].strip()) for s in row["steps"]]
    return Trace(row["question"], steps, row["answer"], str(row.get("task") or ""), str(row.get("id", row.get("line", ""))))


def question_hash(question):
    """64 bits of a question, white space aside: tells training questions from unseen ones."""
    return int.from_bytes(hashlib.blake2b(" ".join(question.split()).encode(), digest_size=8).digest(), "big", signed=True)


def taxonomy(signals, classes):
    """The signals of one trace in a coarser taxonomy of 1 or 3 classes (go on, turn, close), or a finer one of 14: each signal
    when it first occurs in the trace and when it comes again (7 more)."""
    coarse = {1: [4] * 7, 3: [4, 4, 4, 3, 4, 6, 6]}
    return [coarse[classes][s] if classes in coarse else s + 7 * (classes == CLASSES and s in signals[:i]) for i, s in enumerate(signals)]


def view(trace, what):
    """The traces to learn from in place of one: all of it, its answer only, its conclusions only (a short rationale), or
    pruned: one trace a stage, in which only the conclusions of the stages before are left, as context (section 2.3)."""
    if what in ("all", "answer", "conclusions"):
        first = {"all": 0, "answer": len(trace.steps) - 1}.get(what)
        steps = trace.steps[first:] if first is not None else [s for s in trace.steps if s.signal % 7 in (CONCLUSION, RESPONSE)]
        return [dataclasses.replace(trace, steps=steps)]
    stages, kept, stage = [], [], []
    for step in trace.steps:
        stage.append(step)
        if step.signal % 7 == CONCLUSION or step is trace.steps[-1]:
            stages.append(dataclasses.replace(trace, steps=kept + stage, given=len(kept), whole=step is trace.steps[-1]))
            kept, stage = [*kept, step], []
    return stages


# ------------------------------------------------------------------------------------------- tokenizer
# A contraction, a word or a punctuation run with its leading space, digits one by one, white space.
PIECES = r"['’](?:s|t|re|ve|m|ll|d)\b| ?[^\W\d_]+| ?\d| ?[^\s\w]+| ?_+|\s+(?!\S)|\s+"


class Tokenizer:
    """A tiktoken.Encoding over 256 bytes and whole regex pieces: tiktoken looks a piece up before it merges, so that a
    list of frequent pieces is a vocabulary and the bytes make it lossless. `pieces` None: GPT-2's BPE.
    """

    def __init__(self, pieces):
        self.pieces = pieces
        if pieces is None:
            try:
                gpt2 = tiktoken.get_encoding("gpt2")
            except Exception as e:  # tiktoken raises whatever its download raised
                raise UserError(f"GPT-2's BPE files could not be fetched ({type(e).__name__}); set TIKTOKEN_CACHE_DIR to a folder that holds them") from None
            pattern, ranks = gpt2._pat_str, gpt2._mergeable_ranks
        else:
            pattern, ranks = PIECES, {bytes([b]): b for b in range(256)}
            for p in pieces:
                ranks.setdefault(p.encode(), len(ranks))
        first = max(ranks.values()) + 1
        self.encoding = tiktoken.Encoding("scaffold", pat_str=pattern, mergeable_ranks=ranks, special_tokens={STEP: first, END: first + 1})
        self.step_id, self.end_id, self.vocab_size = first, first + 1, first + 2

    @classmethod
    def train(cls, texts, vocab_size):
        """The most frequent pieces of the texts (seen at least twice), up to vocab_size tokens in all."""
        count, piece = Counter(), re.compile(PIECES)
        for text in texts:
            count.update(piece.findall(" " + text))
        return cls([p for p, n in count.most_common(vocab_size - 258) if n > 1 and len(p.encode()) > 1])

    def encode(self, text):
        """Token ids of a text. A space goes in front, so that a word is the same token wherever it stands in its step.
        Text never becomes a special token, whatever it says."""
        return self.encoding.encode_ordinary(" " + text)

    def decode(self, ids):
        """The text of ids, special tokens dropped."""
        return self.encoding.decode([i for i in ids if i < self.step_id]).removeprefix(" ")


# -------------------------------------------------------------------------------------------- encoding
@dataclass
class Example:
    """One encoded trace; position i reads ids[i] and predicts ids[i + 1]."""
    ids: np.ndarray  # (T + 1,) question, <|step|>, step, <|step|>, ..., last step, <|end|>
    signals: np.ndarray  # (T,) signal of the step that ids[i + 1] belongs to; NO_SIGNAL: part of the question
    row: int = -1  # its place in the data

    @property
    def loss_mask(self):  # (T,) positions whose target the student must write
        return self.signals != NO_SIGNAL


def encode(trace, tokenizer, row=-1):
    """Render one Trace (see the picture at the top of this file). The clone reads the same ids and no signals."""
    ids = tokenizer.encode(trace.question.strip()) + [tokenizer.step_id]
    signals = [NO_SIGNAL] * (len(ids) - 1)
    for i, step in enumerate(trace.steps):
        written = tokenizer.encode(step.text) + [tokenizer.step_id]
        ids += written
        signals += [step.signal if i >= trace.given else NO_SIGNAL] * len(written)  # a terminator belongs to the step it ends
    if trace.whole:
        ids[-1] = tokenizer.end_id
    return Example(np.array(ids, dtype=np.int32), np.array(signals, dtype=np.int8), row)


def encode_all(traces, tokenizer, block_size):
    """(examples, number dropped): a trace longer than block_size positions is dropped, never cut."""
    examples = [encode(t, tokenizer, i) for i, t in enumerate(traces)]
    kept = [e for e in examples if len(e.signals) <= block_size]
    return kept, len(examples) - len(kept)


def collate(examples, tokenizer, positions="boundary", multiple=1):
    """Pad a batch on the right. Returns idx, signals, targets, signal_targets, each (B, T); -1 is no target.

    positions: where the head learns, "boundary" (its one real prediction) or "every" position of a step (the paper's).
    multiple: T is one of it, so that compiled code meets few shapes.
    """
    T = -(-max(len(e.signals) for e in examples) // multiple) * multiple
    idx = torch.full((len(examples), T), tokenizer.end_id)
    signals = torch.full_like(idx, NO_SIGNAL)
    targets, signal_targets = torch.full_like(idx, -1), torch.full_like(idx, -1)
    for b, e in enumerate(examples):
        t = len(e.signals)
        idx[b, :t] = torch.from_numpy(e.ids[:-1])
        signals[b, :t] = torch.from_numpy(e.signals)
        targets[b, :t] = torch.from_numpy(np.where(e.loss_mask, e.ids[1:], -1))
        learns = e.loss_mask & ((e.ids[:-1] == tokenizer.step_id) | (positions == "every"))
        signal_targets[b, :t] = torch.from_numpy(np.where(learns, e.signals, -1))
    return idx, signals, targets, signal_targets


def batches(examples, batch_size, rng, window=32):
    """One epoch of lists of examples: shuffled, then sorted by length within windows of batches, then the batches
    shuffled: little padding, random order, nothing dropped."""
    order = rng.permutation(len(examples))
    found = []
    for i in range(0, len(order), batch_size * window):
        near = sorted(order[i : i + batch_size * window], key=lambda j: len(examples[j].ids))
        found += [near[k : k + batch_size] for k in range(0, len(near), batch_size)]
    for k in rng.permutation(len(found)):
        yield [examples[j] for j in found[k]]


def show(example, tokenizer):
    """One encoded example for the terminal: a colour a signal, grey where the loss is masked, | at every boundary."""
    parts = []
    for i, token in enumerate(example.ids):
        signal = NO_SIGNAL if i == 0 else example.signals[i - 1]
        text = {tokenizer.step_id: "|", tokenizer.end_id: "<|end|>"}.get(token) or tokenizer.encoding.decode([token])
        parts.append(paint(text, 90 if signal == NO_SIGNAL else COLORS[signal % 7]))
        if token == tokenizer.step_id:
            parts.append("\n" + paint(f"[{SIGNALS[example.signals[i] % 7]}]", COLORS[example.signals[i] % 7]))
    return "".join(parts)


# ------------------------------------------------------------------------------ terminal and command line
def printable(text, keep="\n"):
    """A text without its control characters, which could move the cursor, recolour or rename a terminal."""
    return "".join(c if c.isprintable() or c in keep else "\ufffd" for c in text)


def one_line(message):
    """An error message as one line of a length that can be read, whatever it quotes."""
    text = printable(str(message), keep="")
    return text if len(text) <= 500 else f"{text[:240]} ... {text[-240:]}"


def paint(text, color):
    """Coloured on a terminal, plain in a file; control characters of the text itself are never printed."""
    text = printable(text)
    return f"\x1b[{color}m{text}\x1b[0m" if sys.stdout.isatty() else text


def flag(default, help, **limits):
    """A dataclass field that is a command-line flag; limits: choices=..., low=..., high=..."""
    return field(default=default, metadata={"help": help, **limits})


def parse_flags(config, argv, description, *positionals):
    """Fill a dataclass from the command line: every field is a flag, its type the default's. Exits with code 2 and one
    line on a bad flag. positionals: (name, help, nargs)."""
    class Parser(argparse.ArgumentParser):
        def error(self, message):
            self.exit(2, f"error: {one_line(message)} (see --help)\n")

    def number(kind, low, high):
        def parse(text):
            value = kind(text)
            if not low <= value <= high:  # also catches nan and inf
                raise argparse.ArgumentTypeError(f"{text} is not between {low} and {high}")
            return value
        parse.__name__ = kind.__name__
        return parse

    parser = Parser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False)
    for name, help, nargs in positionals:
        parser.add_argument(name, help=help, nargs=nargs)
    for f in dataclasses.fields(config):
        m = f.metadata
        if isinstance(f.default, bool):
            parser.add_argument(f"--{f.name}", default=f.default, action=argparse.BooleanOptionalAction, help=m["help"])
        else:
            kind = str if isinstance(f.default, tuple) else type(f.default)
            kind = number(kind, m.get("low", 0), m.get("high", 10**9)) if kind in (int, float) else kind
            parser.add_argument(f"--{f.name}", default=f.default, type=kind, choices=m.get("choices"), nargs=m.get("nargs"), help=m["help"])
    args = vars(parser.parse_args(argv))
    return config(**{f.name: args.pop(f.name) for f in dataclasses.fields(config)}), *args.values()


def run(main):
    """Run a program's main: a UserError is one line and exit code 2, never a traceback."""
    gc.set_threshold(100_000, 50, 50)  # data is many small objects without cycles: looking for some after every 700 takes a second
    for stream in (sys.stdout, sys.stderr):  # a terminal that can't print a character must not stop a run
        stream.reconfigure(errors="replace")
    try:
        sys.exit(main())
    except UserError as e:
        print(f"error: {one_line(e)}", file=sys.stderr)
        sys.exit(2)
    except OSError as e:  # a full disk, a folder that may not be written
        print(f"error: {one_line(e.filename or 'output')}: {e.strerror or one_line(e)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as e:
        print(str(e) or "stopped", file=sys.stderr)
        sys.exit(130)
