"""Bad input: one line that names what is wrong, exit code 2, nothing written or changed.

Odd but legal input: a result.
"""

import copy
import functools
import io
import json
import os
import pickle
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import annotate
import sample
import train
from data.algorithmic import prepare
from data.benchmarks import prepare as benchmarks
from data.experiments import grid
from data.tools.checkpoint import load_student
from data.tools.checks import check_answering
from data.tools.display import unknown_words
from data.tools.files import read_jsonl, replacing
from data.tools.flags import UserError, run_program
from scaffold import N_CLASSES, SIGNALS

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parent.parent
ESCAPES = "\x1b[31mred\x1b]0;title\x07\x08\x9b2J"  # would recolour, rename or clear a terminal
CONTRAST = "Contrast and Concession"
GOOD = {"question": "q?", "trace": "So 1.", "answer": "1"}
STEPS = {"question": "q?", "answer": "1", "steps": [{"signal": CONTRAST, "text": "But 1."}]}
PLAN = {"arm": "x", "tasks": ["navigate"], "n_train": [9], "seeds": [0], "questions": 1}
TINY = (
    "--tasks object_counting --n_train 60 --n_val 4 --n_test 0 --depth 2 --max_steps 1 --device cpu"
)


# ---------------------------------------------------------------------------------------- helpers
def refused(main, argv, capsys):
    """The one line that main refuses argv with. Every program goes through run_program()."""
    with pytest.raises(SystemExit) as e:
        run_program(functools.partial(main, argv))
    printed = capsys.readouterr().err
    assert e.value.code == 2
    assert printed.startswith("error: ") and printed.endswith("\n"), printed
    line = printed.removeprefix("error: ").removesuffix("\n")
    assert line.isprintable(), line
    assert len(line) < 600, line
    return line


def accepted(main, argv, capsys):
    """What main prints: nothing that a terminal would obey."""
    with pytest.raises(SystemExit) as e:
        run_program(functools.partial(main, argv))
    out, err = capsys.readouterr()
    assert not e.value.code and not err, err
    assert out.replace("\n", "").isprintable()
    return out


def tree(folder):
    """{path: contents} of all that is in a folder; None for what is no file."""
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def files(folder):
    """As tree(), without the folders."""
    return {p: contents for p, contents in tree(folder).items() if not p.is_dir()}


