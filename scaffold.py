"""Reasoning Scaffolding (arXiv 2509.23619), the method's data: signals, steps, tokens, batches.

A teacher's trace is a list of steps, and each step carries one signal. `encode` turns a trace into
what the student learns from. For a question Q and steps A_1, A_2 with signals s_1, s_2:

    input    Q ... <|step|>  A_1 ... <|step|>  A_2 ...
    target          A_1 ... <|step|>  A_2 ... <|end|>   next token; the question is masked out
    signal          s_1 ...  s_1       s_2 ...   s_2    of the target's step: conditions the LM head
    boundary          ^                 ^               input <|step|>: here the head predicts the
                                                        next signal, before any word of its step
"""

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import tiktoken
import torch

from data.tools.flags import UserError
from data.tools.hf_tokenizer import (
    Vocabulary,
    gpt2_vocabulary,
    parse_tokenizer,
    published_tokenizer,
)


# ---------------------------------------------------------------------------------------- signals
@dataclass(frozen=True)
class Signal:
    name: str  # as in the paper
    short: str  # for figures
    meaning: str  # what a step with this signal does; a chat model that labels steps reads it
    color: int  # ANSI colour on the terminal
    keywords: str  # separated by |; a step that opens with one has this signal


# The seven signals of the paper (section 2.1). All code derives from this table: an eighth signal
# is one more line at its end. The embedded teacher uses it once a family writes it, and words.json
# has openings for it.
SIGNALS = [
    Signal(
        "Addition and Elaboration", "Addition", "adds a parallel or further fact", 36,
        "also|in addition|additionally|moreover|next|furthermore|besides|similarly|likewise|again|"
        "after that|then|another|what's more|on top of that|meanwhile|and",
    ),
    Signal(
        "Examples and Illustration", "Examples", "tries a concrete case", 35,
        "for example|for instance|say|take|suppose|let's say|imagine|e.g.|such as|as an example|"
        "to illustrate|assume|let's try|try|case",
    ),
    Signal(
        "Personal Opinion and Recall", "Recall",
        "recalls a given fact or rule, states a belief", 34,
        "i recall|i know|i think|we are told|remember|recall|i remember|i believe|we know|given|"
        "i have|we have|the problem|the question|according to|it says|i guess|in my opinion|"
        "from statement|from relationship|from the|from point|based on|point|relationship|"
        "relationships|statement|option|i see|i don't see",
    ),
    Signal(
        "Contrast and Concession", "Contrast", "turns, corrects, backtracks", 33,
        "but|however|wait|on the other hand|alternatively|yet|although|though|hold on|actually|"
        "instead|no|unless|despite|conversely|even so|still|maybe|perhaps|i don't think",
    ),
    Signal(
        "Reasoning and Analysis", "Reasoning", "derives, computes, compares", 32,
        "since|because|let me|let's|if|consider|now|looking|first|starting|start with|when|as|"
        "to find|i need to|we need to|for each|is there|using|just to|to be sure|in this case|"
        "calculate|calculating|compute|computing|simplify|adding|subtract|divide|multiply",
    ),
    Signal(
        "Conclusion and Summary", "Conclusion", "states an intermediate or final result", 96,
        "so|therefore|thus|in summary|hence|in conclusion|overall|consequently|that means|"
        "this means|which means|to sum up|to summarize|as a result|it follows|accordingly|finally|"
        "in short|total|that's|which is|that would",
    ),
    Signal(
        "Response Generation", "Response", "hands over the final answer", 91,
        "the answer is|final answer|the final answer|answer:|my answer|the correct answer|"
        "the correct option|the solution is|\\boxed|\\[ \\boxed",
    ),
]  # fmt: skip
SIGNAL_NAMES = [s.name for s in SIGNALS]


def signal_id(short):
    """Index of the signal with this short name."""
    return [s.short for s in SIGNALS].index(short)


ADDITION, EXAMPLES, RECALL = signal_id("Addition"), signal_id("Examples"), signal_id("Recall")
CONTRAST, REASONING = signal_id("Contrast"), signal_id("Reasoning")
CONCLUSION, RESPONSE = signal_id("Conclusion"), signal_id("Response")

