"""Published tokenizers: the ids of the `tokenizers` library, and none other are taken.

The library itself is only needed for the tests at the end; what it says of the texts in
fixtures/tokenizers/expected.json is written there.
"""

import copy
import json
import random
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import pytest
from fixtures.make_tokenizers import STYLES, adversarial_texts, encodable

from data.tools.flags import UserError, run_program
from data.tools.hf_tokenizer import save_tokenizer
from scaffold import END, NO_SIGNAL, STEP, Step, Tokenizer, Trace, encode

FIXTURES = Path(__file__).parent / "fixtures" / "tokenizers"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
FILES = {style: json.loads((FIXTURES / f"{style}.json").read_text("utf-8")) for style in STYLES}


def published(folder, file):
    """The Tokenizer in a folder whose tokenizer.json has this content (dict, or bytes)."""
    content = file if isinstance(file, bytes) else json.dumps(file).encode()
    (folder / "tokenizer.json").write_bytes(content)
    return Tokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """The four Tokenizers by their style."""
    return {s: published(tmp_path_factory.mktemp(s), file) for s, file in FILES.items()}


@pytest.fixture(params=STYLES)
def style(request):
    return request.param


# -------------------------------------------------------------------------------------------- ids
def test_ids_are_those_of_the_tokenizers_library(style, tokenizers):
    ids = [tokenizers[style].encode(encodable(text, style)) for text in EXPECTED["texts"]]
    assert ids == EXPECTED[style]


def test_a_text_comes_back(style, tokenizers):
    for text in adversarial_texts(500, seed=3, longest=20):
        kept = encodable(text, style)
        normal = unicodedata.normalize("NFC", kept) if style == "qwen" else kept
        assert tokenizers[style].decode(tokenizers[style].encode(text)) == normal


def test_digits_are_split_as_each_was_trained(tokenizers):
    pieces = {s: [t.decode([i]) for i in t.encode("1012101")] for s, t in tokenizers.items()}
    assert pieces["qwen"] == pieces["smollm2"] == list("1012101")
    assert pieces["llama3"] == ["101", "210", "1"]
    assert pieces["gpt2"] == ["101", "2", "101"]


def test_no_space_of_ours_in_front(style, tokenizers):
    tokenizer = tokenizers[style]
    assert tokenizer.encode("") == []
    assert tokenizer.encode("the") != tokenizer.encode(" the")
    assert tokenizer.decode(tokenizer.encode(" the")) == " the"


def test_only_qwen_composes_characters(style, tokenizers):
    apart, composed = (tokenizers[style].encode(text) for text in ("e\u0301", "\u00e9"))
    assert (apart == composed) == (style == "qwen")


def test_characters_with_a_missing_byte_are_left_out(tokenizers):
    smollm2 = tokenizers["smollm2"]
    assert smollm2.encode("a\x01b") == smollm2.encode("ab")
    assert smollm2.encode("\x01\U00050000") == []
    assert smollm2.decode(smollm2.encode("a\x06 1\U000800002")) == "a 12"


def test_a_lone_surrogate_is_no_crash(style, tokenizers):
    tokenizer = tokenizers[style]
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_bos_only_in_front_of_a_question(style, tokenizers):
    tokenizer = tokenizers[style]
    begin = [t["id"] for t in FILES[style]["added_tokens"] if t["content"] == "<|begin_of_text|>"]
    assert tokenizer.bos == begin
    assert tokenizer.encode_question(" Who?\n") == begin + tokenizer.encode("Who?")

    trace = Trace("Who?", [Step(2, "The man."), Step(5, "So Bob.")], "Bob")
    example = encode(trace, tokenizer)
    first, last = tokenizer.encode("The man."), tokenizer.encode("So Bob.")
    question = begin + tokenizer.encode("Who?")
    step, end = tokenizer.step_id, tokenizer.end_id
    assert example.ids.tolist() == [*question, step, *first, step, *last, end]
    signals = [NO_SIGNAL] * len(question) + [2] * (len(first) + 1) + [5] * (len(last) + 1)
    assert example.signals.tolist() == signals


# ------------------------------------------------------------------------- the two special tokens
def test_special_tokens_take_reserved_rows_or_new_ones(style, tokenizers):
    tokenizer, file = tokenizers[style], FILES[style]
    added = {token["content"]: token["id"] for token in file["added_tokens"]}
    n_ids = len({*file["model"]["vocab"].values(), *added.values()})
    special = [tokenizer.step_id, tokenizer.end_id]
    if style == "llama3":
        assert special == [added[f"<|reserved_special_token_{i}|>"] for i in (0, 1)]
        assert tokenizer.vocab_size == n_ids
    else:
        assert special == [n_ids, n_ids + 1]
        assert tokenizer.vocab_size == n_ids + 2


