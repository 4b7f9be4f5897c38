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

import pytest
import torch

import annotate
import sample
import train
from data.algorithmic import prepare
from data.benchmarks import prepare as benchmarks
from data.experiments import grid
from data.tools.files import read_jsonl
from data.tools.flags import run_program as run

ROOT = Path(__file__).parent.parent
GOOD = {"question": "q?", "trace": "So 1.", "answer": "1"}
STEPS = {
    "question": "q?",
    "answer": "1",
    "steps": [{"signal": "Contrast and Concession", "text": "But 1."}],
}
pytestmark = pytest.mark.usefixtures("one_thread")
ESCAPES = "\x1b[31mred\x1b]0;title\x07\x08\x9b2J"  # what would recolour, rename or clear a terminal


def refused(main, argv, capsys):
    """The one line main refuses argv with; run() is what the programs go through."""
    with pytest.raises(SystemExit) as e:
        run(functools.partial(main, argv))
    line = capsys.readouterr().err
    assert (
        e.value.code == 2
        and line.startswith("error: ")
        and line.endswith("\n")
        and line[:-1].isprintable()
        and len(line) < 600
    ), line
    return line[len("error: ") : -1]


def accepted(main, argv, capsys):
    """What main prints: nothing that a terminal would obey."""
    with pytest.raises(SystemExit) as e:
        run(functools.partial(main, argv))
    out, err = capsys.readouterr()
    assert not e.value.code and not err, err
    assert out.replace("\n", "").isprintable()
    return out


