"""The page of what the student thinks: whole, harmless, and the same in a real browser."""

import json
import re
import shutil
import subprocess
import sys

import pytest

import sample
import train
from conftest import TINY
from data.tools import report_page
from data.tools.evaluation import summarize
from data.tools.files import read_jsonl
from data.tools.flags import UserError
from data.tools.report_page import palette, write_page
from scaffold import SIGNAL_NAMES, SIGNALS

EVIL = "</script><img src=x onerror=\"document.title='run'\"><!-- <script> & '\u2028"
BROWSER = shutil.which("chromium") or ""
needs_browser = pytest.mark.skipif(
    not BROWSER or BROWSER.startswith("/snap"),  # a snap cannot read what lies in /tmp
    reason="there is no program chromium that opens a file in /tmp",
)


def make_record(number, **fields):
    """A right and unseen record of one step, but for these fields."""
    step = {"signal": SIGNAL_NAMES[2], "confidence": 0.876, "text": "I know.", "verdict": ""}
    record = {
        "id": f"row-{number}",
        "task": "sums",
        "question": f"What is {number} + 1?",
        "answer": "1",
        "given": "1",
        "correct": True,
        "erroneous": False,
        "seen": False,
        "tokens": 4,
        "gated": False,
        "signals": [1, 1, 1],
        "obeyed": None,
        "steps": [step],
    }
    return record | fields


def step(text, verdict="", signal=SIGNAL_NAMES[0]):
    return {"signal": signal, "confidence": 0.5, "text": text, "verdict": verdict}


@pytest.fixture
def write(tmp_path):
    """A function: write the page of some records; its path."""

    def write(records):
        path = tmp_path / "page.html"
        write_page(path, summarize(records), records, tmp_path / "ckpt.pt")
        return path

    return write


def read_data(path):
    """The block of JSON in a page."""
    html = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'type="application/json" id="data">(.*?)</script>', html, re.S)[1])