# What the head predicts is a class. By default that is the index of a signal in the table. In the
# finest taxonomy (--classes 14) a signal that comes again in its trace is a class of its own, its
# index + len(SIGNALS).
N_CLASSES = 2 * len(SIGNALS)
NO_SIGNAL = N_CLASSES  # the question and the padding carry none


def signal_of(class_id):
    """The Signal that a class of any taxonomy stands for."""
    return SIGNALS[class_id % len(SIGNALS)]


def stands_for(class_id, signal):
    """Does a class (int or tensor) of any taxonomy stand for this signal (its index)?"""
    return class_id % len(SIGNALS) == signal


def taxonomy(signals, n_classes):
    """The classes (list of int) of the steps of one trace, from their signals.

    n_classes 1: all alike. 3: go on, turn, close, each by the index of one of its signals.
    len(SIGNALS): as they are. Twice as many: see N_CLASSES.
    """
    if n_classes == 1:
        return [REASONING] * len(signals)
    if n_classes == 3:
        coarse = {CONTRAST: CONTRAST, CONCLUSION: RESPONSE, RESPONSE: RESPONSE}
        return [coarse.get(s, REASONING) for s in signals]
    if n_classes == N_CLASSES:
        return [s + len(SIGNALS) * (s in signals[:i]) for i, s in enumerate(signals)]
    return list(signals)


def classes_of(n_classes):
    """The classes (list of int) that steps can have in the taxonomy of n_classes."""
    every_signal_twice = [*range(len(SIGNALS)), *range(len(SIGNALS))]
    return sorted(set(taxonomy(every_signal_twice, n_classes)))


# ------------------------------------------------------------------------------------------ steps
@dataclass(slots=True)
class Step:
    signal: int  # or the class that stands for it, see `taxonomy`
    text: str


@dataclass
class Trace:
    question: str
    steps: list  # of Step
    answer: str
    task: str = ""
    id: str = ""
    n_context: int = 0  # its first n_context steps are read, but not learned
    has_answer: bool = True  # False: a stage that ends before the answer, see `view`


def split_steps(text):
    """The steps of a trace: its paragraphs (section 2.1)."""
    return [s.strip() for s in re.split(r"\n\s*\n", text) if s.strip()]


KEYWORDS = {word: i for i, signal in enumerate(SIGNALS) for word in signal.keywords.split("|")}
OPENING = re.compile(  # the longest keyword is tried first
    rf"""
    [\s>*_\#"'“‘(-]*                                             # emphasis, quotation marks
    (?:(?:okay|ok|alright|hmm+|well|yes|yeah|right|oh|ah)\b[,.!… ]+)?       # an interjection
    ((?a:{"|".join(re.escape(k) for k in sorted(KEYWORDS, key=len, reverse=True))}))
    (?!\w)
    """,
    re.IGNORECASE | re.VERBOSE,
)
LIST_ITEM = re.compile(r"\s*(?:[-*•]|\(?\d{1,2}[.)])\s+(?=\S)")


def keyword_signal(step):
    """(signal, the step without its keyword), or (None, step) where no keyword opens it.

    An item of a list is one more of its kind: Addition.
    """
    if match := OPENING.match(step):
        return KEYWORDS[match[1].lower()], step[match.end() :].lstrip(" ,.:;!")
    if match := LIST_ITEM.match(step):
        return ADDITION, step[match.end() :]
    return None, step


def hands_over(step):
    """Does a step give the answer: by its keyword, or by "answer" with more text after it?"""
    # "And that is my answer." only promises one: nothing follows the word.
    by_word = re.search(r"\banswer\b\s*[^\s.!?]", step, re.I)
    return keyword_signal(step)[0] == RESPONSE or bool(by_word)


def steps_of(row):
    """The steps of a row's trace (list of str), of which the last one hands over the answer."""
    steps = split_steps(row["trace"])
    if steps and not hands_over(steps[-1]):
        steps.append(f"The answer is {row['answer'].strip()}.")
    return steps