def tree(folder):
    return {p: p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


@pytest.fixture
def yard(tmp_path, monkeypatch, trained):
    """A working directory with a good file of every kind, a folder, a pipe, a link to itself."""
    monkeypatch.chdir(tmp_path)
    for name, row in (
        ("t", {**GOOD, "id": "a"}),
        ("a", STEPS),
        ("q", {"input": "q", "target": "1"}),
        ("gold", {"id": "a", "signals": [5, 6]}),
        ("bare", {"question": "q", "answer": "1"}),
        (
            "plan",
            {
                "arm": "x",
                "tasks": ["navigate"],
                "n_train": [9],
                "seeds": [0],
                "questions": 1,
                "flags": {},
            },
        ),
    ):
        Path(f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    Path("folder").mkdir()
    Path("loop.jsonl").symlink_to("loop.jsonl")
    os.mkfifo("pipe")
    (tmp_path / "s.pt").symlink_to(trained / "ckpt.pt")
    return tmp_path


def row(**other):
    return json.dumps({**GOOD, **other}).encode()


TRACES = [  # file contents, what the line must name
    (b"", "no rows"),
    (b"\n\n", "no rows"),
    (b"{", "line 1: not JSON"),
    (b'{"question": "q"}{}', "line 1: not JSON"),
    (b"[1]", "line 1: a list"),
    (b'"x"', "line 1: a str"),
    (b"null", "line 1: a NoneType"),
    (b"3", "line 1: a int"),
    (b"NaN", "line 1: a NoneType"),
    (b"[" * 100000, "line 1: not JSON (nested too deep)"),
    (b'{"question": ' + b"[" * 100000, "nested too deep"),
    (b"\xff\xfe{}", "line 1: not UTF-8"),
    *[
        (row().decode().encode(code), "line 1: not")
        for code in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp500")
    ],
    (
        json.dumps({**GOOD, "question": "é"}, ensure_ascii=False).encode("latin-1"),
        "not UTF-8 (byte 14); save the file as UTF-8",
    ),
    (row()[:-3] + b"\xe2\x82", "not UTF-8"),
    (b'{"question": "\xc0\x80"}', "not UTF-8"),
    (b'{"question": "\xed\xa0\x80"}', "not UTF-8"),
    (b"\0\0\0", "not JSON"),
    (b'{"question": "a\0b"}', "not JSON"),
    (b"\x1f\x8b\x08\0\0", "not UTF-8"),
    (b"\x89PNG\r\n", "not UTF-8"),
    (b"PK\x03\x04", "not JSON"),
    (row() + b"\n{bad", "line 2: not JSON"),
    (row() + b"\r\n\r\n" + row()[:-1], "line 3: not JSON"),
    (row() + b"\r" + row(), "line 1: not JSON"),
    (b'{"question": "\\ud800", "trace": "x", "answer": "1"}', "lone surrogate"),
    (b'{"\\udfff": 1}', "lone surrogate"),
    (row()[:-1] + b', "a": ["\\ud83d"]}', "lone surrogate"),
    (b"{'question': 'q'}", "not JSON"),
    (b'{"question": "q",}', "not JSON"),
    (b"question,trace,answer\n", "not JSON"),
    (b"// a comment\n", "not JSON"),
    (b'{\n  "question": "q"\n}', "line 1: not JSON"),
    (b'{"question": "a\nb"}', "not JSON"),
    (b"<html>" + b"x" * 10**6, "not JSON"),
    (b'{"question": "q", "trace": "t", "answer": ' + b"9" * 5000 + b"}", "too many digits"),
    (row()[:-1] + b', "answer": 2}', '"answer" is a int'),
    *[
        (row(answer=0).replace(b": 0", b": " + n), "is missing")
        for n in (b"NaN", b"Infinity", b"-Infinity", b"null")
    ],
    (row(answer=0).replace(b": 0", b": 1e400"), "a float"),
    (row(question=0).replace(b": 0", b": -0"), "a int"),
    (row(question={}), "a dict"),
    (row(answer="\u2003\u00a0"), "empty"),
    (row(trace=["So 1."]), '"trace" is a list'),
    (json.dumps([GOOD, GOOD]).encode(), "line 1: a list"),
    (row() + b"\n" + row(answer="")[:-1] + b"}", "line 2"),
    *[
        (
            json.dumps({k: v for k, v in GOOD.items() if k != gone}).encode(),
            f'field "{gone}" is missing',
        )
        for gone in GOOD
    ],
    *[
        (json.dumps({**GOOD, field: value}).encode(), f'field "{field}" is {kind}')
        for field in GOOD
        for value, kind in (
            (3, "a int"),
            ([], "a list"),
            ("", "empty"),
            (" \n", "empty"),
            (True, "a bool"),
        )
    ],
]


@pytest.mark.parametrize("content, says", TRACES, ids=range(len(TRACES)))
def test_malformed_traces(content, says, tmp_path, capsys):
    (tmp_path / "t.jsonl").write_bytes(content)
    line = refused(annotate.main, [str(tmp_path / "t.jsonl"), str(tmp_path / "out.jsonl")], capsys)
    assert says in line and "t.jsonl" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.jsonl"]


def step(**other):
    return {
        **STEPS,
        "steps": [{"signal": "Contrast and Concession", "text": "But 1.", **other}],
    }


BROKEN_STEPS = [
    "x",
    1,
    {"0": "x"},
    ["x"],
    [None],
    [[]],
    [ESCAPES],
    step(signal="Doubt")["steps"],
    step(signal="contrast and concession")["steps"],
    step(signal=3)["steps"],
    step(signal=[])["steps"],
    step(signal=None)["steps"],
    step(text=" ")["steps"],
    step(text=None)["steps"],
    step(text=["x"])["steps"],
    [{"signal": "Contrast and Concession"}],
    [{"text": "x"}],
    step()["steps"] + [{}],
    step(signal=ESCAPES * 100)["steps"],
]


@pytest.mark.parametrize("steps", BROKEN_STEPS, ids=range(len(BROKEN_STEPS)))
def test_malformed_steps(steps, yard, capsys):
    Path("bad.jsonl").write_text(
        json.dumps(STEPS) + "\n" + json.dumps({**STEPS, "steps": steps}) + "\n"
    )
    before = tree(yard)
    for main, argv in (
        (train.main, ["--data", "bad.jsonl"]),
        (sample.main, ["--eval", "bad.jsonl", "--ckpt", "s.pt"]),
    ):
        line = refused(main, argv, capsys)
        assert "bad.jsonl, line 2" in line and "step" in line
    assert {p for p, content in tree(yard).items() if p not in before} <= {yard / "out"}


ANNOTATED = [
    ({**GOOD}, "annotate.py"),
    ({**STEPS, "steps": []}, "steps"),
    ({**STEPS, "answer": None}, '"answer"'),
    ({**STEPS, "question": "long " * 3000}, "block_size"),
]


@pytest.mark.parametrize("row, says", ANNOTATED, ids=range(len(ANNOTATED)))
def test_malformed_annotations(row, says, tmp_path, capsys):
    rows = (
        [row] + [{**STEPS, "question": f"long {i} " * 3000} for i in range(20)]
        if says == "block_size"
        else [row]
    )
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert says in refused(
        train.main,
        ["--data", str(tmp_path / "a.jsonl"), "--out_dir", str(tmp_path / "out")],
        capsys,
    )
    assert not (tmp_path / "out" / "ckpt.pt").exists()


GOLD = [
    ([], "a list"),
    ({"id": 5, "signals": [1]}, "a int"),
    ({"signals": [1]}, "missing"),
    ({"id": "b", "signals": [1]}, "no gold signals for id 'a'"),
    ({"id": "a"}, "must be a list"),
    *[
        ({"id": "a", "signals": s}, "must be a list of numbers from 0 to 6")
        for s in (
            3,
            "12",
            {},
            None,
            [7],
            [-1],
            ["1"],
            [1.5],
            [None],
            [[1]],
            [10**30],
            [float("nan")],
            [float("inf")],
        )
    ],
]


@pytest.mark.parametrize("gold, says", GOLD, ids=range(len(GOLD)))
def test_malformed_gold(gold, says, yard, capsys):
    Path("gold.jsonl").write_text(json.dumps(gold))
    before = tree(yard)
    assert says in refused(annotate.main, ["t.jsonl", "out.jsonl", "--gold", "gold.jsonl"], capsys)
    Path("t2.jsonl").write_text(
        json.dumps({**GOOD, "id": ["a", ESCAPES * 1000]})
    )  # no string, though gold ids are
    before[yard / "t2.jsonl"] = Path("t2.jsonl").read_bytes()
    Path("gold.jsonl").write_text('{"id": "a", "signals": [1]}')
    assert "no gold signals for id ['a'" in refused(
        annotate.main, ["t2.jsonl", "out.jsonl", "--gold", "gold.jsonl"], capsys
    )
    Path("gold.jsonl").write_text(json.dumps(gold))
    assert tree(yard) == before


FLAGS = [  # program, arguments, in a yard; what the line must name
    (grid.main, "none.jsonl", "none.jsonl"),
    (grid.main, "t.jsonl", '"arm" is missing'),
    (grid.main, ".", "."),
    *[
        (train.main, flags, says)
        for flags, says in (
            ("--bogus", "--bogus"),
            ("--beta 2", "--beta"),
            ("--beta nan", "--beta"),
            ("--beta -0.1", "--beta"),
            ("--beta inf", "--beta"),
            ("--beta ''", "--beta"),
            ("--beta 1e400", "--beta"),
            ("--depth 0", "--depth"),
            ("--depth two", "--depth"),
            ("--depth 65", "--depth"),
            ("--depth 1_0_0", "--depth"),
            ("--method magic", "--method"),
            ("--method ''", "--method"),
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
            (f"--n_train {10**12}", "--n_train"),
            ("--n_train 0", "--n_train"),
            ("--n_val -1", "--n_val"),
            (f"--block_size {10**12}", "--block_size"),
            ("--block_size 7", "--block_size"),
            ("--vocab_size 0", "--vocab_size"),
            (f"--vocab_size {10**9}", "--vocab_size"),
            (f"--seed {2**31 + 1}", "--seed"),
            ("--seed -1", "--seed"),
            ("--classes 2", "--classes"),
            ("--view some", "--view"),
            ("--first_share 1.1", "--first_share"),
            ("--eval_interval 0", "--eval_interval"),
            ("--conditioning 7", "--conditioning"),
            ("--device tpu", "--device"),
            ("--compile False", "False"),
            ("--tasks sudoku", "sudoku"),
            ("--tasks navigate,", None),
            ("--tasks Navigate", "Navigate"),
            ("--data no/such/file.jsonl", "no/such/file.jsonl"),
            ("--data .", "."),
            ("--data ''", ""),
            ("--data loop.jsonl", "loop.jsonl"),
            ("--data t.jsonl", "annotate.py"),
            ("--data t.jsonl/x", "t.jsonl/x"),
            ("--data " + "x" * 300, "xxx"),
            ("--data s.pt", "not UTF-8"),
            ("--data a.jsonl --tasks none", "no training trace"),
            ("--data /proc/self/mem", "/proc/self/mem"),
            ("extra", "extra"),
            ("--out_dir t.jsonl", "t.jsonl"),
            ("--out_dir t.jsonl/deeper/still", "t.jsonl"),
            ("--out_dir loop.jsonl", "loop.jsonl"),
            ("--data metrics.jsonl --out_dir .", "also the input"),
            ("--resume", "no such checkpoint"),
            ("--resume --out_dir t.jsonl", "ckpt.pt"),
            ("--beta", "--beta"),
            ("--show -1", "--show"),
            ("--bet 0.5", "--bet"),
        )
        if says is not None
    ],
    *[
        (annotate.main, flags, says)
        for flags, says in (
            ("", "required"),
            ("a.jsonl", "required"),
            ("t.jsonl t.jsonl", "also the input"),
            ("t.jsonl ./folder/../t.jsonl", "also the input"),
            ("no/such/file.jsonl b.jsonl", "no/such/file.jsonl"),
            ("folder b.jsonl", "folder"),
            ("t.jsonl folder", "folder"),
            ("t.jsonl ''", "folder"),
            ("t.jsonl .", "folder"),
            ("t.jsonl ..", "folder"),
            ("t.jsonl /", "folder"),
            ("t.jsonl pipe", "device"),
            ("t.jsonl q.jsonl/out.jsonl", "q.jsonl"),
            ("t.jsonl q.jsonl/b/out.jsonl", "q.jsonl"),
            ("t.jsonl " + "x" * 300, "xxx"),
            ("t.jsonl gold.jsonl --gold gold.jsonl", "also the input"),
            ("t.jsonl o.jsonl --gold none.jsonl", "none.jsonl"),
            ("t.jsonl o.jsonl --gold folder", "folder"),
            ("t.jsonl o.jsonl --figure t.jsonl", "also the input"),
            ("t.jsonl o.jsonl --figure o.jsonl", "another output"),
            ("t.jsonl o.png", "another output"),
            ("t.jsonl o.jsonl --figure o.exe", ".png"),
            ("t.jsonl o.jsonl --figure o", ".png"),
            ("t.jsonl o.jsonl --figure folder", "folder"),
            ("t.jsonl o.jsonl --figure q.jsonl/o.png", "q.jsonl"),
            ("t.jsonl o.jsonl --trace_field none", '"none" is missing'),
            ("t.jsonl o.jsonl --trace_field ''", '""'),
            ("t.jsonl o.jsonl --trace_field answer", "--trace_field"),
            ("t.jsonl o.jsonl --trace_field question", "--trace_field"),
            ("t.jsonl o.jsonl --trace_field line", "--trace_field"),
            ("t.jsonl o.jsonl --trace_field 'trace|x'", "--trace_field"),
            ("t.jsonl o.jsonl --labeler gpt", "--labeler"),
            ("bare.jsonl o.jsonl --teach", "--model"),
            ("t.jsonl o.jsonl --teach --model m", "has a trace already"),
            ("t.jsonl o.jsonl --labeler llm --model ''", "--model"),
            ("t.jsonl o.jsonl --concurrency 0", "between"),
            ("t.jsonl o.jsonl --tries 21", "between"),
            ("t.jsonl o.jsonl --timeout nan", "between"),
            ("t.jsonl o.jsonl --timeout 0", "between"),
            ("t.jsonl o.jsonl --timeout inf", "between"),
            ("t.jsonl o.jsonl --temperature 2.1", "between"),
            ("t.jsonl o.jsonl --max_tokens 0", "between"),
            ("t.jsonl o.jsonl --keep none", "--keep"),
            *[
                (
                    f"bare.jsonl o.jsonl --teach --model m --tries 1 --base_url '{url}'",
                    "base_url" if "9" not in url else "no reply in 1 tries",
                )
                for url in (
                    "",
                    "gpt2",
                    "localhost:80",
                    "ftp://x",
                    "file:///etc/passwd",
                    "http://",
                    "http:///v1",
                    "http://127.0.0.1:9/v1",
                    "http://[::9",
                    "http://127.0.0.1:99999",
                )
            ],
            (
                "t.jsonl o.jsonl --labeler llm --model m --tries 1 --base_url http://127.0.0.1:9",
                "no reply in 1 tries",
            ),
            ("gsm8k:dev o.jsonl", "no split 'dev'"),
            ("gsm9k:train o.jsonl", "gsm9k:train"),
            ("bare.jsonl o.jsonl", '"trace" is missing'),
            ("a.jsonl o.jsonl", '"trace" is missing'),
        )
    ],
    *[
        (sample.main, flags, says)
        for flags, says in (
            ("q --ckpt no/such/ckpt.pt", "no such checkpoint"),
            ("q --ckpt folder", "folder"),
            ("q --ckpt t.jsonl", "t.jsonl"),
            ("q --ckpt ''", "checkpoint"),
            ("q --ckpt loop.jsonl", "loop.jsonl"),
            ("--temperature -1 q", "--temperature"),
            ("--temperature nan q", "--temperature"),
            ("--compare one.pt", "--compare"),
            ("q --compare s.pt none.pt", "none.pt"),
            ("--eval none.jsonl --ckpt no.pt", "no.pt"),
            ("--eval none.jsonl --ckpt s.pt", "none.jsonl"),
            ("--eval folder --ckpt s.pt", "folder"),
            ("--eval t.jsonl --ckpt s.pt --out t.jsonl", "also the input"),
            ("--eval q.jsonl --ckpt s.pt --out s.pt", "also the input"),
            ("--eval q.jsonl --ckpt s.pt --out folder", "folder"),
            ("--eval q.jsonl --ckpt s.pt --out pipe", "device"),
            ("--eval q.jsonl --ckpt s.pt --out t.jsonl/o.jsonl", "t.jsonl"),
            ("--eval q.jsonl --ckpt s.pt --tasks navigate", "navigate"),
            ("--eval q.jsonl --ckpt s.pt --signals gold", "has no trace"),
            ("--eval q.jsonl --ckpt s.pt --signals random --k 2", "--signals random"),
            ("--eval q.jsonl --ckpt s.pt --signals some", "--signals"),
            ("--eval q.jsonl --ckpt s.pt --flow recall", "--flow"),
            ("q --ckpt s.pt --flow recall --k 2", "--flow"),
            ("q --ckpt s.pt --flow recall,doubt", "'doubt'"),
            ("q --ckpt s.pt --flow ,", "''"),
            ("q --ckpt s.pt --flow and", "more than one"),
            ("q --ckpt s.pt --flow $'\\x1b[31m'", "signal"),
            ("q --k 0", "--k"),
            ("q --k 1001", "--k"),
            ("q --tau 1.1", "--tau"),
            ("q --tau nan", "--tau"),
            ("q --top_k -1", "--top_k"),
            ("q --choose best", "--choose"),
            ("q --batch_size 0", "--batch_size"),
            ("q --seed 1e3", "--seed"),
            ("q r --ckpt s.pt", "r"),
            ("'' --ckpt s.pt", "empty"),
            ("' \t' --ckpt s.pt", "empty"),
        )
    ],
    *[
        (prepare.main, flags, says)
        for flags, says in (
            ("--tasks sudoku", "sudoku"),
            ("--tasks ''", "unknown task ''"),
            ("--lengths 7", "--lengths"),
            ("--lengths 9-3", "--lengths"),
            ("--lengths 1-3", "--lengths"),
            (f"--lengths 2-{10**9}", "--lengths"),
            (f"--lengths {'9' * 5000}-{'9' * 5001}", "--lengths"),
            ("--lengths -3", "--lengths"),
            ("--lengths 2-2 --tasks boolean_expressions", "2 tokens"),
            ("--lengths 900-900 --tasks web_of_lies", "--lengths"),
            ("--lengths 3-3 --tasks boolean_expressions --n_train 3", "widen"),
            ("--n_train -5", "between"),
            (f"--n_test {10**30}", "between"),
            ("--n_train x", "--n_train"),
            ("--n_val 1.5", "--n_val"),
            ("--seed nan", "--seed"),
            ("--out_dir t.jsonl --n_train 1", "t.jsonl"),
            ("--out_dir t.jsonl/x --n_train 1", "t.jsonl"),
            ("--bogus", "--bogus"),
        )
    ],
    *[
        (benchmarks.main, flags, says)
        for flags, says in (
            ("", "required"),
            ("sudoku", "sudoku"),
            ("gsm8k --split dev", "dev"),
            ("gsm8k --limit -1", "--limit"),
            ("gsm8k --limit inf", "--limit"),
            ("gsm8k --file none.jsonl", "none.jsonl"),
            ("gsm8k --file folder", "folder"),
            ("gsm8k --file t.py", "t.py"),
            ("gsm8k --file q.jsonl", '"question" is missing'),
            ("gsm8k --file t.jsonl --out t.jsonl", "also the input"),
            ("gsm8k --file t.jsonl --out folder", "folder"),
            ("gsm8k --file t.jsonl --out q.jsonl/x", "q.jsonl"),
            ("gsm8k --file t.jsonl", "no rows, dropped 1: no answer"),
            ("strategyqa --file t.jsonl", "not a row"),
            ("short_cot --split train", "not on the Hub"),
            ("commonsenseqa --file t.jsonl", '"choices" is missing'),
        )
    ],
]


@pytest.mark.parametrize(
    "main, flags, says", FLAGS, ids=[f"{m.__module__} {f[:60]}" for m, f, _ in FLAGS]
)
def test_bad_flags(main, flags, says, yard, capsys):
    before = tree(yard)
    assert says in refused(main, shlex.split(flags), capsys)
    assert {p: content for p, content in tree(yard).items() if not p.is_dir()} == {
        p: content for p, content in before.items() if not p.is_dir()
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device(capsys, tmp_path):
    assert "--device cuda" in refused(
        train.main, ["--device", "cuda", "--out_dir", str(tmp_path)], capsys
    )


def into(c, path, value):
    """Set (or, with KeyError, drop) an entry of a nested dict."""
    *path, last = path.split("/")
    for key in path:
        c = c[key]
    if value is KeyError:
        del c[last]
    else:
        c[last] = value


CHECKPOINTS = [  # an entry, and what stands there in place of the right value; KeyError: nothing
    ("format", KeyError),
    ("format", "3"),
    ("gpt", None),
    ("gpt/bogus", 1),
    ("gpt/n_layer", 3),
    ("gpt/n_embd", KeyError),
    ("gpt/n_embd", "64"),
    ("model", None),
    ("model", {}),
    ("model/extra", torch.zeros(1)),
    ("model/norm.weight", KeyError),
    ("model/norm.weight", torch.zeros(3)),
    ("model/norm.weight", "x"),
    ("pieces", 5),
    ("pieces", [1, 2]),
    ("pieces", KeyError),
    ("classifier", KeyError),
    ("config", None),
    ("config/method", KeyError),
    ("seen", None),
    ("tokens_per_second", "fast"),
]


@pytest.fixture(scope="module")
def saved(trained):
    return torch.load(trained / "ckpt.pt", weights_only=True)


@pytest.mark.parametrize("path, value", CHECKPOINTS, ids=range(len(CHECKPOINTS)))
def test_a_checkpoint_with_a_wrong_entry(path, value, saved, yard, capsys, monkeypatch):
    c = {**saved, **{k: dict(v) for k, v in saved.items() if isinstance(v, dict)}}
    into(c, path, value)
    monkeypatch.setattr(
        torch, "load", lambda *args, **how: copy.deepcopy(c)
    )  # writing each of them takes longer than all else
    assert "s.pt" in refused(sample.main, ["q", "--ckpt", "s.pt"], capsys)


class Evil:
    def __reduce__(self):
        return open, ("owned", "w")


def test_foreign_and_damaged_checkpoints(trained, saved, yard, capsys):
    whole = (trained / "ckpt.pt").read_bytes()
    torch.save({"model": {}}, "foreign.pt")
    torch.save([1], "list.pt")
    torch.save(torch.zeros(3), "tensor.pt")
    torch.save({**saved, "format": 99}, "future.pt")
    torch.save(
        {**saved, "model": {**saved["model"], "norm.weight": saved["model"]["norm.weight"][:-1]}},
        "shape.pt",
    )
    torch.save({**saved, "pieces": Evil()}, "evil.pt")
    torch.save(Evil(), "evil-legacy.pt", _use_new_zipfile_serialization=False)
    Path("evil-pickle.pt").write_bytes(pickle.dumps(Evil()))
    with (
        zipfile.ZipFile(io.BytesIO(whole)) as old,
        zipfile.ZipFile("evil-inside.pt", "w") as new,
    ):  # ours, but for its pickle
        for name in old.namelist():
            new.writestr(
                name, pickle.dumps(Evil(), 2) if name.endswith("data.pkl") else old.read(name)
            )
    for n in (
        0,
        1,
        100,
        len(whole) // 4,
        len(whole) // 2,
        len(whole) - 5000,
        len(whole) - 20,
        len(whole) - 1,
    ):
        Path(f"cut-{n}.pt").write_bytes(whole[:n])
    for name, content in (
        ("text.pt", b"hello"),
        ("pickle.pt", b"cos\nsystem\n(S'true'\ntR."),
        ("nul.pt", b"\0" * 10000),
        ("zip.pt", b"PK\x05\x06" + b"\0" * 18),
    ):
        Path(name).write_bytes(content)
    before = tree(yard)
    for path in sorted(set(map(str, Path().glob("*.pt"))) - {"s.pt"}):
        assert path in refused(sample.main, ["q", "--ckpt", path], capsys)
    assert tree(yard) == before and not Path("owned").exists()
    Path("ckpt.pt").write_bytes(Path("foreign.pt").read_bytes())
    refused(train.main, ["--resume", "--out_dir", "."], capsys)
    torch.save({**saved, "config": {"beta": 0.1}}, "ckpt.pt")
    refused(train.main, ["--resume", "--out_dir", ".", "--depth", "2"], capsys)


ODD = [
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
    "%s {} {0} %(x)s $(id) `id` ; rm",
    "../../etc/passwd",
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
    "\r\n\t\x0b\x0c x",
    "\u200b",
    "if you, " * 300,
    "None",
    "nan",
    "{}",
    "1e400",
    "[[[[" * 99,
    "Question: Ada lies. Does Bob tell the truth?",
    "Question: Ada says Ada lies. Does Ada tell the truth?",
    "If you follow these instructions, do you return to the starting point? Take 999999999 steps.",
    "not is",
    "( ) is",
    "I have a . How many?",
]


def rows_of(texts):
    """A row for each odd text in every one of its fields, its question in the training split."""
    for i, text in enumerate(texts):
        question = next(
            q for q in (f"{text} {n}" for n in range(999)) if prepare.split_of(q) == "train"
        )
        yield {
            "question": question,
            "answer": text if text.strip() else "x",
            "trace": f"{text}\n\nSo {text}\n\n{text}",
            "extra": {"deep": [[[text]]]},
            "task": [text, i, None, [text], {"a": text}, True, 1.5, float("nan")][i % 8],
            "id": [i, text, None, [1], {}, 2.5, float("inf"), False][i % 8],
        }


def test_odd_but_legal_files(yard, capsys, monkeypatch):
    """Every odd text in every field, from annotation to training's door and evaluation.

    Where the type of a field is free, it is of every type.
    """
    monkeypatch.setattr(sample, "reason", functools.partial(sample.reason, max_tokens=4))
    rows = list(rows_of(ODD))
    lines = [json.dumps(r, ensure_ascii=False).encode() for r in rows]
    doubled = (
        b'{"answer": 5, "question": 7, ' + json.dumps({**GOOD, "n": 10**300}).encode()[1:]
    )  # the last one of two equal keys counts
    Path("odd.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n \n\n".join([*lines, doubled]))
    accepted(
        annotate.main, ["odd.jsonl", "new/folder/out.jsonl", "--figure", "new/other/f.svg"], capsys
    )
    out = read_jsonl("new/folder/out.jsonl")
    assert (
        [(r["question"], r["answer"]) for r in out]
        == [(r["question"], r["answer"]) for r in [*rows, GOOD]]
        and out[-1]["n"] == 10**300
        and Path("new/other/f.svg").exists()
    )
    assert [r["extra"] for r in out[:-1]] == [r["extra"] for r in rows]
    shown = accepted(
        train.main,
        ["--data", "new/folder/out.jsonl", "--show", "99", "--block_size", "100000"],
        capsys,
    )
    assert shown.count("<|end|>") >= len(rows) - 1  # the one of a million letters may be too long
    accepted(
        sample.main,
        ["--eval", "new/folder/out.jsonl", "--ckpt", "s.pt", "--out", "o.jsonl", "--k", "2"],
        capsys,
    )
    records = read_jsonl("o.jsonl")
    assert [r["question"] for r in records] == [r["question"] for r in out] and all(
        isinstance(r["correct"], bool) and isinstance(r["task"], str) for r in records
    )


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--temperature 1 --top_k 1000000000",
        "--temperature 1e-45",
        "--temperature 100 --seed 2147483648",
        "--temperature -0",
        "--tau 1",
        "--flow recall,addition --prune",
        "--k 3",
        "--k 3 --choose score",
        "--compare s.pt s.pt",
    ],
)
def test_odd_prompts(flags, yard, capsys, monkeypatch):
    monkeypatch.setattr(sample, "reason", functools.partial(sample.reason, max_tokens=6))
    monkeypatch.setenv("COLUMNS", "1")
    for prompt in (*ODD[:6], "\udcff\udc80 \ud800", "x\ny") if flags else [*ODD, "\udcff"]:
        argv = [
            *shlex.split(flags),
            *([] if "compare" in flags else ["--ckpt", "s.pt"]),
            "--",
            prompt,
        ]
        if not prompt.strip():
            assert "empty" in refused(sample.main, argv, capsys)
        elif len(prompt) < 1000:
            assert accepted(sample.main, argv, capsys)
        elif sample.load_student("s.pt", "cpu").tokenizer.encode(prompt)[1020:]:
            assert "shorten" in refused(sample.main, argv, capsys)


def test_bad_questions(trained, tmp_path, capsys):
    ckpt = ["--ckpt", str(trained / "ckpt.pt")]
    assert "empty" in refused(sample.main, [" ", *ckpt], capsys)
    assert "shorten" in refused(sample.main, ["word " * 5000, *ckpt], capsys)
    (tmp_path / "q.jsonl").write_text('{"question": "q"}\n')
    assert '"answer" or "target" is missing' in refused(
        sample.main, ["--eval", str(tmp_path / "q.jsonl"), *ckpt], capsys
    )
    (tmp_path / "q.jsonl").write_text(json.dumps({"input": "word " * 5000, "target": "x"}) + "\n")
    sample.main(
        ["--eval", str(tmp_path / "q.jsonl"), *ckpt, "--out", str(tmp_path / "o.jsonl")]
    )  # counted as wrong, not fatal


@pytest.mark.parametrize(
    "program, argv",
    [
        (["train.py"], ["--beta", "7"]),
        (["sample.py"], ["q", "--ckpt", "nothing\n\x1b[31m.pt"]),
        (["annotate.py"], ["nothing.jsonl", "x.jsonl"]),
        (["-m", "data.algorithmic.prepare"], ["--bogus\x1b[31m\n"]),
    ],
)
def test_as_a_real_process(program, argv):
    done = subprocess.run(
        [sys.executable, *program, *argv], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_the_end_of_the_input_ends_the_questions(trained, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "sample.py"),
        "--tau",
        "1",
        "--ckpt",
        str(trained / "ckpt.pt"),
    ]
    done = subprocess.run(
        command, input=b"\xff\x00<|end|>\x1b[31m", cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0 and not done.stderr and b"\x1b" not in done.stdout


def test_help_shows_every_default(capsys):
    for main in (train.main, sample.main, annotate.main):
        with pytest.raises(SystemExit) as e:
            main(["--help"])
        assert e.value.code == 0
        out = " ".join(capsys.readouterr().out.split())
        assert out.count("(default:") >= 3