def write_rows(path, rows):
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The checkpoint of a student that was trained for one step."""
    out = tmp_path_factory.mktemp("run")
    train.main([*TINY.split(), "--out_dir", str(out)])
    return out / "ckpt.pt"


@pytest.fixture(scope="module")
def saved(checkpoint):
    """What is in that checkpoint."""
    return torch.load(checkpoint, weights_only=True)


@pytest.fixture
def yard(tmp_path, monkeypatch, checkpoint):
    """A working directory with a good file of every kind, a folder, a pipe, a link to itself."""
    monkeypatch.chdir(tmp_path)
    write_rows("t.jsonl", [{**GOOD, "id": "a"}])
    write_rows("a.jsonl", [STEPS])
    write_rows("q.jsonl", [{"input": "q", "target": "1"}])
    write_rows("gold.jsonl", [{"id": "a", "signals": [5, 6]}])
    write_rows("bare.jsonl", [{"question": "q", "answer": "1"}])
    write_rows("plan.jsonl", [{**PLAN, "flags": {}}])
    Path("folder").mkdir()
    Path("loop.jsonl").symlink_to("loop.jsonl")
    os.mkfifo("pipe")
    Path("s.pt").symlink_to(checkpoint)
    return tmp_path


# ----------------------------------------------------------------------------- traces to annotate
def line(**changes):
    """The good row with some fields changed, as a line of JSON (bytes)."""
    return json.dumps({**GOOD, **changes}).encode()


def line_with(field, literal):
    """The good row with a field whose value is this literal (bytes), valid JSON or not."""
    return line(**{field: 0}).replace(b": 0", b": " + literal)


def line_without(field):
    return json.dumps({name: text for name, text in GOOD.items() if name != field}).encode()


LATIN = '{"question": "é"}'.encode("latin-1")
TRACES = [  # contents of the file, what the message must name
    # no row
    (b"", "no rows"),
    (b"\n\n", "no rows"),
    # not JSON
    (b"{", "line 1: not JSON"),
    (b'{"question": "q"}{}', "line 1: not JSON"),
    (b"{'question': 'q'}", "not JSON"),
    (b'{"question": "q",}', "not JSON"),
    (b'{"question": "a\nb"}', "not JSON"),
    (b'{"question": "a\0b"}', "not JSON"),
    (b'{\n  "question": "q"\n}', "line 1: not JSON"),
    (b"question,trace,answer\n", "not JSON"),
    (b"// a comment\n", "not JSON"),
    (b"<html>" + b"x" * 10**6, "not JSON"),
    (b"[" * 100000, "line 1: not JSON (nested too deep)"),
    (b'{"question": ' + b"[" * 100000, "nested too deep"),
    (line() + b"\n{bad", "line 2: not JSON"),
    (line() + b"\r\n\r\n" + line()[:-1], "line 3: not JSON"),
    (line() + b"\r" + line(), "line 1: not JSON"),
    # JSON, but no object
    (b"[1]", "line 1: a list"),
    (json.dumps([GOOD, GOOD]).encode(), "line 1: a list"),
    (b'"x"', "line 1: a str"),
    (b"null", "line 1: a NoneType"),
    (b"NaN", "line 1: a NoneType"),
    (b"3", "line 1: a int"),
    # other encodings
    (line().decode().encode("utf-16"), "line 1: not"),
    (line().decode().encode("utf-16-le"), "line 1: not"),
    (line().decode().encode("utf-16-be"), "line 1: not"),
    (line().decode().encode("utf-32"), "line 1: not"),
    (line().decode().encode("cp500"), "line 1: not"),
    (LATIN, "not UTF-8 (byte 14); save the file as UTF-8"),
    (b"\xff\xfe{}", "line 1: not UTF-8"),
    (line()[:-3] + b"\xe2\x82", "not UTF-8"),
    (b'{"question": "\xc0\x80"}', "not UTF-8"),
    (b'{"question": "\xed\xa0\x80"}', "not UTF-8"),
    # files of another kind: nothing but zeros, gzip, PNG, zip
    (b"\0\0\0", "not JSON"),
    (b"\x1f\x8b\x08\0\0", "not UTF-8"),
    (b"\x89PNG\r\n", "not UTF-8"),
    (b"PK\x03\x04", "not JSON"),
    # half a character
    (b'{"question": "\\ud800", "trace": "x", "answer": "1"}', "lone surrogate"),
    (b'{"\\udfff": 1}', "lone surrogate"),
    (line()[:-1] + b', "a": ["\\ud83d"]}', "lone surrogate"),
    # numbers
    (line_with("answer", b"9" * 5000), "too many digits"),
    (line_with("answer", b"1e400"), "a float"),
    (line_with("question", b"-0"), "a int"),
    (line_with("answer", b"NaN"), "is missing"),
    (line_with("answer", b"Infinity"), "is missing"),
    (line_with("answer", b"-Infinity"), "is missing"),
    (line_with("answer", b"null"), "is missing"),
    # fields
    (line()[:-1] + b', "answer": 2}', '"answer" is a int'),
    (line(question={}), "a dict"),
    (line(trace=["So 1."]), '"trace" is a list'),
    (line(answer="\u2003\u00a0"), "empty"),
    (line() + b"\n" + line(answer=""), "line 2"),
]
for name in GOOD:
    TRACES += [
        (line_without(name), f'field "{name}" is missing'),
        (line(**{name: 3}), f'field "{name}" is a int'),
        (line(**{name: []}), f'field "{name}" is a list'),
        (line(**{name: ""}), f'field "{name}" is empty'),
        (line(**{name: " \n"}), f'field "{name}" is empty'),
        (line(**{name: True}), f'field "{name}" is a bool'),
    ]


@pytest.mark.parametrize("contents, says", TRACES, ids=range(len(TRACES)))
def test_malformed_traces(contents, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("t.jsonl").write_bytes(contents)
    message = refused(annotate.main, ["t.jsonl", "out.jsonl"], capsys)
    assert says in message and "t.jsonl" in message
    assert os.listdir() == ["t.jsonl"]


# ------------------------------------------------------------------------------- annotated traces
BROKEN_STEPS = [  # the "steps" of a row
    "x",
    1,
    {"0": "x"},
    ["x"],
    [None],
    [[]],
    [ESCAPES],
    [{"signal": "Doubt", "text": "But 1."}],
    [{"signal": "contrast and concession", "text": "But 1."}],
    [{"signal": 3, "text": "But 1."}],
    [{"signal": [], "text": "But 1."}],
    [{"signal": None, "text": "But 1."}],
    [{"signal": ESCAPES * 100, "text": "But 1."}],
    [{"signal": CONTRAST, "text": " "}],
    [{"signal": CONTRAST, "text": None}],
    [{"signal": CONTRAST, "text": ["x"]}],
    [{"signal": CONTRAST}],
    [{"text": "x"}],
    [{"signal": CONTRAST, "text": "But 1."}, {}],
]


@pytest.mark.parametrize("steps", BROKEN_STEPS, ids=range(len(BROKEN_STEPS)))
def test_malformed_steps(steps, yard, capsys):
    write_rows("bad.jsonl", [STEPS, {**STEPS, "steps": steps}])
    before = tree(yard)
    for main, argv in (
        (train.main, ["--data", "bad.jsonl"]),
        (sample.main, ["--eval", "bad.jsonl", "--ckpt", "s.pt"]),
    ):
        message = refused(main, argv, capsys)
        assert "bad.jsonl, line 2" in message and "step" in message
    after = tree(yard)
    after.pop(yard / "out", None)  # the folder of the run may be there, empty
    assert after == before


LONG = [{**STEPS, "question": f"long {i} " * 3000} for i in range(21)]
ANNOTATED = [  # rows, what the message must name
    ([GOOD], "annotate.py"),
    ([{**STEPS, "steps": []}], "steps"),
    ([{**STEPS, "answer": None}], '"answer"'),
    (LONG, "block_size"),
]


@pytest.mark.parametrize("rows, says", ANNOTATED, ids=range(len(ANNOTATED)))
def test_malformed_annotations(rows, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_rows("a.jsonl", rows)
    assert says in refused(train.main, ["--data", "a.jsonl"], capsys)
    assert not Path("out/ckpt.pt").exists()


WRONG_SIGNALS = [
    *(3, "12", {}, None),
    *([len(SIGNALS)], [-1], [10**30], [1.5], [float("nan")], [float("inf")]),
    *(["1"], [None], [[1]]),
]
GOLD = [  # the row of gold signals, what the message must name
    ([], "a list"),
    ({"id": 5, "signals": [1]}, "a int"),
    ({"signals": [1]}, "missing"),
    ({"id": "b", "signals": [1]}, "no gold signals for id 'a'"),
    ({"id": "a"}, "must be a list"),
]
GOLD += [
    ({"id": "a", "signals": s}, f"must be a list of numbers from 0 to {len(SIGNALS) - 1}")
    for s in WRONG_SIGNALS
]


@pytest.mark.parametrize("gold, says", GOLD, ids=range(len(GOLD)))
def test_malformed_gold(gold, says, yard, capsys):
    write_rows("gold.jsonl", [gold])
    before = tree(yard)
    assert says in refused(annotate.main, ["t.jsonl", "out.jsonl", "--gold", "gold.jsonl"], capsys)
    assert tree(yard) == before


@pytest.mark.parametrize("signals", [[], [5, 6, 6]])
def test_gold_signals_of_other_traces(signals, yard, capsys):
    write_rows("gold.jsonl", [{"id": "a", "signals": signals}])  # of a step and its answer
    message = refused(annotate.main, ["t.jsonl", "out.jsonl", "--gold", "gold.jsonl"], capsys)
    assert f"{len(signals)} signals of id 'a', which has 1 steps" in message


def test_an_id_that_gold_cannot_have(yard, capsys):
    """The ids of gold signals are strings, those of traces are anything."""
    write_rows("t.jsonl", [{**GOOD, "id": ["a", ESCAPES * 1000]}])
    before = tree(yard)
    message = refused(annotate.main, ["t.jsonl", "out.jsonl", "--gold", "gold.jsonl"], capsys)
    assert "no gold signals for id ['a'" in message
    assert tree(yard) == before


# ------------------------------------------------------------------------------------- whole files
def test_two_processes_may_write_one_file(tmp_path):
    """On a fresh machine two runs that start together both write the test questions."""
    path = tmp_path / "t.txt"
    with replacing(path) as ours:
        ours.write_text("ours")
        others = "import sys; from data.tools.files import write_text; write_text(sys.argv[1], 'x')"
        subprocess.run([sys.executable, "-c", others, str(path)], check=True, cwd=ROOT)
        assert path.read_text() == "x"
    assert path.read_text() == "ours" and list(tmp_path.iterdir()) == [path]


def test_ctrl_c_leaves_the_older_file_and_no_part(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt), replacing(path) as part:
        part.write_text("half of the ne")
        raise KeyboardInterrupt
    assert path.read_text() == "older" and list(tmp_path.iterdir()) == [path]


def test_a_file_of_test_questions_alone_trains_nobody(yard, capsys):
    questions = (f"q{number}?" for number in range(100))
    question = next(q for q in questions if prepare.split_of(q) == "test")
    write_rows("t.jsonl", [{**STEPS, "question": question}])
    before = files(yard)
    assert "t.jsonl: no training trace" in refused(train.main, ["--data", "t.jsonl"], capsys)
    assert files(yard) == before


# ------------------------------------------------------------------------------------------- flags
def teach(url):
    """Flags of annotate.py that ask a chat model at this address once."""
    return f"bare.jsonl o.jsonl --teach --model m --tries 1 --base_url '{url}'"


# In each table: the arguments, in a yard, and what the message must name.
TRAIN_FLAGS = [
    # numbers
    ("--beta 2", "--beta"),
    ("--beta nan", "--beta"),
    ("--beta -0.1", "--beta"),
    ("--beta inf", "--beta"),
    ("--beta ''", "--beta"),
    ("--beta 1e400", "--beta"),
    ("--beta", "--beta"),
    ("--depth 0", "--depth"),
    ("--depth two", "--depth"),
    ("--depth 65", "--depth"),
    ("--depth 1_0_0", "--depth"),
    ("--batch_size -1", "--batch_size"),
    ("--batch_size 1e3", "--batch_size"),
    ("--max_steps 1.5", "--max_steps"),
    ("--max_steps 0", "--max_steps"),
    (f"--max_steps {10**400}", "--max_steps"),
    (f"--max_steps {'9' * 5000}", "--max_steps"),
    ("--minutes inf", "--minutes"),
    ("--minutes 1e400", "--minutes"),
    ("--minutes -1", "--minutes"),
    ("--muon_lr inf", "--muon_lr"),
    ("--adam_lr nan", "--adam_lr"),
    ("--clip -1", "--clip"),
    ("--muon_lr 0 --adam_lr 0", "above 0"),
    ("--epochs 2 --max_steps 700", "--max_steps: leave it out"),
    ("--init folder --max_steps 700", "--max_steps: leave it out"),
    ("--minutes 2 --max_steps 700", "--max_steps: leave it out"),
    ("--grid plan.jsonl --depth 2 --minutes 1", "--depth: the plan"),
    ("--first_tasks web_of_lie", "unknown task 'web_of_lie'"),
    (f"--n_train {10**12}", "--n_train"),
    ("--n_train 0", "--n_train"),
    ("--n_val -1", "--n_val"),
    (f"--block_size {10**12}", "--block_size"),
    ("--block_size 7", "--block_size"),
    ("--vocab_size 0", "--vocab_size"),
    (f"--vocab_size {10**9}", "--vocab_size"),
    (f"--seed {2**31 + 1}", "--seed"),
    ("--seed -1", "--seed"),
    ("--first_share 1.1", "--first_share"),
    ("--eval_interval 0", "--eval_interval"),
    ("--show -1", "--show"),
    # words
    ("--method magic", "--method"),
    ("--method ''", "--method"),
    ("--classes 2", "--classes"),
    ("--view some", "--view"),
    ("--conditioning 7", "--conditioning"),
    ("--device tpu", "--device"),
    ("--compile False", "False"),
    ("--tasks sudoku", "sudoku"),
    ("--tasks Navigate", "Navigate"),
    ("--bogus", "--bogus"),
    ("--bet 0.5", "--bet"),
    ("extra", "extra"),
    # what is read
    ("--data no/such/file.jsonl", "no/such/file.jsonl"),
    ("--data .", "."),
    ("--data ''", ""),
    ("--data loop.jsonl", "loop.jsonl"),
    ("--data t.jsonl", "annotate.py"),
    ("--data t.jsonl/x", "t.jsonl/x"),
    (f"--data {'x' * 300}", "xxx"),
    ("--data s.pt", "not UTF-8"),
    ("--data a.jsonl --tasks none", "a.jsonl has no row of the task 'none'"),
    ("--data a.jsonl --tasks other,none", "'none'"),
    ("--data a.jsonl --labels gold", "--labels"),
    ("--data a.jsonl --forks", "--forks"),
    ("--data /proc/self/mem", "/proc/self/mem"),
    ("--reference scaffold", "--reference: goes with --grid"),
    ("--resume", "no such checkpoint"),
    ("--resume --out_dir t.jsonl", "ckpt.pt"),
    # what is written
    ("--out_dir t.jsonl", "t.jsonl"),
    ("--out_dir t.jsonl/deeper/still", "t.jsonl"),
    ("--out_dir loop.jsonl", "loop.jsonl"),
    ("--data metrics.jsonl --out_dir .", "also the input"),
]
GRID_FLAGS = [
    ("none.jsonl", "none.jsonl"),
    ("t.jsonl", '"arm" is missing'),
    (".", "."),
]
ANNOTATE_FLAGS = [
    # what is read
    ("", "required"),
    ("a.jsonl", "required"),
    ("no/such/file.jsonl b.jsonl", "no/such/file.jsonl"),
    ("folder b.jsonl", "folder"),
    ("bare.jsonl o.jsonl", '"trace" is missing'),
    ("a.jsonl o.jsonl", '"trace" is missing'),
    ("gsm8k:dev o.jsonl", "no split 'dev'"),
    ("gsm9k:train o.jsonl", "gsm9k:train"),
    ("t.jsonl o.jsonl --gold none.jsonl", "none.jsonl"),
    ("t.jsonl o.jsonl --gold folder", "folder"),
    ("t.jsonl o.jsonl --trace_field none", '"none" is missing'),
    ("t.jsonl o.jsonl --trace_field ''", '""'),
    ("t.jsonl o.jsonl --trace_field answer", "--trace_field"),
    ("t.jsonl o.jsonl --trace_field question", "--trace_field"),
    ("t.jsonl o.jsonl --trace_field line", "--trace_field"),
    ("t.jsonl o.jsonl --trace_field 'trace|x'", "--trace_field"),
    # what is written
    ("t.jsonl t.jsonl", "also the input"),
    ("t.jsonl ./folder/../t.jsonl", "also the input"),
    ("t.jsonl gold.jsonl --gold gold.jsonl", "also the input"),
    ("t.jsonl folder", "folder"),
    ("t.jsonl ''", "folder"),
    ("t.jsonl .", "folder"),
    ("t.jsonl ..", "folder"),
    ("t.jsonl /", "folder"),
    ("t.jsonl pipe", "device"),
    ("t.jsonl q.jsonl/out.jsonl", "q.jsonl"),
    ("t.jsonl q.jsonl/b/out.jsonl", "q.jsonl"),
    (f"t.jsonl {'x' * 300}", "xxx"),
    ("t.jsonl o.png", "another output"),
    ("t.jsonl o.jsonl --figure t.jsonl", "also the input"),
    ("t.jsonl o.jsonl --figure o.jsonl", "another output"),
    ("t.jsonl o.jsonl --figure o.exe", ".png"),
    ("t.jsonl o.jsonl --figure o", ".png"),
    ("t.jsonl o.jsonl --figure folder", "folder"),
    ("t.jsonl o.jsonl --figure q.jsonl/o.png", "q.jsonl"),
    # the chat model
    ("t.jsonl o.jsonl --labeler gpt", "--labeler"),
    ("t.jsonl o.jsonl --labeler llm --model ''", "--model"),
    ("t.jsonl o.jsonl --labeler llm --model m --gold gold.jsonl", "--gold"),
    ("bare.jsonl o.jsonl --teach", "--model"),
    ("t.jsonl o.jsonl --teach --model m", "has a trace already"),
    ("t.jsonl o.jsonl --concurrency 0", "between"),
    ("t.jsonl o.jsonl --tries 21", "between"),
    ("t.jsonl o.jsonl --timeout nan", "between"),
    ("t.jsonl o.jsonl --timeout 0", "between"),
    ("t.jsonl o.jsonl --timeout inf", "between"),
    ("t.jsonl o.jsonl --temperature 2.1", "between"),
    ("t.jsonl o.jsonl --max_tokens 0", "between"),
    ("t.jsonl o.jsonl --keep none", "--keep"),
    # its address
    (teach(""), "base_url"),
    (teach("gpt2"), "base_url"),
    (teach("localhost:80"), "base_url"),
    (teach("ftp://x"), "base_url"),
    (teach("file:///etc/passwd"), "base_url"),
    (teach("http://"), "base_url"),
    (teach("http:///v1"), "base_url"),
    (teach("http://127.0.0.1:9/v1"), "no reply in 1 tries"),
    (teach("http://[::9"), "no reply in 1 tries"),
    (teach("http://127.0.0.1:99999"), "no reply in 1 tries"),
    (f"{teach('http://127.0.0.1:9')} --labeler llm", "no reply in 1 tries"),
]
EVALUATION_OPTIONS = ["n 3", "tasks a", "out x", "html x", "tau_from q.jsonl", "signals gold"]
SAMPLE_FLAGS = [
    # numbers and words
    ("--temperature -1 q", "--temperature"),
    ("--temperature nan q", "--temperature"),
    ("q --k 0", "--k"),
    ("q --k 1001", "--k"),
    ("q --tau 1.1", "--tau"),
    ("q --tau nan", "--tau"),
    ("q --top_k -1", "--top_k"),
    ("q --choose best", "--choose"),
    ("q --batch_size 0", "--batch_size"),
    ("q --seed 1e3", "--seed"),
    # the checkpoint
    ("q --ckpt no/such/ckpt.pt", "no such checkpoint"),
    ("q --ckpt folder", "folder"),
    ("q --ckpt t.jsonl", "t.jsonl"),
    ("q --ckpt ''", "checkpoint"),
    ("q --ckpt loop.jsonl", "loop.jsonl"),
    ("--compare one.pt", "--compare"),
    ("q --compare s.pt none.pt", "none.pt"),
    # the question
    ("q r --ckpt s.pt", "r"),
    ("'' --ckpt s.pt", "empty"),
    ("' \t' --ckpt s.pt", "empty"),
    # a flow of signals
    ("q --ckpt s.pt --flow recall --k 2", "--flow"),
    ("q --ckpt s.pt --flow recall,doubt", "'doubt'"),
    ("q --ckpt s.pt --flow ,", "''"),
    ("q --ckpt s.pt --flow and", "more than one"),
    ("q --ckpt s.pt --flow '\x1b[31m'", "signal"),
    # an evaluation
    ("--eval none.jsonl --ckpt no.pt", "no.pt"),
    ("--eval none.jsonl --ckpt s.pt", "none.jsonl"),
    ("--eval folder --ckpt s.pt", "folder"),
    ("--eval t.jsonl --ckpt s.pt --out t.jsonl", "also the input"),
    ("--eval q.jsonl --ckpt s.pt --out s.pt", "also the input"),
    ("--eval q.jsonl --ckpt s.pt --out folder", "folder"),
    ("--eval q.jsonl --ckpt s.pt --out pipe", "device"),
    ("--eval q.jsonl --ckpt s.pt --out t.jsonl/o.jsonl", "t.jsonl"),
    ("--eval q.jsonl --ckpt s.pt --tasks navigate", "navigate"),
    ("--eval q.jsonl --ckpt s.pt --tasks other,navigate", "navigate"),
    ("--eval q.jsonl --ckpt s.pt --tasks 'other, other'", "' other'"),
    ("--eval commonsenseqa:none --ckpt s.pt", "no split 'none'"),
    ("--eval q.jsonl --ckpt s.pt --signals gold", "has no trace"),
    ("--eval q.jsonl --ckpt s.pt --signals random --k 2", "--signals random"),
    ("--eval q.jsonl --ckpt s.pt --signals some", "--signals"),
    ("--eval q.jsonl --ckpt s.pt --flow recall", "--flow"),
    ("--eval q.jsonl --compare s.pt s.pt", "--compare"),
    ("q --eval q.jsonl --ckpt s.pt", "leave out the question"),
    *[(f"q --ckpt s.pt --{option}", "goes with --eval") for option in EVALUATION_OPTIONS],
]
PREPARE_FLAGS = [
    ("--tasks sudoku", "sudoku"),
    ("--tasks ''", "unknown task ''"),
    ("--lengths 7", "--lengths"),
    ("--lengths 9-3", "--lengths"),
    ("--lengths 1-3", "--lengths"),
    ("--lengths -3", "--lengths"),
    (f"--lengths 2-{10**9}", "--lengths"),
    (f"--lengths {'9' * 5000}-{'9' * 5001}", "--lengths"),
    ("--lengths 2-2 --tasks boolean_expressions", "2 tokens"),
    ("--lengths 3-3 --tasks boolean_expressions --n_train 3", "widen"),
    ("--lengths 900-900 --tasks web_of_lies", "--lengths"),
    ("--n_train -5", "between"),
    (f"--n_test {10**30}", "between"),
    ("--n_train x", "--n_train"),
    ("--n_val 1.5", "--n_val"),
    ("--seed nan", "--seed"),
    ("--out_dir t.jsonl --n_train 1", "t.jsonl"),
    ("--out_dir t.jsonl/x --n_train 1", "t.jsonl"),
    ("--bogus", "--bogus"),
]
BENCHMARK_FLAGS = [
    ("", "required"),
    ("sudoku", "sudoku"),
    ("gsm8k --split dev", "dev"),
    ("gsm8k --limit -1", "--limit"),
    ("gsm8k --limit inf", "--limit"),
    ("gsm8k --file none.jsonl", "none.jsonl"),
    ("gsm8k --file folder", "folder"),
    ("gsm8k --file t.py", "t.py"),
    ("gsm8k --file q.jsonl", '"question" is missing'),
    ("gsm8k --file t.jsonl", "no rows, dropped 1: no answer"),
    ("gsm8k --file t.jsonl --out t.jsonl", "also the input"),
    ("gsm8k --file t.jsonl --out folder", "folder"),
    ("gsm8k --file t.jsonl --out q.jsonl/x", "q.jsonl"),
    ("strategyqa --file t.jsonl", "not a row"),
    ("commonsenseqa --file t.jsonl", '"choices" is missing'),
    ("short_cot --split train", "not on the Hub"),
]
PROGRAMS = [
    (train.main, TRAIN_FLAGS),
    (grid.main, GRID_FLAGS),
    (annotate.main, ANNOTATE_FLAGS),
    (sample.main, SAMPLE_FLAGS),
    (prepare.main, PREPARE_FLAGS),
    (benchmarks.main, BENCHMARK_FLAGS),
]
FLAGS = [(main, flags, says) for main, table in PROGRAMS for flags, says in table]
FLAG_IDS = [f"{main.__module__} {flags[:60]}" for main, flags, _ in FLAGS]


@pytest.mark.parametrize("main, flags, says", FLAGS, ids=FLAG_IDS)
def test_bad_flags(main, flags, says, yard, capsys):
    before = files(yard)
    assert says in refused(main, shlex.split(flags), capsys)
    assert files(yard) == before


def test_what_a_student_cannot_do_is_refused():
    """Clones have no signals; a student of few classes does not know all of them."""

    def check(*students, **flags):
        students = [SimpleNamespace(method=method, classes=n) for method, n in students]
        check_answering(sample.SampleConfig(**flags), None, students)

    scaffold, coarse, clone = ("scaffold", len(SIGNALS)), ("scaffold", 3), ("clone", len(SIGNALS))
    for name, value in {"tau": 0.9, "prune": True, "flow": "recall"}.items():
        check(scaffold, **{name: value})
        with pytest.raises(UserError, match=f"--{name}"):
            check(clone, **{name: value})
    check(scaffold, eval="q.jsonl", tau_from="v.jsonl")
    with pytest.raises(UserError, match="--tau_from: a clone has no signals"):
        check(clone, eval="q.jsonl", tau_from="v.jsonl")
    with pytest.raises(UserError, match="--tau: --tau_from chooses it"):
        check(scaffold, eval="q.jsonl", tau_from="v.jsonl", tau=0.5)
    check(("scaffold", N_CLASSES), prune=True)
    check(coarse, tau=0.9, flow="recall")
    with pytest.raises(UserError, match="--prune.*--classes"):
        check(coarse, prune=True)
    check(clone, scaffold, tau=0.9, prune=True, flow="recall")  # the clone goes without
    check(scaffold, clone, flow="recall")
    with pytest.raises(UserError, match="--temperature"):
        check(scaffold, clone, k=2)
    check(scaffold, clone, k=2, temperature=1.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "--device cuda" in refused(train.main, ["--device", "cuda"], capsys)


def test_help_shows_every_default(capsys):
    for main in (train.main, sample.main, annotate.main):
        with pytest.raises(SystemExit) as e:
            main(["--help"])
        assert e.value.code == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert shown.count("(default:") >= 3


# ------------------------------------------------------------------------------------- checkpoints
WRONG_ENTRIES = [  # the entry of a checkpoint, and the wrong value there; KeyError: no such entry
    # the format
    ("format", 99),
    ("format", 1),
    ("format", "3"),
    ("format", None),
    ("format", [3]),
    ("format", torch.zeros(3)),
    ("format", ESCAPES),
    ("format", KeyError),
    # the settings of the model, and those that its weights do not fit
    ("gpt", []),
    ("gpt", None),
    ("gpt", KeyError),
    ("gpt/bogus", 1),
    ("gpt/n_embd", "64"),
    ("gpt/n_embd", KeyError),
    ("gpt/vocab_size", KeyError),
    ("gpt/n_layer", 1),
    ("gpt/n_layer", 3),
    ("gpt/n_head", 1),
    ("gpt/n_signals", 8),
    ("gpt/qk_norm", False),
    ("gpt/qkv_bias", True),
    # the weights
    ("model", {}),
    ("model", [1]),
    ("model", None),
    ("model", KeyError),
    ("model/extra", torch.zeros(1)),
    ("model/norm.weight", torch.zeros(3)),
    ("model/norm.weight", torch.zeros(64, 2)),
    ("model/norm.weight", [0.0] * 64),
    ("model/norm.weight", "x"),
    ("model/embed.weight", KeyError),
    # the tokenizer
    ("pieces", 5),
    ("pieces", [1, 2]),
    ("pieces", [None]),
    ("pieces", KeyError),
    # the rest
    ("classifier", KeyError),
    ("config", []),
    ("config", None),
    ("config", KeyError),
    ("config/method", KeyError),
    ("config/classes", KeyError),
    ("seen", [1]),
    ("seen", torch.tensor(1)),
    ("seen", None),
    ("seen", KeyError),
    ("tokens_per_second", "fast"),
    ("tokens_per_second", None),
    ("tokens_per_second", KeyError),
]


def with_entry(saved, path, value):
    """A copy of the checkpoint's dict in which one entry ("a/b") is another one, or missing."""
    changed = copy.deepcopy(saved)
    *outer, last = path.split("/")
    folder = changed
    for key in outer:
        folder = folder[key]
    if value is KeyError:
        del folder[last]
    else:
        folder[last] = value
    return changed