def browse(path, script=""):
    """(the text that a script leaves as the page's title, the console's messages, the page then).

    The script runs in a copy of the page, after the page's own.
    """
    copy = path.with_name("copy.html")
    html = path.read_text(encoding="utf-8")
    html = html.replace("</body>", f"<script>document.title = {script};</script></body>")
    copy.write_text(html if script else path.read_text(encoding="utf-8"), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --enable-logging=stderr --dump-dom".split()
    profile = f"--user-data-dir={path.with_name('profile')}"
    done = subprocess.run(
        [BROWSER, *flags, profile, copy.as_uri()], capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return re.search("<title>(.*?)</title>", done.stdout, re.S)[1], console, done.stdout


# ------------------------------------------------------------------------------------- the file
def test_no_text_leaves_the_block_of_data(write):
    records = [make_record(1, id=EVIL, task=EVIL, question=EVIL, given=EVIL, steps=[step(EVIL)])]
    empty = write([]).read_text(encoding="utf-8")
    path = write(records)
    html = path.read_text(encoding="utf-8")
    for mark in ("<script", "</script", "<!--", "<img"):
        assert html.count(mark) == empty.count(mark)
    (record,) = read_data(path)["records"]
    assert [record[name] for name in ("id", "task", "question", "given")] == [EVIL] * 4
    assert record["steps"] == [[0, 0.5, EVIL, ""]]


def test_500_traces_with_their_pictures_stay_under_1_mb(tmp_path, trained):
    for name in report_page.PICTURES:
        shutil.copy(trained / name, tmp_path)
    text = "Let me see: True or False and not True is True, which leaves not False and True."
    records = [make_record(i, steps=[step(text)] * 9) for i in range(500)]
    path = tmp_path / "page.html"
    write_page(path, summarize(records), records, tmp_path / "ckpt.pt")
    assert len(read_data(path)["pictures"]) == 2
    assert path.stat().st_size < 1_000_000


def test_a_step_without_an_end_is_cut(write):
    (record,) = read_data(write([make_record(1, steps=[step("is " * 900)])]))["records"]
    assert record["steps"][0][2] == "is " * 333 + "i ... (1700 characters more)"


def test_the_page_asks_for_nothing(write):
    html = write([make_record(1)]).read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link[^>]*href=\"(?!data:)", html)
    assert "default-src 'none'" in html
    assert "innerHTML" not in html


def test_signals_of_any_number_look_different():
    for n in (1, 7, 8, 14, 28):
        assert len(set(palette(n))) == n
    assert all(re.fullmatch("#[0-9A-F]{6}", color) for color, _ in palette(28))


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(UserError, match="page.html"):
        write_page(tmp_path / "page.html", summarize([]), [], tmp_path / "ckpt.pt")


# ---------------------------------------------------------------------------------- in a browser
RECORDS = [
    make_record(1),
    make_record(2, task="lies", given="2", correct=False, erroneous=True),
    make_record(3, erroneous=True, steps=[step("One.", "is not two")], seen=True),
    make_record(4, correct=False, given=None, erroneous=None, steps=[], seen=True),
]

# What is shown after a choice: the numbers of the questions, in order.
SHOWN = """
const shown = (name, value) => {
  const control = byId(name), old = control.value;
  if (control.type === "checkbox") control.checked = value; else control.value = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
  const articles = [...document.querySelectorAll("article")].filter((a) => !a.hidden);
  const found = articles.map((a) => a.id.slice(-1)).join("");
  if (control.type === "checkbox") control.checked = false; else control.value = old;
  return found;
};
"""
KEYS = """
const press = (...keys) => {
  for (const key of keys) {
    const options = { key, bubbles: true, cancelable: true };
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", options));
  }
  return document.activeElement.id.slice(-1);
};
"""


def in_page(definitions, *expressions):
    """A script whose value is the values of some expressions, joined."""
    return f"(() => {{ {definitions} return [{', '.join(expressions)}].join(' ') }})()"


@needs_browser
def test_filters_and_search(write):
    choices = [
        "shown('task', 'lies')",
        "shown('outcome', 'wrong answer')",
        "shown('outcome', 'right answer, wrong path')",
        "shown('outcome', 'right answer')",
        "shown('seen', true)",
        "shown('search', ' ONE')",
        "shown('search', 'row-4')",
        "shown('search', '')",
        "byId('count').textContent",
    ]
    title, console, _ = browse(write(RECORDS), in_page(SHOWN, *choices))
    assert title == "2 24 3 1 34 3 4 1234 4 of 4"
    assert console == []


@needs_browser
def test_keys(write):
    presses = [
        "press('j')",
        "press('j', 'ArrowDown')",
        "press('k')",
        "press('ArrowUp', 'k', 'k')",
        "press('/')",
        "press('j')",  # a letter of the search
        "press('Escape', 'j')",
    ]
    title, console, _ = browse(write(RECORDS), in_page(KEYS, *presses))
    assert title == "1 3 2 1 h h 1"
    assert console == []


@needs_browser
def test_what_a_page_shows(write):
    title, console, dom = browse(write(RECORDS))
    assert (title, console) == ("What the student thinks", [])
    assert "✗ is not two" in dom
    assert "50.0% (15.0–85.0)" in dom  # Wilson: two of four
    assert dom.count('class="confidence"') == 3
    assert dom.count("✓ right answer") == 1
    for signal in SIGNALS:
        assert dom.count(signal.name) >= 2  # in the data and in the legend


@needs_browser
def test_no_text_of_a_student_runs(write):
    evil = {"id": EVIL, "task": EVIL, "question": EVIL, "answer": EVIL, "given": EVIL}
    path = write([make_record(1, **evil, steps=[step(EVIL, EVIL)])])
    title, console, dom = browse(path)
    assert (title, console) == ("What the student thinks", [])
    assert "<img" not in dom.split("</script>", 1)[0].split('id="data">')[0]
    count = "document.querySelectorAll('article img, form img, table img').length"
    shown = f"byId('questions').textContent.split({json.dumps(EVIL)}).length"
    script = in_page("", count, shown.replace("</", "<\\/").replace("<!", "<\\!"))
    # the id, the task, the question, the step, its verdict, the answer given and the right one
    assert browse(path, script)[0] == "0 8"


@needs_browser
def test_an_eighth_signal_and_a_clone(write, monkeypatch):
    eighth = [*SIGNALS, SIGNALS[0].__class__("Doubt", "Doubt", "asks", 95, "why")]
    monkeypatch.setattr(report_page, "SIGNALS", eighth)
    monkeypatch.setattr(report_page, "SIGNAL_NAMES", [s.name for s in eighth])
    first = "getComputedStyle(document.querySelector('article .band'))"
    look = in_page("", f"{first}.borderLeftStyle", "byId('legend').children.length")
    path = write([make_record(1, steps=[step("Why?", signal="Doubt")])])
    assert browse(path, look)[0] == "double 8"

    cloned = [make_record(1, steps=[step("Four.", "is five", signal=None)])]
    hidden = in_page(
        "", "byId('signals').hidden", "document.querySelector('article ol').textContent"
    )
    title, console, dom = browse(write(cloned), hidden)
    assert title == "true Four.✗ is five"
    assert 'class="confidence"' not in dom
    assert console == []


# ------------------------------------------------------------------------------------ the programs
def test_a_run_writes_its_page(trained):
    data = read_data(trained / "report.html")
    records = read_jsonl(trained / "traces.jsonl")
    assert [r["id"] for r in data["records"]] == [r["id"] for r in records]
    assert data["tasks"] == json.loads((trained / "result.json").read_text())["tasks"]
    assert len(data["pictures"]) == 2
    for shown, record in zip(data["records"], records, strict=True):
        for (signal, _, text, verdict), step in zip(shown["steps"], record["steps"], strict=True):
            assert SIGNAL_NAMES[signal] == step["signal"]
            assert text[: report_page.LONGEST] == step["text"][: report_page.LONGEST]
            assert verdict == step["verdict"]


def test_sample_writes_a_page(trained, tmp_path, capsys):
    questions = tmp_path / "few.jsonl"
    rows = ['{"question": "How far is it?", "answer": "3"}', '{"question": "Who?", "answer": "I"}']
    questions.write_text("\n".join(rows), encoding="utf-8")
    ckpt, page = str(trained / "ckpt.pt"), tmp_path / "page.html"
    argv = ["--eval", str(questions), "--ckpt", ckpt, "--out", str(tmp_path / "out.jsonl")]
    sample.main([*argv, "--html", str(page)])
    assert str(page) in capsys.readouterr().out
    data = read_data(page)
    assert [r["erroneous"] for r in data["records"]] == [None, None]
    assert {step[3] for r in data["records"] for step in r["steps"]} == {None}
    for taken in (questions, ckpt, tmp_path / "out.jsonl"):
        with pytest.raises(UserError, match="is also the input"):
            sample.main([*argv, "--html", str(taken)])


@pytest.mark.slow
def test_the_page_of_a_clone_and_one_in_the_way(tmp_path):
    flags = [*TINY, *"--method clone --n_train 60 --n_test 4 --max_steps 3".split()]
    train.main([*flags, "--out_dir", str(tmp_path / "clone")])
    records = read_data(tmp_path / "clone" / "report.html")["records"]
    assert {step[0] for record in records for step in record["steps"]} == {None}

    (tmp_path / "blocked" / "report.html").mkdir(parents=True)
    command = [sys.executable, train.__file__, *flags, "--out_dir", str(tmp_path / "blocked")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=100)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_no_picture_of_an_earlier_run(tmp_path):
    picture = tmp_path / "annotation.png"
    picture.write_bytes(b"old")
    train.draw_annotation(None, picture)
    train.draw_annotation(None, picture)
    assert not picture.exists()
