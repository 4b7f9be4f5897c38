"""Final answers, written arithmetic, and the public benchmarks' rows from small files with the Hub's fields."""
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import annotate
from data.algorithmic import prepare as algorithmic
from data.benchmarks import prepare
from data.benchmarks.answers import extract, same
from data.benchmarks.arithmetic import arithmetic
from sample import Reasoning, judge
from scaffold import Step, UserError

ROOT = Path(__file__).parent.parent

HANDED_OVER = [  # text, answer
    ("The answer is No.", "No"), ("So the answer is (B).", "(B)"), ("Final answer: 12.", "12"), ("This gives the answer ] }.", "] }"),
    ("The answer is True", "True"),
    ("The answer: the answer is 3.", "3"), ("answer: (B)", "(B)"), ("Answer = 5", "5"), ("The answer is:\n\n42", "42"),
    ("6 + 1 = 7.\n#### 1,234", "1,234"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"), (r"\boxed{1}, no, \boxed{2}", "2"), (r"$\boxed{\text{(C)}}$", "(C)"), (r"\boxed{\{1,2\}}", r"\{1,2\}"),
    (r"\boxed{5}, or rather: the answer is 6.", "6"), (r"The final answer is $\boxed{x^2}$. I hope it is correct.", "x^2"), (r"So \boxed{3", None),
    ("**Answer:** 42", "42"), ("**The answer is 42.**", "42"), ("The answer is **42**.", "42"), ("The answer is x**2", "x**2"),
    ("The answer is $42$.", "42"),
    ("<answer>42</answer>", "42"), ("<ANSWER>1</ANSWER>", "1"), ("The answer is 42. I hope it is correct.", "42"), ("The answer is 3.5.", "3.5"),
    ("The answer is $18.", "$18"), ('The answer is "yes".', "yes"), ("The answer is −3.", "−3"), ("The answer is 5.\nThis answer makes sense.", "5"),
    ("I do not know.", None), ("The answer is", None), ("", None), ("word " * 10**5 + "The answer is 7.", "7"), (r"\boxed{" * 10**5, None),
]

ANSWERS = [  # given, right, do they say the same
    ("18", "18", True), ("18.", "18", True), (" 18 ", "18", True), ("$18", "18", True), ("18 dollars", "$18", True), ("18 cents", "$18", False),
    ("€18", "$18", False),
    ("1,234", "1234", True), ("1234", "1,234", True), ("1,234.50", "1234.5", True), ("1,23", "123", False), ("1, 234", "1234", False),
    ("1{,}000", "1000", True),
    ("12%", "12 %", True), ("12 percent", "12%", True), (r"12\%", "12%", True), ("12%", "12", True), ("12%", "0.12", False), ("0.12", "12%", False),
    ("12%", "$12", False),
    ("-5", "5", False), ("−5", "-5", True), ("-5", "-5.0", True), ("+5", "5", True), ("--5", "5", False), ("-0", "0", True), ("3.0", "3", True),
    ("007", "7", True),
    ("3.14", "3.1", False), ("1/2", "0.5", True), (r"\frac{1}{2}", "0.5", True), (r"\dfrac12", "1/2", True),
    (r"-\frac{1}{2}", r"\frac{-1}{2}", True), ("2/4", "1/2", True),
    ("1 1/2", "1.5", True), (r"1\frac{1}{2}", "3/2", True), ("3½", "3.5", True), ("3½", "31/2", False), ("5²", "52", False), ("1/3", "0.33", False),
    ("1/0", "0", False),
    ("5 apples", "5", True), ("5 apples", "5 pears", False), ("5 apples", "5 apple", True), ("5 km/h", "5", True), ("5 cm²", "5 cm", False),
    ("90°", r"90^\circ", True),
    ("5 million", "5", False), ("5 or more", "5", False), ("5 or 6", "5", False), ("5x", "5", False), ("5 x", "5", False), (r"5\pi", "5", False),
    ("5i", "5", False),
    ("1e5", "1", False), ("10^2", "10", False), ("2 1", "21", False), ("x = 5", "5", True), ("y = 5", "x = 5", False), ("five", "5", False),
    ("$5 million", "5", False),
    ("(B)", "(B)", True), ("B", "(B)", True), ("B.", "(B)", True), ("b)", "(B)", True), ("(b)", "B", True), ("option B", "(B)", True),
    ("(B) populated areas", "(B)", True),
    ("B: populated areas", "(B)", True), ("populated areas", "(B)", False), ("(C)", "(B)", False), ("A dog", "(A)", False),
    ("(A) or (B)", "(A)", False), ("B or C", "(B)", False),
    ("(B), (C)", "(B)", False), ("(B) rather than (A)", "(B)", False), ("(B) orange", "(B)", True), (r"\textbf{(B) }", "(B)", True),
    ("AB", "(A)", False), ("", "(B)", False),
    ("Yes", "yes", True), ("So yes, it can.", "Yes", True), ("So yes, it can.", "No", False), ("No, because it can't.", "No", True),
    ("No, because it can't.", "Yes", False),
    ("Yes and no", "Yes", False), ("Yes and no", "No", False), ("Yes, and no.", "Yes", False), ("No, wait, yes.", "No", False),
    ("No trees", "No", False), ("noble", "No", False),
    ("not true", "Yes", False), ("It is not true", "True", False), ("Yes, there is no doubt.", "Yes", True), ("True", "Yes", True),
    ("no", "False", True), ("True", "False", False),
    ("True", "1", False), ("yes", "valid", False), ("true north", "True", False),
    ("] )", "] )", True), ("])", "] )", True), ("] ) }", "] )", False), (") ]", "] )", False), ("> ]", "> }", False),
    (r"\left(1, 2\right)", "(1,2)", True), ("(1,2)", "(2,1)", False), ("x^{2}", "x^2", True), (r"2\sqrt{3}", r"2\sqrt3", True),
    (r"2\sqrt{3}", r"2\sqrt{5}", False),
    (r"10\sqrt{2}\text{ cm}", r"10\sqrt{2}", True), (r"10\sqrt{2}\text{ cm}", r"10\sqrt{2}\text{ m}", False), (r"\Delta", r"\delta", False),
    (r"\text{Evelyn}", "evelyn", True),
    (r"240\text{ ways.}", "240", True), (r"$\frac{3}{4}$", "0.75", True), ("x+1", "1+x", False), ('"Moby  Dick"', "moby dick.", True),
    ("ab c", "a bc", False),
    (None, "3", False), ("3", None, False), ("", "", False), ("9" * 5000, "9" * 5000, True), ("9" * 5000, "9", False),
    ("9" * 900, "9" * 899 + "8", False), ("72", "48/2 = <<48/2=24>>24 clips\n#### 72", True), ("24", "48/2 = <<48/2=24>>24 clips\n#### 72", False),
]

SUMS = [  # step, errors
    ("Natalia sold 48/2 = <<48/2=24>>24 clips.", []), ("Natalia sold 48/2 = <<48/2=25>>25 clips.", ["48/2 = 25: it is 24"]), ("<<48/2=24>>", []),
    ("<<0.2*50=11>>", ["0.2*50 = 11: it is 10"]),
    ("12 x 3 = 36", []), ("12 × 3 = 35", ["12*3 = 35: it is 36"]), ("$5 + $3 = $8", []), ("$1,200 - $300 = $800.", ["1200-300 = 800: it is 900"]),
    ("48 ÷ 2 = 24", []),
    ("10% of 50 = 5", []), ("10% of 50 = 6", ["10%*50 = 6: it is 5"]), ("5/20 = 25%", []), ("5/20*100 = 25%", []),
    ("20% + 30% = 60%", ["20%+30% = 60%: it is 0.5"]),
    ("2+3=5+1=6", []), ("2+3=6+1=7", ["2+3 = 6+1: it is 5"]), ("1+2+3 = 1+2 = 3", []), ("2*(3+4) - 6/3 = 12", []),
    ("2*(3+4) = 10", ["2*(3+4) = 10: it is 14"]), ("2 - -3 = 5", []),
    ("10/3 = 3.33", []), ("10/3 = 3.34", ["10/3 = 3.34: it is 3.3333"]), ("10/3 = 3", []), ("10/3 = 4", ["10/3 = 4: it is 3.3333"]),
    (".5 * 4 = 2", []), ("3 – 1 = 1", ["3-1 = 1: it is 2"]),
    ("So 5 + 3 = 8, and 8 - 2 = 5.", ["8-2 = 5: it is 6"]), ("5/0 = 3", ["5/0 = 3: it divides by zero"]), ("8 = 5 + 3", []),
    ("x + 5 = 12, 2x + 3 = 7, 3x = 12", []), ("twice 3 + 4 = 10", []), ("2^3 + 1 = 9", []), ("3 + 2 = 5y", []),
    ("5 apples + 3 apples = 9 apples", []), ("17/3 = 5 remainder 2", []), ("12 x 1 and 1/4 = 15", []),
    ("7:30 + 45 = 8:15", []), ("6 / 2/3 = 9", []), ("0.5 * 6 = 3 million", []), ("(2 + 3 = 5", []), ("f(3) = 9 and 3 > 2", []), ("", []),
    ("= = =", []),
    ("9" * 10**5 + " + 1 = 2", []),
    ("9" * 100 + "*" + "9" * 90 + "=1", ["9" * 100 + "*" + "9" * 90 + " = 1: it is " + str((10**100 - 1) * (10**90 - 1))]), ("2**9**9**9 = 1", []),
    ("(" * 10**5 + "1 = 2", []),
    ("1+" * 10**5 + "1 = 2", []), ("-" * 190 + "1 = 2", []),
]

MATH_ROW = {"problem": "Half of 1?", "level": "Level 1", "type": "Algebra", "solution": "Halve it.\n\nSo $\\boxed{\\frac12}$."}
HUB_ROWS = {  # name: (a row with the Hub's fields, the project's fields)
    "gsm8k": ({"question": "How many?", "answer": "It is 4/2 = <<4/2=2>>2.\nAnd 2+1 = <<2+1=3>>3.\n#### 3"},
              {"question": "How many?", "answer": "3", "trace": "It is 4/2 = <<4/2=2>>2.\n\nAnd 2+1 = <<2+1=3>>3.\n\nThe answer is 3."}),
    "math": (MATH_ROW, {"question": "Half of 1?", "answer": "\\frac12", "trace": "Halve it.\n\nSo $\\boxed{\\frac12}$.\n\nThe answer is \\frac12."}),
    "math500": ({**MATH_ROW, "answer": "\\frac{1}{2}"},
                {"question": "Half of 1?", "answer": "\\frac{1}{2}", "trace": "Halve it.\n\nSo $\\boxed{\\frac12}$.\n\nThe answer is \\frac{1}{2}."}),
    "strategyqa": ({"qid": "1", "question": "Can pigs fly?", "answer": False, "facts": "Pigs have no wings."}, {"question": "Can pigs fly?", "answer": "No"}),
    "commonsenseqa": ({"question": "Where do fish live?", "choices": {"label": ["A", "B"], "text": ["a tree", "water"]}, "answerKey": "B"},
                      {"question": "Where do fish live?\nOptions:\n(A) a tree\n(B) water", "answer": "(B)"}),
    "truthfulqa": ({"question": "Why?", "mc1_targets": {"choices": ["so", "no"], "labels": [1, 0]}},
                   {"question": "Why?\nOptions:\n(A) no\n(B) so", "answer": "(B)"}),
    "bbh": ({"input": "not True is", "target": "False"}, {"question": "not True is", "answer": "False"}),
    "long": ({"problem": "1+1?", "answer": "2", "correctness_math_verify": [False, True],
              "generations": ["<think>\nIt is 3.\n</think>\n3", "<think>\nWait.\n\nIt is 2.\n</think>\n2"]},
             {"question": "1+1?", "answer": "2", "trace": "Wait.\n\nIt is 2.\n\nThe answer is 2."}),
    "short_cot": ({"instruction": "Q: Where is Dr. Who? Answer choices: A: home, B: out, away",
                   "output": "<Solution Path>Dr. Who travels. So he is out. The answer is B"},
                  {"question": "Where is Dr. Who?\nOptions:\n(A) home\n(B) out, away", "answer": "(B)", "trace": "Dr. Who travels.\n\nSo he is out.\n\nThe answer is (B)."}),
}


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def library(monkeypatch, tmp_path):
    """The datasets library, its cache out of the way."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return datasets


# ------------------------------------------------------------------------------------------- answers
@pytest.mark.parametrize("text, answer", HANDED_OVER, ids=range(len(HANDED_OVER)))
def test_extract(text, answer):
    assert extract(text) == answer


@pytest.mark.parametrize("given, right, expected", ANSWERS, ids=range(len(ANSWERS)))
def test_same(given, right, expected):
    assert same(given, right) is expected


def test_embedded_tasks_hand_over_their_answers():
    for row, _ in algorithmic.rows(list(algorithmic.TASKS), "train", 160):
        answer = extract(row["trace"].split("\n\n")[-1])
        assert answer == row["answer"] and same(answer, row["answer"]), row


@pytest.mark.parametrize("noise", ["$", "{", "(", "1/", "\\frac", "\\text{", "a ", "'", "*", "- ", "1,", "answer ", "\\boxed{", " ", "<answer>", "= "])
def test_long_nonsense_ends(noise):
    """A pattern that backtracks would take hours here."""
    for text in (noise * 10**5, "The answer is " + noise * (900 // len(noise))):
        assert not same(extract(text), "5") and not same(text[:990], "5") and not same("5", text[:990]) and not arithmetic(text)


# ---------------------------------------------------------------------------------------- arithmetic
@pytest.mark.parametrize("step, errors", SUMS, ids=range(len(SUMS)))
def test_arithmetic(step, errors):
    assert arithmetic(step) == errors


# -------------------------------------------------------------------------------------------- datasets
@pytest.mark.parametrize("name", prepare.BENCHMARKS)
def test_rows_of_every_benchmark(name, tmp_path):
    row, fields = HUB_ROWS[name]
    assert list(prepare.rows(name, "train", jsonl(tmp_path / "f.jsonl", row))) == [{"id": f"train-{name}-0", "task": name, **fields}]


@pytest.mark.parametrize("suffix", ["json", "parquet"])
@pytest.mark.parametrize("name", prepare.BENCHMARKS)
def test_other_files_go_through_the_library(name, suffix, tmp_path, library):
    row, fields = HUB_ROWS[name]
    path = tmp_path / f"f.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps([row, row]), encoding="utf-8")
    else:
        library.Dataset.from_list([row, row]).to_parquet(path)
    assert [{k: r[k] for k in fields} for r in prepare.rows(name, "test", str(path))] == [fields] * 2
    assert len(list(prepare.rows(name, "test", str(path), limit=1))) == 1


def test_tasks_splits_and_limits_on_the_hub(monkeypatch, library):
    asked = []
    monkeypatch.setattr(library, "load_dataset", lambda *args, **options: asked.append((args, options)) or [HUB_ROWS["bbh"][0]] * 5)
    rows = list(prepare.rows("bbh", "test", limit=2))
    assert len(prepare.BBH.split()) == len(asked) == 27 and Counter(r["task"] for r in rows) == dict.fromkeys(prepare.BBH.split(), 2)
    assert asked[0] == (("SaylorTwift/bbh", "boolean_expressions"), {"split": "test", "streaming": True})
    assert rows[1]["id"] == "test-boolean_expressions-1" and len({r["id"] for r in rows}) == 54


def test_a_bbh_file_names_its_task(tmp_path):
    rows = list(prepare.rows("bbh", "test", jsonl(tmp_path / "navigate.jsonl", *[HUB_ROWS["bbh"][0]] * 3), limit=2))
    assert [r["task"] for r in rows] == ["navigate"] * 2


def test_truthfulqa_is_shuffled_but_fixed(tmp_path):
    targets = {"choices": ["right", "x", "y", "z"], "labels": [1, 0, 0, 0]}
    source = jsonl(tmp_path / "t.jsonl", *({"question": f"Why {i}?", "mc1_targets": targets} for i in range(80)))
    rows = list(prepare.rows("truthfulqa", "validation", source))
    assert rows == list(prepare.rows("truthfulqa", "validation", source))
    assert all(f"{r['answer']} right" in r["question"].split("\n") for r in rows)
    assert set(Counter(r["answer"] for r in rows)) == {"(A)", "(B)", "(C)", "(D)"}


def test_rows_without_an_answer_are_counted(tmp_path, capsys):
    row = HUB_ROWS["commonsenseqa"][0]
    source, out = jsonl(tmp_path / "c.jsonl", row, {**row, "answerKey": ""}, {**row, "answerKey": None}), tmp_path / "out.jsonl"
    prepare.main(["commonsenseqa", "--file", source, "--out", str(out)])
    assert capsys.readouterr().out == f"wrote 1 rows to {out}, dropped 2: no answer\n" and len(out.read_text().splitlines()) == 1
    dropped = Counter()
    unverified = {**HUB_ROWS["long"][0], "correctness_math_verify": [False, False]}
    assert not list(prepare.rows("long", "train", jsonl(tmp_path / "l.jsonl", unverified), dropped=dropped)) and dropped == {"no trace": 1}


BAD = [(name, {k: v for k, v in row.items() if k != gone}, f'line 2: field "{gone}" is missing') for name, (row, fields) in HUB_ROWS.items() for gone in row
       if gone not in ("level", "type", "qid", "facts")]
BAD += [("gsm8k", {"question": 3, "answer": "#### 3"}, "line 2: not a row of gsm8k"), ("strategyqa", {"question": "q", "answer": "false"}, "line 2: not a row"),
        ("commonsenseqa", {**HUB_ROWS["commonsenseqa"][0], "choices": "A"}, "line 2: not a row"),
        ("truthfulqa", {"question": "q", "mc1_targets": {"choices": ["a"], "labels": []}}, "line 2: not"),
        ("long", {**HUB_ROWS["long"][0], "generations": None}, "line 2: not a row of long"), ("bbh", ["input"], "line 2: a list")]


@pytest.mark.parametrize("name, row, says", BAD, ids=range(len(BAD)))
def test_bad_rows_are_refused_with_their_line(name, row, says, tmp_path):
    with pytest.raises(UserError) as refused:
        prepare.main([name, "--file", jsonl(tmp_path / "f.jsonl", HUB_ROWS[name][0], row), "--out", str(tmp_path / "out.jsonl")])
    assert f"f.jsonl, {says}" in str(refused.value) and "\n" not in str(refused.value)
    assert [p.name for p in tmp_path.iterdir()] == ["f.jsonl"]


def test_bad_calls_are_refused(tmp_path, library, monkeypatch):
    good, broken = jsonl(tmp_path / "g.jsonl", HUB_ROWS["gsm8k"][0]), tmp_path / "b.parquet"
    broken.write_bytes(b"no parquet")
    for argv, says in ((["nothing"], "no benchmark 'nothing': choose from gsm8k"), (["truthfulqa"], "no split 'test': choose from validation"),
                       (["short_cot", "--split", "train"], "--file"),
                       (["gsm8k", "--file", str(tmp_path / "none.jsonl")], "No such file"),
                       (["gsm8k", "--file", str(broken)], "b.parquet: cannot be read"),
                       (["gsm8k", "--file", "x.csv"], "x.csv: cannot be read"), (["gsm8k", "--file", good, "--out", good], "is also the input")):
        with pytest.raises(UserError, match=None) as refused:
            prepare.main(["--out", str(tmp_path / "out.jsonl"), *argv])
        assert says in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["gsm8k", "--limit", "-1"])
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("limit", [0, 3])
def test_an_unreachable_hub_says_what_to_do(limit, library, monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("Couldn't reach the Hub\n(a long story)")

    def breaks_off(*args, **options):
        yield HUB_ROWS["gsm8k"][0]
        offline()

    for failing in (offline, breaks_off) if limit else (offline,):
        monkeypatch.setattr(library, "load_dataset", failing)
        with pytest.raises(UserError) as refused:
            list(prepare.rows("gsm8k", "test", limit=limit))
        assert str(refused.value) == "gsm8k: the Hub cannot be reached (ConnectionError: Couldn't reach the Hub); download the file and name it with --file"


def test_the_script_runs_without_importing_datasets(tmp_path):
    source, out = jsonl(tmp_path / "f.jsonl", HUB_ROWS["bbh"][0]), tmp_path / "out.jsonl"
    code = f"import sys, runpy; sys.argv = ['prepare.py', 'bbh', '--file', {source!r}, '--out', {str(out)!r}]\n" \
           "try: runpy.run_module('data.benchmarks.prepare', run_name='__main__')\nexcept SystemExit as e: assert not e.code, e\n" \
           "assert 'datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert json.loads(out.read_text())["answer"] == "False"
    refused = subprocess.run([sys.executable, "-m", "data.benchmarks.prepare", "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and refused.stderr.startswith("error: no benchmark 'nothing'") and refused.stderr.count("\n") == 1


def test_gsm8k_paths_are_judged_by_their_arithmetic():
    reasoning = Reasoning([Step(4, "Then 2 + 3 = 6 apples, <<6*2=12>>12 halves."), Step(6, "The answer is 12.")])
    assert judge("How many?", reasoning, "gsm8k") == ["2+3 = 6: it is 5", ""] and judge("How many?", reasoning) is None


def test_annotate_reads_benchmarks_by_name(tmp_path, monkeypatch):
    rows = {"gsm8k": [{"question": "How many?", "trace": "So 1 + 1 = 2.", "answer": "2"}], "strategyqa": [{"question": "Is it?", "answer": "Yes"}]}
    monkeypatch.setattr(prepare, "rows", lambda name, split: iter(rows[name]) if split == "train" else 1 / 0)
    annotate.main(["gsm8k:train", str(tmp_path / "a.jsonl")])
    assert [s["text"] for s in json.loads((tmp_path / "a.jsonl").read_text())["steps"]] == ["So 1 + 1 = 2.", "The answer is 2."]
    for source, says in (("strategyqa:train", "--teach"), ("gsm9k:train", "gsm9k:train: No such file")):
        with pytest.raises(UserError, match=says):
            annotate.main([source, str(tmp_path / "b.jsonl")])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "a.png"]