@pytest.mark.parametrize("path, value", WRONG_ENTRIES, ids=range(len(WRONG_ENTRIES)))
def test_a_checkpoint_with_a_wrong_entry(path, value, saved, yard, capsys, monkeypatch):
    changed = with_entry(saved, path, value)
    # To write each of them would take longer than all else.
    monkeypatch.setattr(torch, "load", lambda *args, **options: changed)
    assert "s.pt" in refused(sample.main, ["q", "--ckpt", "s.pt"], capsys)


def refuse_checkpoint(path, capsys):
    """Check that sample.py refuses the file by its name and leaves all as it was."""
    before = tree(Path())
    assert path in refused(sample.main, ["q", "--ckpt", path], capsys)
    assert tree(Path()) == before


NO_CHECKPOINTS = [
    b"",
    b"hello",
    b"\0" * 10000,
    b"cos\nsystem\n(S'true'\ntR.",  # a pickle that calls the shell
    b"PK\x05\x06" + b"\0" * 18,  # an empty zip
]


@pytest.mark.parametrize("contents", NO_CHECKPOINTS, ids=range(len(NO_CHECKPOINTS)))
def test_a_file_that_is_no_checkpoint(contents, yard, capsys):
    Path("other.pt").write_bytes(contents)
    refuse_checkpoint("other.pt", capsys)