def view(trace, what):
    """The traces (list) that replace one trace in training. To be called before `taxonomy`.

    "all" of it; its "answer" only; its "conclusions" only, a short rationale; or "pruned", one
    trace for each stage. A stage ends with a conclusion; of the stages before it only their
    conclusions are left, as context (section 2.3).
    """
    if what == "all":
        return [dataclasses.replace(trace)]
    if what == "answer":
        return [dataclasses.replace(trace, steps=trace.steps[-1:])]
    if what == "conclusions":
        steps = [step for step in trace.steps[:-1] if step.signal in (CONCLUSION, RESPONSE)]
        return [dataclasses.replace(trace, steps=[*steps, trace.steps[-1]])]
    stages = []
    conclusions = []
    stage = []
    for step in trace.steps:
        stage.append(step)
        is_last = step is trace.steps[-1]
        if is_last or step.signal == CONCLUSION:
            steps, n_context = conclusions + stage, len(conclusions)
            stages.append(
                dataclasses.replace(trace, steps=steps, n_context=n_context, has_answer=is_last)
            )
            conclusions = [*conclusions, step]
            stage = []
    return stages


def answer_opening(traces):
    """The most frequent words before the answer, as "The answer is"; "" where none come twice."""
    openings = Counter()
    for trace in traces:
        opening, found, _ = trace.steps[-1].text.rpartition(trace.answer)
        if found and trace.has_answer:
            openings[opening.strip()] += 1
    shared = [opening for opening, n in openings.most_common(1) if n > 1]
    return shared[0] if shared else ""


# -------------------------------------------------------------------------------------- tokenizer
STEP = "<|step|>"  # ends the question and every step
END = "<|end|>"  # ends the last step, in place of <|step|>
# A contraction; a word or a run of punctuation with the space before it; a digit; white space.
PIECES = r"['’](?:s|t|re|ve|m|ll|d)\b| ?[^\W\d_]+| ?\d| ?[^\s\w]+| ?_+|\s+(?!\S)|\s+"


class Tokenizer:
    """A tiktoken.Encoding whose vocabulary is 256 bytes and the most frequent pieces of text.

    A piece of the list is one token, and any other is spelt in bytes, so that every text comes
    back. With pieces None it is GPT-2's BPE, with a str a published model's tokenizer.json. Raises
    UserError where GPT-2's files cannot be fetched.
    """

    def __init__(self, pieces):
        self.pieces = pieces
        if isinstance(pieces, str):
            vocabulary = parse_tokenizer(pieces)
        elif pieces is None:
            vocabulary = gpt2_vocabulary()
        else:
            vocabulary = Vocabulary(PIECES, {bytes([b]): b for b in range(256)}, space=" ")
            for piece in pieces:
                vocabulary.ranks.setdefault(piece.encode(), len(vocabulary.ranks))
        n_texts = max(vocabulary.ranks.values()) + 1
        self.step_id = vocabulary.added.setdefault(STEP, n_texts)
        self.end_id = vocabulary.added.setdefault(END, n_texts + 1)
        self.vocabulary = vocabulary
        self.bos = vocabulary.bos  # ids in front of every question: one or none
        self.text_ids = set(vocabulary.ranks.values())
        self.encoding = tiktoken.Encoding(
            "scaffold",
            pat_str=vocabulary.pattern,
            mergeable_ranks=vocabulary.ranks,
            special_tokens=vocabulary.added,
        )
        self.vocab_size = self.encoding.n_vocab

    @classmethod
    def from_pretrained(cls, folder):
        """The tokenizer.json in a published model's folder. Raises UserError."""
        with published_tokenizer(folder, [STEP, END]) as text:
            return cls(text)

    @classmethod
    def train(cls, texts, vocab_size):
        """Keep the pieces that occur most often, at least twice; vocab_size tokens at most."""
        counts, pattern = Counter(), re.compile(PIECES)
        for text in texts:
            counts.update(pattern.findall(" " + text))
        frequent = counts.most_common(vocab_size - 258)  # 256 bytes and two special tokens
        return cls([p for p, n in frequent if n > 1 and len(p.encode()) > 1])

    def encode(self, text):
        """Token ids of a text. Text never becomes a special token, whatever it says.

        All but published tokenizers put a space in front: so a word is the same token everywhere.
        """
        return self.encoding.encode_ordinary(self.vocabulary.normalize(text))

    def encode_question(self, question):
        """Token ids of a question, as every trace and prompt begins."""
        return self.bos + self.encode(question.strip())

    def decode(self, ids):
        """The text of token ids; special tokens are left out."""
        text = self.encoding.decode([i for i in ids if i in self.text_ids])
        return text.removeprefix(self.vocabulary.space)


