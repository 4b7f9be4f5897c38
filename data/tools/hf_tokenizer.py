"""Published byte-level BPEs: tokenizer.json in, the parts of a tiktoken.Encoding out; and back.

The ids are those of the `tokenizers` library, but no text becomes an added token.
"""

import json
import unicodedata
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tiktoken

from data.tools.files import write_text
from data.tools.flags import UserError
from data.tools.terminal import first_line

# How a text is split before bytes are merged. SmolLM2 takes digits apart first, then as GPT-2.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SMOLLM2 = GPT2.replace(r" ?\p{N}+", r"\p{N}").replace(r"|\s+(?!", r"|\s+(?=\p{N})|\s+(?!")
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

# The byte that a character of the file stands for: its own code, where that can be printed.
PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in PRINTED]
BYTE_OF = {chr(b): b for b in PRINTED} | {chr(256 + i): b for i, b in enumerate(OTHERS)}


@dataclass
class Vocabulary:
    """What a tokenizer consists of."""

    pattern: str  # splits a text into pieces, whose bytes are merged
    ranks: dict  # bytes -> id, of the tokens that are text; those with lower ids are merged first
    added: dict = field(default_factory=dict)  # str -> id, of the tokens that no text becomes
    bos: list = field(default_factory=list)  # ids in front of every question: one or none
    space: str = ""  # in front of every text
    nfc: bool = False  # a text is brought to Unicode's normal form C

    def __post_init__(self):
        self.missing = set(range(256)) - {token[0] for token in self.ranks if len(token) == 1}

    def normalize(self, text):
        """The text that is encoded: a character with a byte that has no token is left out."""
        # A lone surrogate becomes U+FFFD.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if self.nfc:
            text = unicodedata.normalize("NFC", text)
        if self.missing:
            text = "".join(c for c in text if self.missing.isdisjoint(c.encode()))
        return self.space + text


def gpt2_vocabulary():
    """GPT-2's, with our space in front. Raises UserError where its files cannot be fetched."""
    try:
        gpt2 = tiktoken.get_encoding("gpt2")
    except Exception as e:  # tiktoken lets through whatever its download raised
        problem = f"GPT-2's BPE files could not be fetched ({type(e).__name__})"
        raise UserError(f"{problem}; set TIKTOKEN_CACHE_DIR to a folder with them") from None
    return Vocabulary(gpt2._pat_str, gpt2._mergeable_ranks, space=" ")


@contextmanager
def published_tokenizer(folder, names):
    """The text of the folder's tokenizer.json, in which the special tokens (names) are declared.

    Raises UserError where it cannot be read, or where what is done with it fails.
    """
    path = Path(folder) / "tokenizer.json"
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
        declare(file, names)
        yield json.dumps(file)
        return
    except OSError as e:
        problem = e.strerror
    except ValueError as e:
        problem = str(e)
    except Exception as e:  # some other file can raise anything
        problem = f"not the tokenizer.json of a byte-level BPE ({first_line(e)})"
    raise UserError(f"{path}: {problem}")


def declare(file, names):
    """Give each token (names) that the file lacks a reserved row, or a new one after the last."""
    vocab, added = file["model"]["vocab"], file["added_tokens"]
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    for name in names:
        known = {token["content"]: token for token in added}
        if name in known:
            continue
        rows = [known[n] for n in known if "reserved" in n and n not in vocab]
        if not rows:
            rows = [{"id": len(vocab.keys() | known)}]
            added += rows
        rows[0].update(flags, content=name, special=True)


def parse_tokenizer(text):
    """The Vocabulary in the text of a tokenizer.json. Raises ValueError for one of another kind."""
    file = json.loads(text)
    model, normalizer = file["model"], file["normalizer"]
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"a {model['type']} tokenizer; only byte-level BPE is known here")
    if normalizer not in (None, {"type": "NFC"}):
        raise ValueError(f"normalizer {json.dumps(normalizer)} is not known here")
    added = {token["content"]: token["id"] for token in file["added_tokens"]}
    if any(name.isspace() for name in added):
        raise ValueError("added tokens of white space are not known here")
    ranks = {token: rank for token, rank in model["vocab"].items() if token not in added}
    # tiktoken merges in the order of ids, and knows no list of merges: both must say the same.
    ids = sorted([*ranks.values(), *added.values()])
    made = [ranks["".join(merge).replace(" ", "")] for merge in model["merges"]]
    unmade = {rank for token, rank in ranks.items() if len(token) > 1} - set(made)
    is_ordered = ids == list(range(len(ids))) and made == sorted(made)
    if not is_ordered or unmade and not model.get("ignore_merges"):
        raise ValueError("its merges do not make its tokens in the order of their ids")
    bos = []
    for part in parts(file["post_processor"], "processors"):
        if part["type"] == "TemplateProcessing":
            bos = [added[piece["SpecialToken"]["id"]] for piece in part["single"][:-1]]
        elif part["type"] != "ByteLevel":
            raise ValueError(f"post_processor {part['type']} is not known here")
    pattern = split_pattern(parts(file["pre_tokenizer"], "pretokenizers"))
    ranks = {bytes(BYTE_OF[c] for c in token): rank for token, rank in ranks.items()}
    return Vocabulary(pattern, ranks, added, bos, nfc=normalizer is not None)


def parts(component, members):
    """A component of the file as a list: a sequence's members, itself alone, or none."""
    return component.get(members, [component]) if component else []


def split_pattern(pre_tokenizers):
    """The regular expression that splits as they do. Raises ValueError."""
    match pre_tokenizers:
        case [{"type": "ByteLevel", "add_prefix_space": False, **rest}]:
            if rest.get("use_regex", True):
                return GPT2
        case [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        ]:
            return SMOLLM2
        case [
            {"type": "Split", "pattern": {"Regex": known}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            if known in (QWEN, LLAMA3):
                return known
    raise ValueError(f"pre_tokenizer {json.dumps(pre_tokenizers)} is not known here")


def save_tokenizer(tokenizer, folder):
    """Write a published Tokenizer as `transformers` reads it. Raises UserError."""
    end = tokenizer.encoding.decode([tokenizer.end_id])
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": end}
    if tokenizer.bos:
        config["bos_token"] = tokenizer.encoding.decode(tokenizer.bos)
    write_text(Path(folder) / "tokenizer.json", tokenizer.pieces)
    write_text(Path(folder) / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