@pytest.mark.parametrize("contents", [{"model": {}}, [1], torch.zeros(3)], ids=range(3))
def test_a_foreign_checkpoint(contents, yard, capsys):
    torch.save(contents, "foreign.pt")
    refuse_checkpoint("foreign.pt", capsys)


def test_a_checkpoint_of_another_format(saved, yard, capsys):
    torch.save({**saved, "format": 99}, "future.pt")
    refuse_checkpoint("future.pt", capsys)


def test_a_truncated_checkpoint(checkpoint, yard, capsys):
    whole = checkpoint.read_bytes()
    size = len(whole)
    for n_bytes in (1, 100, size // 4, size // 2, size - 5000, size - 20, size - 1):
        Path("cut.pt").write_bytes(whole[:n_bytes])
        refuse_checkpoint("cut.pt", capsys)


class Evil:
    """Makes a file where it is unpickled."""

    def __reduce__(self):
        return open, ("owned", "w")


def replace_pickle(checkpoint, path):
    """Write the checkpoint to path with an Evil in place of its pickle, its weights as they are."""
    old_bytes = io.BytesIO(checkpoint.read_bytes())
    with zipfile.ZipFile(old_bytes) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            is_pickle = name.endswith("data.pkl")
            new.writestr(name, pickle.dumps(Evil(), 2) if is_pickle else old.read(name))


def test_no_code_of_a_checkpoint_is_run(checkpoint, saved, yard, capsys):
    torch.save({**saved, "pieces": Evil()}, "evil.pt")
    torch.save(Evil(), "evil-legacy.pt", _use_new_zipfile_serialization=False)
    Path("evil-pickle.pt").write_bytes(pickle.dumps(Evil()))
    replace_pickle(checkpoint, "evil-inside.pt")
    for path in ("evil.pt", "evil-legacy.pt", "evil-pickle.pt", "evil-inside.pt"):
        refuse_checkpoint(path, capsys)
    assert not Path("owned").exists()
    torch.load("evil.pt", weights_only=False)
    assert Path("owned").exists()  # it would have been run


def test_resume_of_a_foreign_checkpoint(saved, yard, capsys):
    torch.save({"model": {}}, "ckpt.pt")
    assert "ckpt.pt" in refused(train.main, ["--resume", "--out_dir", "."], capsys)
    torch.save({**saved, "config": {"beta": 0.1}}, "ckpt.pt")
    refused(train.main, ["--resume", "--out_dir", ".", "--depth", "2"], capsys)


# -------------------------------------------------------------------------- odd, but legal, input
ODD = [
    # characters
    "\x00",
    "<|end|> <|step|><|endoftext|>",
    "👩‍👩‍👧 \u202e\u2066",
    ESCAPES,
    "שלום עולם",
    "﷽" * 50,
    "a\u0301" * 50,
    "\u2028\u2029\u0085",
    "\ufeff\ufffe\uffff",
    "\U0010ffff",
    "\u200b",
    "\r\n\t\x0b\x0c x",
    # what other programs would obey, or take for something else
    "%s {} {0} %(x)s $(id) `id` ; rm",
    "../../etc/passwd",
    "None",
    "nan",
    "{}",
    "1e400",
    # long ones, for the patterns of the checkers
    "\\boxed{" * 200,
    "(" * 3000,
    "-" * 3000,
    "9" * 9000,
    "9" * 9000 + " - " + "8" * 9000 + " = 1",
    "True and " * 400 + "is",
    "answer " * 500,
    "=" * 500,
    "a" * 10**6,
    "So 1 + 1 = " + "1/" * 90 + "1",
    "if you, " * 300,
    "[[[[" * 99,
    # questions that make no sense
    "Question: Ada lies. Does Bob tell the truth?",
    "Question: Ada says Ada lies. Does Ada tell the truth?",
    "If you follow these instructions, do you return to the starting point? Take 999999999 steps.",
    "not is",
    "( ) is",
    "I have a . How many?",
]


def training_question(text):
    """The text and a number, such that the question is one of the training split."""
    questions = (f"{text} {n}" for n in range(999))
    return next(q for q in questions if prepare.split_of(q) == "train")


def odd_row(i, text):
    """A row with the text in every one of its fields; a task and an id of any type."""
    tasks = [text, i, None, [text], {"a": text}, True, 1.5, float("nan")]
    ids = [i, text, None, [1], {}, 2.5, float("inf"), False]
    return {
        "question": training_question(text),
        "answer": text if text.strip() else "x",
        "trace": f"{text}\n\nSo {text}\n\n{text}",
        "extra": {"deep": [[[text]]]},
        "task": tasks[i % len(tasks)],
        "id": ids[i % len(ids)],
    }


def values(rows, field):
    return [row[field] for row in rows]


@pytest.mark.slow
def test_odd_but_legal_files(yard, capsys, monkeypatch):
    """Every odd text in every field: annotated, encoded for training, and evaluated."""
    monkeypatch.setattr(sample, "reason", functools.partial(sample.reason, max_tokens=4))
    rows = [odd_row(i, text) for i, text in enumerate(ODD)]
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    # Of two equal keys the last one counts.
    lines.append(b'{"answer": 5, "question": 7, ' + line(n=10**300)[1:])
    byte_order_mark = b"\xef\xbb\xbf"
    Path("odd.jsonl").write_bytes(byte_order_mark + b"\r\n \n\n".join(lines))

    argv = ["odd.jsonl", "new/folder/out.jsonl", "--figure", "new/other/f.svg"]
    accepted(annotate.main, argv, capsys)
    assert Path("new/other/f.svg").exists()
    annotated = read_jsonl("new/folder/out.jsonl")
    assert values(annotated, "question") == values([*rows, GOOD], "question")
    assert values(annotated, "answer") == values([*rows, GOOD], "answer")
    assert values(annotated[:-1], "extra") == values(rows, "extra")
    assert annotated[-1]["n"] == 10**300

    argv = ["--data", "new/folder/out.jsonl", "--show", "99", "--block_size", "100000"]
    shown = accepted(train.main, argv, capsys)
    assert shown.count("<|end|>") >= len(rows) - 1  # the one of a million letters may be too long

    argv = ["--eval", "new/folder/out.jsonl", "--ckpt", "s.pt", "--out", "o.jsonl", "--k", "2"]
    accepted(sample.main, argv, capsys)
    records = read_jsonl("o.jsonl")
    assert values(records, "question") == values(annotated, "question")
    assert all(isinstance(record["correct"], bool) for record in records)
    assert all(isinstance(record["task"], str) for record in records)


def check_prompt(prompt, flags, tokenizer, capsys):
    """An answer, or one line where the prompt is empty or leaves no room for an answer."""
    argv = [*shlex.split(flags), "--", prompt]
    if not prompt.strip():
        assert "empty" in refused(sample.main, argv, capsys)
    elif len(prompt) < 1000:
        out = accepted(sample.main, argv, capsys)
        assert ("not in the vocabulary" in out) == bool(unknown_words(prompt, tokenizer))
    elif len(tokenizer.encode(prompt)) > 1020:
        assert "shorten" in refused(sample.main, argv, capsys)


@pytest.fixture
def short_answers(yard, monkeypatch):
    """Answers of six tokens, a terminal of one column. Gives the student's tokenizer."""
    monkeypatch.setattr(sample, "reason", functools.partial(sample.reason, max_tokens=6))
    monkeypatch.setenv("COLUMNS", "1")
    return load_student("s.pt", "cpu").tokenizer


@pytest.mark.slow
def test_odd_prompts(short_answers, capsys):
    for prompt in [*ODD, "\udcff"]:
        check_prompt(prompt, "--ckpt s.pt", short_answers, capsys)


ODD_FLAGS = [
    "--ckpt s.pt --temperature 1 --top_k 1000000000",
    "--ckpt s.pt --temperature 1e-45",
    "--ckpt s.pt --temperature 100 --seed 2147483648",
    "--ckpt s.pt --temperature -0",
    "--ckpt s.pt --tau 1",
    "--ckpt s.pt --flow recall,addition --prune",
    "--ckpt s.pt --k 3",
    "--ckpt s.pt --k 3 --choose score",
    "--compare s.pt s.pt",
]


@pytest.mark.parametrize("flags", ODD_FLAGS)
def test_odd_prompts_with_flags(flags, short_answers, capsys):
    for prompt in [*ODD[:6], "\udcff\udc80 \ud800", "x\ny"]:
        check_prompt(prompt, flags, short_answers, capsys)


def test_a_question_without_an_answer(yard, capsys):
    write_rows("q.jsonl", [{"question": "q"}])
    message = refused(sample.main, ["--eval", "q.jsonl", "--ckpt", "s.pt"], capsys)
    assert '"answer" or "target" is missing' in message


def test_a_question_that_is_too_long(yard, capsys):
    """Alone it is refused; in an evaluation it counts as wrong."""
    question = "word " * 5000
    assert "shorten" in refused(sample.main, [question, "--ckpt", "s.pt"], capsys)
    write_rows("q.jsonl", [{"input": question, "target": "x"}])
    accepted(sample.main, ["--eval", "q.jsonl", "--ckpt", "s.pt", "--out", "o.jsonl"], capsys)
    assert values(read_jsonl("o.jsonl"), "correct") == [False]


# -------------------------------------------------------------------------------- as real processes
def start(command, folder, **options):
    """Run Python with these arguments in a folder. Returns the finished process."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        [ROOT / "train.py", "--beta", "7"],
        [ROOT / "train.py", "--grid", "nothing.jsonl"],
        [ROOT / "sample.py", "q", "--ckpt", "nothing\n\x1b[31m.pt"],
        [ROOT / "annotate.py", "nothing.jsonl", "x.jsonl"],
        ["-m", "data.algorithmic.prepare", "--bogus\x1b[31m\n"],
    ],
    ids=range(5),
)
def test_as_a_real_process(command, tmp_path):
    done = start(command, tmp_path, text=True)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


@pytest.mark.slow
def test_the_end_of_the_input_ends_the_questions(trained, tmp_path):
    command = [ROOT / "sample.py", "--tau", "1", "--ckpt", trained / "ckpt.pt"]
    done = start(command, tmp_path, input=b"\xff\x00<|end|>\x1b[31m")
    assert done.returncode == 0 and not done.stderr
    assert b"\x1b" not in done.stdout