def test_text_never_becomes_an_added_token(style, tokenizers):
    tokenizer = tokenizers[style]
    added = {token["content"] for token in FILES[style]["added_tokens"]} | {STEP, END}
    for text in ["".join(sorted(added)), *(f"a {name}b" for name in added)]:
        ids = tokenizer.encode(text)
        assert tokenizer.text_ids.issuperset(ids)
        assert tokenizer.decode(ids) == text


def test_ids_without_a_text_are_left_out(style, tokenizers):
    tokenizer = tokenizers[style]
    ids = tokenizer.encode("the end")
    others = [*tokenizer.bos, tokenizer.step_id, tokenizer.end_id, tokenizer.vocab_size + 9]
    assert tokenizer.decode([*others, *ids, *others]) == "the end"


def test_pieces_and_saved_files_are_the_same_tokenizer(style, tokenizers, tmp_path):
    tokenizer = tokenizers[style]
    save_tokenizer(tokenizer, tmp_path)
    for other in (Tokenizer(tokenizer.pieces), Tokenizer.from_pretrained(tmp_path)):
        assert other.pieces == tokenizer.pieces
        for name in ("step_id", "end_id", "bos", "vocab_size"):
            assert getattr(other, name) == getattr(tokenizer, name)
        for text in EXPECTED["texts"]:
            assert other.encode(text) == tokenizer.encode(text)


def test_the_saved_configuration_names_the_special_tokens(style, tokenizers, tmp_path):
    save_tokenizer(tokenizers[style], tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["eos_token"] == config["pad_token"] == END
    begin = {"llama3": "<|begin_of_text|>"}.get(style)
    assert config.get("bos_token") == begin


def test_the_older_form_of_the_file_is_read(tokenizers, tmp_path):
    """GPT-2's own says neither that it is a BPE nor use_regex, and its merges are strings."""
    file = copy.deepcopy(FILES["gpt2"])
    del file["model"]["type"], file["model"]["ignore_merges"], file["pre_tokenizer"]["use_regex"]
    file["model"]["merges"] = [" ".join(merge) for merge in file["model"]["merges"]]
    older = published(tmp_path, file)
    for text in EXPECTED["texts"]:
        assert older.encode(text) == tokenizers["gpt2"].encode(text)


# --------------------------------------------------------------------------------------- refusals
def change(*path):
    """A function that sets the value at a path of a file's keys: the last of the path."""

    def apply(file):
        *keys, last, value = path
        for key in keys:
            file = file[key]
        file[last] = value

    return apply


def swap_ids(file):
    vocab = file["model"]["vocab"]
    a, b = list(vocab)[-2:]
    vocab[a], vocab[b] = vocab[b], vocab[a]


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}
SPLIT = copy.deepcopy(FILES["qwen"]["pre_tokenizer"])
SPLIT["pretokenizers"][0]["pattern"] = {"Regex": r"\p{L}+|\P{L}+"}
END_LAST = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {}]}
BERT = {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 0]}
SPACES = {"id": 601, "content": "  ", "special": False}
REFUSED = [
    ("gpt2", change("model", "type", "Unigram"), "a Unigram tokenizer; only byte-level BPE"),
    ("gpt2", change("model", "type", "WordPiece"), "a WordPiece tokenizer"),
    ("gpt2", change("model", "vocab", "▁the", 600), "merges"),
    ("gpt2", change("normalizer", {"type": "Lowercase"}), '"Lowercase"} is not known here'),
    ("gpt2", change("normalizer", {"type": "NFKC"}), "NFKC"),
    ("gpt2", change("pre_tokenizer", {"type": "Metaspace"}), "Metaspace"),
    ("gpt2", change("pre_tokenizer", None), "pre_tokenizer"),
    ("gpt2", change("pre_tokenizer", BYTES), '"add_prefix_space": true'),
    ("qwen", change("pre_tokenizer", SPLIT), "P{L}+"),
    ("llama3", change("pre_tokenizer", "pretokenizers", 0, "behavior", "Removed"), "Removed"),
    ("smollm2", change("pre_tokenizer", "pretokenizers", 0, "individual_digits", False), "Digits"),
    ("gpt2", change("post_processor", BERT), "BertProcessing"),
    ("gpt2", change("post_processor", END_LAST), "SpecialToken"),
    ("gpt2", lambda file: file["added_tokens"].append(SPACES), "white space"),
    ("gpt2", swap_ids, "order of their ids"),
    ("gpt2", lambda file: file["model"]["merges"].pop(), "merges"),
    ("gpt2", lambda file: file["model"]["vocab"].popitem(), "byte-level BPE (KeyError"),
    ("gpt2", change("model", "vocab", "a", 0), "ids"),
    ("gpt2", change("model", "vocab", "a", -1), "ids"),
    ("gpt2", change("model", "vocab", None), "not the tokenizer.json of a byte-level BPE"),
    ("gpt2", lambda file: file.pop("model"), "KeyError 'model'"),
]


