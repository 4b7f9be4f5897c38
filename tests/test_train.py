"""The programs, end to end: training, annotation, evaluation."""

import json

import pytest
import torch

import annotate
import sample
import train
from conftest import TINY
from data.algorithmic import prepare
from data.algorithmic.check import check
from data.benchmarks.answers import extract
from data.tools.evaluation import score
from data.tools.files import read_jsonl
from scaffold import SIGNAL_NAMES


def test_a_run_leaves_all_it_promises(trained):
    result = json.loads((trained / "result.json").read_text())
    for scores in (result, *result["tasks"].values()):
        assert {"accuracy", "erroneous_paths", "signal_accuracy"} <= scores.keys()
    assert set(result["tasks"]) == {"object_counting", "boolean_expressions"}
    assert result["tokens_per_second"] > 0 and result["seconds"] > 0
    for picture in ("curves.png", "annotation.png"):
        assert (trained / picture).read_bytes()[:4] == b"\x89PNG"
    checkpoint = torch.load(trained / "ckpt.pt", weights_only=True)
    assert "embed.weight" in checkpoint["model"] and not any(
        k.startswith(("_orig_mod", "module")) for k in checkpoint["model"]
    )
    losses = [m["token_loss"] for m in read_jsonl(trained / "metrics.jsonl") if m["split"] == "val"]
    assert losses[-1] < 0.5 * losses[0]


def test_same_seed_same_weights(tmp_path):
    weights = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        argv = [
            *TINY,
            "--n_train",
            "60",
            "--n_test",
            "0",
            "--max_steps",
            "6",
            "--eval_interval",
            "3",
            "--seed",
            seed,
            "--out_dir",
            str(tmp_path / name),
        ]
        train.main(argv)
        weights.append(torch.load(tmp_path / name / "ckpt.pt", weights_only=True)["model"])
    a, b, c = weights
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_own_traces_from_annotation_to_evaluation(tmp_path, capsys):
    rows = [
        {k: r[k] for k in ("question", "trace", "answer")}
        for r, _ in prepare.rows(["object_counting"], "train", 40)
    ]
    rows += [
        {k: r[k] for k in ("question", "trace", "answer")}
        for r, _ in prepare.rows(["object_counting"], "test", 5)
    ]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + "\n")
    annotate.main([str(tmp_path / "traces.jsonl"), str(tmp_path / "annotated.jsonl")])
    annotated = read_jsonl(tmp_path / "annotated.jsonl")
    assert len(annotated) == 45 and all(
        s["signal"] in SIGNAL_NAMES for r in annotated for s in r["steps"]
    )
    argv = [
        "--data",
        str(tmp_path / "annotated.jsonl"),
        "--method",
        "clone",
        "--depth",
        "1",
        "--max_steps",
        "4",
        "--out_dir",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    train.main(argv)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["questions"] == 5 and result["signal_accuracy"] is None
    assert "accuracy: " in capsys.readouterr().out


def test_time_budget(tmp_path):
    argv = [
        *TINY,
        "--n_train",
        "60",
        "--n_test",
        "0",
        "--max_steps",
        "1000000",
        "--minutes",
        "0.02",
        "--out_dir",
        str(tmp_path),
    ]
    train.main(argv)
    assert (tmp_path / "ckpt.pt").exists()


def test_show_prints_an_encoded_example(tmp_path, capsys):
    train.main([*TINY, "--show", "1", "--out_dir", str(tmp_path)])
    out = capsys.readouterr().out
    assert (
        "|\n[Personal Opinion and Recall]" in out
        and "<|end|>" in out
        and not (tmp_path / "ckpt.pt").exists()
    )


def test_evaluation_scores_seen_and_unseen_apart(trained, tmp_path, capsys):
    seen = [r for r, _ in prepare.rows(["object_counting", "boolean_expressions"], "train", 4)]
    unseen = [r for r, _ in prepare.rows(["object_counting"], "test", 3)]
    bbh = [{"input": r["question"], "target": r["answer"]} for r in seen + unseen] + [
        {"input": "What is the capital of France?", "target": "Paris"}
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in bbh))
    sample.main(
        [
            "--eval",
            str(tmp_path / "q.jsonl"),
            "--ckpt",
            str(trained / "ckpt.pt"),
            "--out",
            str(tmp_path / "traces.jsonl"),
            "--device",
            "cpu",
        ]
    )
    out = capsys.readouterr().out
    assert (
        "questions: 8" in out
        and "seen_in_training: 4" in out
        and "signal_accuracy: n/a" in out
        and "accuracy: 0" in out
    )
    records = read_jsonl(tmp_path / "traces.jsonl")
    assert [r["seen"] for r in records] == [True] * 4 + [False] * 4
    assert (
        records[0]["task"] == "object_counting"
        and records[-1]["task"] == "other"
        and records[-1]["erroneous"] is None
    )
    assert all(isinstance(s["verdict"], str) for r in records[:-1] for s in r["steps"])