# --------------------------------------------------------------------------------------- encoding
@dataclass
class Example:
    """One encoded trace. Position i reads ids[i] and predicts ids[i + 1]."""

    ids: np.ndarray  # (T + 1,) question, <|step|>, step, <|step|>, ..., last step, <|end|>
    signals: np.ndarray  # (T,) signal of the step that ids[i + 1] belongs to, or NO_SIGNAL
    row: int = -1  # its place in the data

    @property
    def loss_mask(self):
        """(T,) True where the target is to be learned: not in the question. Also the clone's."""
        return self.signals != NO_SIGNAL


def encode(trace, tokenizer, row=-1):
    """One Trace as an Example: see the picture at the top of this file.

    The clone learns from the same Example; `to_device` takes the signals away.
    """
    ids = tokenizer.encode_question(trace.question) + [tokenizer.step_id]
    signals = [NO_SIGNAL] * (len(ids) - 1)
    for i, step in enumerate(trace.steps):
        step_ids = tokenizer.encode(step.text) + [tokenizer.step_id]
        ids += step_ids
        # A terminator belongs to the step that it ends.
        signals += [step.signal if i >= trace.n_context else NO_SIGNAL] * len(step_ids)
    if trace.has_answer:
        ids[-1] = tokenizer.end_id
    return Example(np.array(ids, dtype=np.int32), np.array(signals, dtype=np.int8), row)


def encode_all(traces, tokenizer, block_size):
    """(examples, number dropped): a trace of more than block_size positions is never cut.

    Raises UserError for a trace without a step to learn.
    """
    for trace in traces:
        if len(trace.steps) <= trace.n_context:
            raise UserError(f"trace {trace.id}: there is no step to learn")
    examples = [encode(trace, tokenizer, i) for i, trace in enumerate(traces)]
    short_enough = [e for e in examples if len(e.signals) <= block_size]
    return short_enough, len(examples) - len(short_enough)


def collate(examples, tokenizer, positions="boundary", multiple=1):
    """Pad a batch on the right. Returns idx, signals, targets, signal_targets, each (B, T).

    A target of -1 means: no loss here. positions: where the signal head learns, at the "boundary",
    its one real prediction, or at "every" position of a step, as in the paper. T is rounded up to a
    multiple, so that compiled code meets few shapes.
    """
    longest = max(len(e.signals) for e in examples)
    T = -(-longest // multiple) * multiple
    idx = torch.full((len(examples), T), tokenizer.end_id)
    signals = torch.full_like(idx, NO_SIGNAL)
    targets = torch.full_like(idx, -1)
    signal_targets = torch.full_like(idx, -1)
    for b, e in enumerate(examples):
        t = len(e.signals)
        idx[b, :t] = torch.from_numpy(e.ids[:-1])
        signals[b, :t] = torch.from_numpy(e.signals)
        targets[b, :t] = torch.from_numpy(np.where(e.loss_mask, e.ids[1:], -1))
        is_boundary = e.ids[:-1] == tokenizer.step_id
        signal_mask = e.loss_mask & (is_boundary | (positions == "every"))
        signal_targets[b, :t] = torch.from_numpy(np.where(signal_mask, e.signals, -1))
    return idx, signals, targets, signal_targets


def batches(examples, batch_size, rng, window=32):
    """One epoch: yields lists of examples, with little padding, in random order, none left out.

    The examples are shuffled, then sorted by length within windows of `window` batches; then the
    batches are shuffled. rng: a numpy Generator.
    """
    order = rng.permutation(len(examples))
    epoch = []
    for start in range(0, len(order), batch_size * window):
        nearby = order[start : start + batch_size * window]
        by_length = sorted(nearby, key=lambda i: len(examples[i].ids))
        epoch += [by_length[k : k + batch_size] for k in range(0, len(by_length), batch_size)]
    for k in rng.permutation(len(epoch)):
        yield [examples[i] for i in epoch[k]]