@pytest.mark.parametrize(("style", "damage", "reason"), REFUSED)
def test_another_kind_is_refused_in_one_line(style, damage, reason, tmp_path, capsys):
    file = copy.deepcopy(FILES[style])
    damage(file)
    refused(tmp_path, file, reason, capsys)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"[]", "not the tokenizer.json of a byte-level BPE"),
        (b"\xff\xfe", "utf-8"),
        (b'{"a":' * 100_000, "RecursionError"),
        (json.dumps(FILES["qwen"]).encode()[:5000], "line 1"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(content, reason, tmp_path, capsys):
    refused(tmp_path, content, reason, capsys)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"tokenizer\.json: No such file"):
        Tokenizer.from_pretrained(tmp_path)


def refused(folder, content, reason, capsys):
    """Exit code 2, and one line that names the file and the reason."""
    with pytest.raises(SystemExit) as e:
        run_program(lambda: published(folder, content))
    line = capsys.readouterr().err.removesuffix("\n")
    assert e.value.code == 2
    assert line.startswith("error: ") and line.isprintable(), line
    assert "tokenizer.json: " in line and reason in line, line


def places(value, path=()):
    """The paths (tuples of keys) of all that a JSON value contains."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))


def test_damage_anywhere_is_a_tokenizer_or_one_line(style, tmp_path):
    rng = random.Random(0)
    all_places = list(places(FILES[style]))
    top = [path for path in all_places if path[0] != "model"]
    for _ in range(150):
        file = copy.deepcopy(FILES[style])
        *keys, last = rng.choice(rng.choice([all_places, top]))
        inner = file
        for key in keys:
            inner = inner[key]
        if rng.random() < 0.3:
            del inner[last]
        else:
            inner[last] = rng.choice([None, 0, -1, 10**30, 1.5, "x", "", [], {}, True, "\ud800"])
        try:
            tokenizer = published(tmp_path, file)
        except UserError as e:
            assert "\n" not in str(e)
        else:
            assert tokenizer.decode(tokenizer.encode("the 12 men")) == "the 12 men"


# ----------------------------------------------------------------- where the libraries are at hand
if find_spec("tokenizers"):

    @pytest.mark.slow
    def test_ids_of_20000_texts_against_the_library(style, tokenizers):
        from tokenizers import Tokenizer as Library

        library = Library.from_file(str(FIXTURES / f"{style}.json"))
        texts = [encodable(text, style) for text in adversarial_texts(20_000, seed=4)]
        expected = [e.ids for e in library.encode_batch(texts, add_special_tokens=False)]
        assert [tokenizers[style].encode(text) for text in texts] == expected
        questions = [text.strip() for text in texts[:500]]
        expected = [e.ids for e in library.encode_batch(questions)]
        assert [tokenizers[style].encode_question(text) for text in questions] == expected


if find_spec("transformers"):

    @pytest.mark.slow
    @pytest.mark.parametrize("with_config", [False, True])
    def test_transformers_opens_what_is_saved(style, with_config, tokenizers, tmp_path):
        from transformers import AutoTokenizer

        tokenizer = tokenizers[style]
        save_tokenizer(tokenizer, tmp_path)
        if with_config:  # of the model, whose type also chooses a class of tokenizers
            model_type = {"qwen": "qwen2", "gpt2": "gpt2"}.get(style, "llama")
            config = {"model_type": model_type, "vocab_size": tokenizer.vocab_size}
            config |= {"bos_token_id": None, "eos_token_id": tokenizer.end_id}
            (tmp_path / "config.json").write_text(json.dumps(config))
        theirs = AutoTokenizer.from_pretrained(tmp_path)
        for text in EXPECTED["texts"][:100]:
            text = encodable(text, style)
            ids = tokenizer.encode(text)
            assert theirs(text)["input_ids"] == tokenizer.bos + ids
            written = [*ids, tokenizer.step_id, *ids, tokenizer.end_id]
            assert theirs.decode(written, skip_special_tokens=True) == tokenizer.decode(written)
        assert theirs.eos_token_id == theirs.pad_token_id == tokenizer.end_id
        assert theirs.convert_tokens_to_ids(STEP) == tokenizer.step_id
        assert len(theirs) == tokenizer.vocab_size
