"""Bad input: one line that names what is wrong, exit code 2, nothing written."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import annotate
import sample
import train
from data.algorithmic import prepare
from scaffold import UserError

ROOT = Path(__file__).parent.parent
GOOD = {"question": "q?", "trace": "So 1.", "answer": "1"}
STEPS = {"question": "q?", "answer": "1", "steps": [{"signal": "Contrast and Concession", "text": "But 1."}]}


def refused(main, argv, capsys):
    """The one line main refuses argv with."""
    try:
        main(argv)
    except UserError as e:
        line = str(e)
    except SystemExit as e:
        assert e.code == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
    else:
        pytest.fail(f"{argv} was accepted")
    assert line and "\n" not in line and "Traceback" not in line
    return line


TRACES = [  # file contents, what the line must name
    (b"", "no rows"), (b"\n\n", "no rows"), (b"{", "line 1: not JSON"), (b'{"question": "q"}{}', "line 1: not JSON"), (b"[1]", "line 1: a list"),
    (b'"x"', "line 1: a str"), (b"null", "line 1: a NoneType"), (b"[" * 100000, "line 1: not JSON"), (b"\xff\xfe{}", "line 1: not UTF-8"),
    (json.dumps(GOOD).encode() + b"\n{bad", "line 2: not JSON"), (b'{"question": "\\ud800", "trace": "x", "answer": "1"}', "lone surrogate"),
    *[(json.dumps({k: v for k, v in GOOD.items() if k != gone}).encode(), f'field "{gone}" is missing') for gone in GOOD],
    *[(json.dumps({**GOOD, field: value}).encode(), f'field "{field}" is {kind}') for field in GOOD for value, kind in
      ((3, "a int"), ([], "a list"), ("", "empty"), (" \n", "empty"), (True, "a bool"))],
]


@pytest.mark.parametrize("content, says", TRACES, ids=range(len(TRACES)))
def test_malformed_traces(content, says, tmp_path, capsys):
    (tmp_path / "t.jsonl").write_bytes(content)
    line = refused(annotate.main, [str(tmp_path / "t.jsonl"), str(tmp_path / "out.jsonl")], capsys)
    assert says in line and "t.jsonl" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.jsonl"]


ANNOTATED = [({**GOOD}, "annotate.py"), ({**STEPS, "steps": []}, "steps"), ({**STEPS, "steps": "x"}, "steps"), ({**STEPS, "steps": ["x"]}, "a step must"),
             ({**STEPS, "steps": [{"signal": "Doubt", "text": "x"}]}, "a step must"), ({**STEPS, "steps": [{"signal": "Contrast and Concession"}]}, "a step must"),
             ({**STEPS, "steps": [{"signal": [], "text": "x"}]}, "a step must"), ({**STEPS, "steps": [{"signal": "Contrast and Concession", "text": " "}]}, "a step must"),
             ({**STEPS, "answer": None}, '"answer"'), ({**STEPS, "question": "long " * 3000}, "block_size")]


@pytest.mark.parametrize("row, says", ANNOTATED, ids=range(len(ANNOTATED)))
def test_malformed_annotations(row, says, tmp_path, capsys):
    rows = [row] + [{**STEPS, "question": f"long {i} " * 3000} for i in range(20)] if says == "block_size" else [row]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert says in refused(train.main, ["--data", str(tmp_path / "a.jsonl"), "--out_dir", str(tmp_path / "out")], capsys)
    assert not (tmp_path / "out" / "ckpt.pt").exists()


FLAGS = [
    (train.main, ["--bogus"]), (train.main, ["--beta", "2"]), (train.main, ["--beta", "nan"]), (train.main, ["--depth", "0"]), (train.main, ["--depth", "two"]),
    (train.main, ["--method", "magic"]), (train.main, ["--batch_size", "-1"]), (train.main, ["--max_steps", "1.5"]), (train.main, ["--compile", "False"]),
    (train.main, ["--tasks", "sudoku"]), (train.main, ["--data", "no/such/file.jsonl"]), (train.main, ["--data", "."]), (train.main, ["extra"]),
    (sample.main, ["q", "--ckpt", "no/such/ckpt.pt"]), (sample.main, ["--temperature", "-1", "q"]), (sample.main, ["--compare", "one.pt"]),
    (sample.main, ["--eval", "none.jsonl", "--ckpt", "no.pt"]), (annotate.main, []), (annotate.main, ["a.jsonl"]), (annotate.main, ["a.jsonl", "a.jsonl"]),
    (annotate.main, ["no/such/file.jsonl", "b.jsonl"]), (prepare.main, ["--tasks", "sudoku"]), (prepare.main, ["--lengths", "7"]), (prepare.main, ["--lengths", "9-3"]),
]


@pytest.mark.parametrize("main, argv", FLAGS, ids=[f"{m.__module__} {' '.join(a)}" for m, a in FLAGS])
def test_bad_flags(main, argv, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(main, argv, capsys)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_device(capsys, tmp_path):
    assert "--device cuda" in refused(train.main, ["--device", "cuda", "--out_dir", str(tmp_path)], capsys)


def test_foreign_and_damaged_checkpoints(trained, tmp_path, capsys):
    whole = (trained / "ckpt.pt").read_bytes()
    torch.save({"model": {}}, tmp_path / "foreign.pt")
    torch.save([1], tmp_path / "list.pt")
    torch.save({**torch.load(trained / "ckpt.pt", weights_only=True), "format": 99}, tmp_path / "future.pt")
    for name, content in (("cut.pt", whole[: len(whole) // 2]), ("empty.pt", b""), ("text.pt", b"hello"), ("pickle.pt", b"cos\nsystem\n(S'true'\ntR.")):
        (tmp_path / name).write_bytes(content)
    for path in sorted(tmp_path.glob("*.pt")):
        assert path.name in refused(sample.main, ["q", "--ckpt", str(path)], capsys)


def test_bad_questions(trained, tmp_path, capsys):
    ckpt = ["--ckpt", str(trained / "ckpt.pt")]
    assert "empty" in refused(sample.main, [" ", *ckpt], capsys)
    assert "shorten" in refused(sample.main, ["word " * 5000, *ckpt], capsys)
    (tmp_path / "q.jsonl").write_text('{"question": "q"}\n')
    assert '"answer" or "target" is missing' in refused(sample.main, ["--eval", str(tmp_path / "q.jsonl"), *ckpt], capsys)
    (tmp_path / "q.jsonl").write_text(json.dumps({"input": "word " * 5000, "target": "x"}) + "\n")
    sample.main(["--eval", str(tmp_path / "q.jsonl"), *ckpt, "--out", str(tmp_path / "o.jsonl")])  # counted as wrong, not fatal
    for legal in ("\x00", "<|end|> <|step|>", "👩‍👩‍👧 \u202e", "\x1b[31mred"):
        sample.main([legal, *ckpt])
        assert "\x1b[31m" not in capsys.readouterr().out


@pytest.mark.parametrize("program, argv", [("train.py", ["--beta", "7"]), ("sample.py", ["q", "--ckpt", "nothing.pt"]), ("annotate.py", ["nothing.jsonl", "x.jsonl"])])
def test_as_a_real_process(program, argv, tmp_path):
    done = subprocess.run([sys.executable, str(ROOT / program), *argv], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and not done.stdout


def test_help_shows_every_default(capsys):
    for main in (train.main, sample.main, annotate.main):
        with pytest.raises(SystemExit) as e:
            main(["--help"])
        assert e.value.code == 0
        out = " ".join(capsys.readouterr().out.split())
        assert out.count("(default:") >= 3