def test_scores_recomputed_by_hand():
    base = {"question": "", "seen": False, "tokens": 10, "obeyed": (2, 4)}
    records = [
        {**base, "correct": True, "erroneous": False, "signals": (3, 4, 5)},
        {**base, "correct": True, "erroneous": True, "signals": (1, 4, 5)},
        {**base, "correct": False, "erroneous": True, "signals": None},
        {**base, "correct": False, "erroneous": None, "signals": None},
    ]
    s = score(records)
    assert (
        s["accuracy"],
        s["erroneous_paths"],
        s["signal_accuracy"],
        s["signals_kept"],
        s["obedience"],
    ) == (0.5, 2 / 3, 0.5, 0.8, 0.5)


def test_gold_traces_pass_evaluation_and_a_wrong_step_does_not(student):
    """A right answer over a wrong path is an erroneous path."""
    row = prepare.rows(["object_counting"], "test", 1)[0][0]
    steps = row["trace"].split("\n\n")
    assert not any(check(row["question"], steps))
    assert extract(steps[-1]) == row["answer"]
    assert any(check(row["question"], steps[:1] + steps[2:]))


def test_one_question_interactive_and_side_by_side(trained, capsys, monkeypatch):
    ckpt = str(trained / "ckpt.pt")
    question = prepare.rows(["object_counting"], "test", 1)[0][0]["question"]
    sample.main([question, "--ckpt", ckpt])
    once = capsys.readouterr().out
    assert "[" in once and any(s in once for s in SIGNAL_NAMES)
    lines = iter([question, ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    sample.main(["--ckpt", ckpt])
    assert capsys.readouterr().out == once
    sample.main([question, "--compare", ckpt, ckpt])
    out = capsys.readouterr().out.splitlines()
    assert all(line.count(" | ") >= 1 for line in out) and len(out) > 3


def test_annotation_against_hand_labels():
    cases = {
        "But wait, that is wrong.": 3,
        "So the total is 4.": 5,
        "Also, 3 more.": 0,
        "For example, take 2.": 1,
        "I recall that a < b.": 2,
        "Let me check: 3.": 4,
        "The answer is 4.": 6,
        "**Final Answer** 4": 6,
        "- However, no.": 3,
        "Sometimes it rains.": None,
        "Butter is yellow.": None,
        "Wait—no": 3,
        "42": None,
        "": None,
    }
    assert {text: annotate.keyword_signal(text)[0] for text in cases} == cases


def test_annotation_counts_what_it_drops_and_closes_what_is_open():
    rows = [
        {"id": "a", "question": "q", "trace": "\n\n \n", "answer": "3"},
        {"id": "b", "question": "q", "trace": "So 1.\n\nWait, 2.\n \nIt is.", "answer": "3"},
    ]
    out, report = annotate.annotate(rows)
    assert (
        report["dropped"] == {"empty trace": 1}
        and report["steps"] == 4
        and report["keyword_coverage"] == 0.75
    )
    assert [s["text"] for s in out[0]["steps"]] == [
        "So 1.",
        "Wait, 2.",
        "It is.",
        "The answer is 3.",
    ]
    assert out[0]["steps"][-1]["signal"] == "Response Generation"


def test_annotation_near_its_design_targets():
    pairs = prepare.rows(prepare.DEFAULT_TASKS.split(","), "train", 1500)
    rows, report = annotate.annotate([r for r, _ in pairs], {r["id"]: g for r, g in pairs})
    assert 0.68 < report["keyword_coverage"] < 0.80 and 0.82 < report["keyword_agreement"] < 0.95
    assert (
        report["classifier_agreement"] > 0.5
    )  # seven classes; the most frequent one alone has about 0.25
    again, _ = annotate.annotate([r for r, _ in pairs[:50]], weight=report["classifier"])
    assert again == rows[:50]


def test_keywords_are_judged_as_they_are():
    """The last step hands over the answer whatever opens it; that is not the keyword's merit."""
    rows = [{"id": "a", "question": "q", "trace": "But no.\n\nSo the answer is 1.", "answer": "1"}]
    _, report = annotate.annotate(rows, gold={"a": [3, 6]})
    assert report["keyword_agreement"] == 0.5 and report["agreement"] == 1


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA GPU: torch.compile and bf16 run only there"
)
def test_compiled_training_on_cuda(tmp_path):
    train.main(
        [
            *TINY,
            "--device",
            "cuda",
            "--n_train",
            "60",
            "--n_test",
            "5",
            "--max_steps",
            "10",
            "--out_dir",
            str(tmp_path),
        ]
    )
    assert json.loads((tmp_path / "result.json").read_text())["questions"] == 5
