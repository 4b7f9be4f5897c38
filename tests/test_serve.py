"""The page of `sample.py --serve`: its protocol, what it refuses, and the page in a browser."""

import base64
import functools
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch

import sample
from data.tools import serve
from data.tools.display import unknown_words
from data.tools.evaluation import judge
from data.tools.flags import run_program
from data.tools.serve import Server
from model import GPT, gpt_config
from sample import Decoding, ask, decode
from scaffold import NO_SIGNAL, signal_id, signal_of

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parent.parent
DECODING = Decoding(max_tokens=60)
QUESTIONS = [
    "I have a flute, two trumpets, and a piano. How many musical instruments do I have?",
    "not ( True ) and ( True ) is",
    "How far is it?",
]


# ---------------------------------------------------------------------------------------- helpers
@contextmanager
def serving(paths, students, decode=decode, decoding=DECODING):
    """A Server on a free port, in a thread."""
    server = Server(0, paths, students, decode, decoding)
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def students(student):
    """A scaffold, and a clone with the same weights."""
    return [student, replace(student, method="clone")]


@pytest.fixture(scope="module")
def server(trained, students):
    with serving([trained / "ckpt.pt", "clone/ckpt.pt"], students) as server:
        yield server


def send(server, method="POST", path="/reason", body=b"", **headers):
    """The response to one request; its body is not read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    kind = {"Content-Type": "application/json"} if method == "POST" else {}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, kind | named)
    return connection.getresponse()


def reason(server, question, **request):
    """(steps, end) of a question."""
    response = send(server, body=json.dumps({"question": question, **request}))
    lines = [json.loads(line) for line in response]
    assert response.status == 200, lines
    return lines[:-1], lines[-1]


class Held:
    """`decode` that waits after the first step until it is let go."""

    def __init__(self):
        self.begun, self.released = threading.Semaphore(0), threading.Event()

    def __call__(self, model, tokenizer, *args):
        self.begun.release()
        for batch in decode(model, tokenizer, *args):
            yield batch
            if batch.rows.token == tokenizer.step_id:
                assert self.released.wait(60)


# --------------------------------------------------------------------------------------- protocol
@pytest.mark.parametrize("flow", [[], ["Recall", "Contrast", "Addition"]])
@pytest.mark.parametrize("question", QUESTIONS)
def test_streamed_steps_are_those_of_ask(server, student, question, flow):
    classes = [signal_id(name) for name in flow]
    (expected,) = ask(student, [question], [classes], max_tokens=DECODING.max_tokens)
    steps, end = reason(server, question, flow=flow)
    assert [s["text"] for s in steps] == [s.text for s in expected.steps]
    assert [s["signal"] for s in steps] == [signal_of(s.signal).short for s in expected.steps]
    assert [s["signal"] for s in steps][: len(flow)] == flow[: len(steps)]
    for step, probs in zip(steps, expected.probs, strict=True):
        assert list(step["probs"].values()) == pytest.approx(probs, abs=1e-4)
    verdicts = judge(question, [s.text for s in expected.steps])
    assert (verdicts is None) == (question == QUESTIONS[2])  # there is no checker of it
    assert [s["verdict"] for s in steps] == (verdicts or [None] * len(steps))
    unknown = unknown_words(question, student.tokenizer)
    assert unknown or question != QUESTIONS[2]
    assert end == {"finished": expected.finished, "answer": expected.answer, "unknown": unknown}


def test_another_signal_keeps_the_steps_before_it(server):
    for question in QUESTIONS:
        steps, _ = reason(server, question)
        for k, step in enumerate(steps):
            other = next(name for name in step["probs"] if name != step["signal"])
            flow = [*(s["signal"] for s in steps[:k]), other]
            again, _ = reason(server, question, flow=flow)
            assert again[:k] == steps[:k]
            assert again[k]["signal"] == other
            assert again[k]["probs"] == step["probs"]


def test_clone(server, students):
    (expected,) = ask(students[1], QUESTIONS[:1], max_tokens=DECODING.max_tokens)
    steps, _ = reason(server, QUESTIONS[0], student=1)
    assert [s["text"] for s in steps] == [s.text for s in expected.steps]
    assert all(s.signal == NO_SIGNAL for s in expected.steps)
    assert {s["signal"] for s in steps} == {None} and not any(s["probs"] for s in steps)


def test_every_class_of_a_finer_taxonomy_can_be_asked_for(tokenizer, student):
    torch.manual_seed(0)
    model = GPT(gpt_config(2, tokenizer.vocab_size, 1024, n_signals=14)).eval()
    finer = replace(student, model=model, tokenizer=tokenizer, classes=14)
    with serving(["finer.pt"], [finer]) as server:
        (expected,) = ask(finer, ["How far?"], [[signal_id("Recall") + 7]], max_tokens=60)
        steps, _ = reason(server, "How far?", flow=["Recall again"])
    assert steps[0]["signal"] == "Recall again" and len(steps[0]["probs"]) == 14
    assert [s["text"] for s in steps] == [s.text for s in expected.steps]


def test_gate(trained, student):
    decoding = Decoding(tau=1.0, max_tokens=60)
    with serving([trained / "ckpt.pt"], [student], decoding=decoding) as server:
        steps, _ = reason(server, QUESTIONS[0], flow=["Recall"])
    assert [s["signal"] for s in steps] == ["Recall", "Response"]


def test_an_unexpected_error_is_one_line_and_the_server_goes_on(server, monkeypatch, capfd):
    def break_off(*args):
        yield {"signal": None, "probs": {}, "text": "a", "verdict": None}
        raise RuntimeError("out of memory\nhere")

    with monkeypatch.context() as patch:
        patch.setattr(serve, "live_steps", break_off)
        response = send(server, body=json.dumps({"question": "a"}))
        assert len(list(response)) == 1
        printed = ""
        while not printed.endswith("\n"):
            printed += capfd.readouterr().err
    assert printed == "error: RuntimeError out of memory\n"
    assert reason(server, QUESTIONS[0])[0]


def test_a_step_is_sent_as_soon_as_it_is_written(trained, student):
    held = Held()
    with serving([trained / "ckpt.pt"], [student], held) as server:
        response = send(server, body=json.dumps({"question": QUESTIONS[0]}))
        first = json.loads(response.readline())  # nothing more is decoded before `released`
        assert first["text"]
        held.released.set()
        rest = list(response)
        assert len(rest) > 1 and json.loads(rest[-1])["finished"] in (True, False)


def test_a_second_tab_waits_for_its_turn(trained, student):
    held = Held()
    with serving([trained / "ckpt.pt"], [student], held) as server:
        first = send(server, body=json.dumps({"question": QUESTIONS[0]}))
        first.readline()
        found = []
        second = threading.Thread(target=lambda: found.append(reason(server, QUESTIONS[1])))
        second.start()
        assert held.begun.acquire(timeout=60)
        assert not held.begun.acquire(timeout=0.5), "two decode at a time"
        held.released.set()
        assert len(list(first)) > 1
        second.join(60)
        assert found and found[0][0]


def test_a_browser_that_goes_away_leaves_the_server_usable(trained, student, capfd):
    held = Held()
    with serving([trained / "ckpt.pt"], [student], held) as server:
        response = send(server, body=json.dumps({"question": QUESTIONS[0]}))
        response.readline()
        response.close()
        held.released.set()
        steps, _ = reason(server, QUESTIONS[0])
        assert len(steps) > 1
    assert capfd.readouterr().err == ""


def test_the_page(server):
    response = send(server, "GET", "/")
    page = response.read().decode()
    assert response.status == 200 and response.headers.get_content_type() == "text/html"
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [len(s["signals"]) for s in data["students"]] == [7, 0]
    assert {q["task"] for q in data["questions"]} == {"object_counting", "boolean_expressions"}
    assert "http:" not in page and "https:" not in page and "innerHTML" not in page


def test_questions_of_the_embedded_teacher_where_there_are_no_others(tmp_path, student):
    with serving([tmp_path / "</script><b>.pt"], [student]) as server:
        page = send(server, "GET", "/").read().decode()
        data = json.loads(page.split('id="data">')[1].split("</script>")[0])
        assert len(data["questions"]) == 30
        assert data["students"][0]["name"] == f"{tmp_path}/</script><b>.pt (scaffold)"


# --------------------------------------------------------------------------------------- refusals
GOOD = {"question": "How far?"}


@pytest.mark.parametrize(
    ("status", "named", "request_"),
    [
        (403, "only the page at", {"Host": "evil.example:8000"}),
        (403, "only the page at", {"Host": "127.0.0.1"}),
        (403, "only the page at", {"Origin": "http://evil.example"}),
        (403, "only the page at", {"Origin": "null"}),
        (403, "only the page at", {"method": "GET", "path": "/", "Host": "evil.example"}),
        (404, "one page", {"method": "GET", "path": "/data/"}),
        (404, "one page", {"method": "GET", "path": "/../README.md"}),
        (404, "one page", {"method": "GET", "path": "//127.0.0.1/"}),
        (404, "/reason", {"path": "/"}),
        (501, "PUT", {"method": "PUT"}),
        (501, "OPTIONS", {"method": "OPTIONS"}),
        (415, "application/json", {"Content_Type": "text/plain"}),
        (413, "100000", {"Content_Length": "100000"}),
        (413, "100000", {"Content_Length": "-1"}),
        (413, "100000", {"Content_Length": "9" * 5000}),
        (413, "100000", {"Content_Length": "\xb2"}),
        (400, "not JSON", {"body": b"{"}),
        (400, "not JSON", {"body": b"[" * 50_000}),
        (400, "not UTF-8", {"body": b"\xff"}),
        (400, "not an object", {"body": b"[]"}),
        (400, "surrogate", {"body": rb'{"question": "\ud800"}'}),
        (400, '"question" is missing', {"body": b"{}"}),
        (400, '"question" is empty', {"body": b'{"question": " "}'}),
        (400, "not a string", {"body": b'{"question": 1}'}),
        (400, "tokens; shorten it", {"body": json.dumps({"question": "a b c " * 9000})}),
        (400, '"flow"', {"body": json.dumps(GOOD | {"flow": "Recall"})}),
        (400, "Recall, Contrast", {"body": json.dumps(GOOD | {"flow": ["Joy"]})}),
        (400, '"flow"', {"body": json.dumps(GOOD | {"flow": [["Recall"]]})}),
        (400, "it is a clone", {"body": json.dumps(GOOD | {"flow": ["Recall"], "student": 1})}),
        (400, '"student"', {"body": json.dumps(GOOD | {"student": 2})}),
        (400, '"student"', {"body": json.dumps(GOOD | {"student": -1})}),
        (400, '"student"', {"body": json.dumps(GOOD | {"student": [0]})}),
    ],
)
def test_refused(server, capfd, status, named, request_):
    response = send(server, **{"body": json.dumps(GOOD)} | request_)
    assert response.status == status
    assert response.headers.get_content_type() == "application/json"
    assert named in json.load(response)["error"]
    assert capfd.readouterr().err == ""
    assert send(server, "GET", "/").status == 200  # and it goes on


def test_what_is_no_http_gets_no_page(server, capfd):
    for sent in (b"GET /\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HT"):
        with socket.create_connection(("127.0.0.1", server.server_port)) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert b"<html" not in b"".join(iter(functools.partial(connection.recv, 4096), b""))
    assert capfd.readouterr().err == ""


def test_its_own_names_are_accepted(server):
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{server.server_port}"
        assert send(server, "GET", "/", Host=host, Origin=f"http://{host}").status == 200
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("flags", "named"),
    [("--port {taken}", "choose another"), ("--k 3", "--serve goes"), ("--prune", "--serve goes")],
)
def test_command_line(trained, capsys, flags, named):
    with socket.create_server(("127.0.0.1", 0)) as other:
        flags = flags.format(taken=other.getsockname()[1]).split()
        argv = ["--serve", "--ckpt", str(trained / "ckpt.pt"), "--device", "cpu", *flags]
        with pytest.raises(SystemExit) as e:
            run_program(functools.partial(sample.main, argv))
    assert e.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: --") and named in printed and printed.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_leaves_nothing_behind(trained):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "sample.py", "--serve", "--port", str(port), "--device", "cpu"]
    command += ["--ckpt", str(trained / "ckpt.pt"), "How far?"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            assert f"http://127.0.0.1:{port}/#q=How+far%3F" in program.stdout.readline()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            kind = {"Content-Type": "application/json"}
            connection.request("POST", "/reason", json.dumps(GOOD), kind)  # it decodes
            idle = socket.create_connection(("127.0.0.1", port))  # as browsers do
            assert connection.getresponse().status == 200
            program.send_signal(signal.SIGINT)
            rest = program.communicate(timeout=60)
            idle.close()
        finally:
            program.kill()  # where it did not end
    assert program.returncode == 130
    assert rest == ("", "stopped\n")
    socket.create_server(("127.0.0.1", port)).close()


# ---------------------------------------------------------------------------------------- browser
CHROMIUM = shutil.which("chromium")


class Browser:
    """Headless Chromium, driven by its DevTools protocol through two pipes."""

    def __init__(self, folder):
        self.replies, writer = os.pipe()
        reader, self.commands = os.pipe()
        self.received, self.events, self.n = b"", [], 0

        def place_pipes():  # Chromium reads commands from 3 and answers on 4
            high = os.dup(writer), os.dup(reader)
            os.dup2(high[1], 3)
            os.dup2(high[0], 4)

        options = "--headless --no-sandbox --disable-gpu --remote-debugging-pipe".split()
        command = [CHROMIUM, *options, f"--user-data-dir={folder}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, preexec_fn=place_pipes, close_fds=False, **quiet)
        os.close(writer)
        os.close(reader)
        self.session = {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def receive(self):
        while b"\0" not in self.received:
            assert select.select([self.replies], [], [], 60)[0], "Chromium does not answer"
            part = os.read(self.replies, 2**16)
            assert part, "Chromium has ended"
            self.received += part
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)

    def call(self, method, **params):
        self.n += 1
        message = {"id": self.n, "method": method, "params": params} | self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while (reply := self.receive()).get("id") != self.n:
            self.events.append(reply)
        assert "error" not in reply, reply
        return reply["result"]

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression):
        for _ in range(300):
            if self.evaluate(expression):
                return
            time.sleep(0.1)
        raise AssertionError(f"never: {expression}; {self.complaints()}")

    def complaints(self):
        kinds = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        return [event for event in self.events if event["method"] in kinds]

    def screenshot(self, path):
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(image["data"]))

    def close(self):
        self.call("Browser.close")
        self.process.wait(60)
        os.close(self.replies)
        os.close(self.commands)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("there is no chromium on this machine")
    try:
        browser = Browser(tmp_path_factory.mktemp("chromium"))
    except AssertionError as e:  # a snap may not write to /tmp
        pytest.skip(f"chromium does not start here: {e}")
    yield browser
    browser.close()


def column(number):
    """JavaScript: the texts of a path's steps."""
    section = f"document.querySelectorAll('section')[{number}]"
    return f"[...{section}.querySelectorAll('.text')].map((p) => p.textContent)"


ALL_DONE = "typeof paths === 'object' && paths.length > 0 && paths.every((path) => path.isOver)"


@pytest.mark.slow
def test_page_in_a_browser(server, browser):
    """Two students answer; another signal for a step opens a path beside the old one."""
    question = f"Question: {QUESTIONS[0]}"
    browser.call("Page.navigate", url=f"{server.urls[0]}/")
    browser.wait_for("document.readyState === 'complete' && typeof ask === 'function'")
    browser.evaluate(f"byId('question').value = {json.dumps(question)}")
    browser.evaluate("document.querySelector('form button').click()")
    browser.wait_for(ALL_DONE)
    steps, _ = reason(server, question)
    cloned, _ = reason(server, question, student=1)
    assert browser.evaluate(column(0)) == [s["text"] for s in steps]
    assert browser.evaluate(column(1)) == [s["text"] for s in cloned]
    bars = "[...document.querySelectorAll('article')[0].querySelectorAll('.bar')]"
    widths = browser.evaluate(f"{bars}.map((bar) => bar.style.getPropertyValue('--share'))")
    assert widths == [f"{100 * p + 1e-9:.0f}%" for p in steps[0]["probs"].values()]
    same = [a["text"] == b["text"] for a, b in zip(steps, cloned, strict=False)]
    marked = "paths[1].steps.findIndex((step) => step.article.matches('.mark'))"
    assert browser.evaluate(marked) == (same.index(False) if False in same else -1)

    # Click the least probable signal of the second step.
    probs = steps[1]["probs"]
    other = min((name for name in probs if name != steps[1]["signal"]), key=probs.get)
    buttons = "[...paths[0].steps[1].article.querySelectorAll('button')]"
    browser.evaluate(f"{buttons}.find((b) => b.firstChild.textContent === '{other}').click()")
    browser.wait_for("paths.length === 3 && " + ALL_DONE)
    flow = [steps[0]["signal"], other]
    turned, _ = reason(server, question, flow=flow)
    assert browser.evaluate(column(0)) == [s["text"] for s in steps]
    assert browser.evaluate(column(1)) == [s["text"] for s in turned]
    assert browser.evaluate(marked) == 1

    # The address is a link to all this.
    link = browser.evaluate("location.href")
    assert urlencode({"flow": ",".join(flow)}) in link
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=link)
    browser.wait_for("typeof paths === 'object' && paths.length === 3 && " + ALL_DONE)
    assert browser.evaluate(column(1)) == [s["text"] for s in turned]
    assert browser.complaints() == []


@pytest.mark.slow
def test_errors_and_a_hostile_text_in_a_browser(server, browser, monkeypatch):
    url = f"{server.urls[0]}/#" + urlencode({"q": "x " * 40_000})
    browser.events.clear()
    browser.call("Page.navigate", url="about:blank")
    browser.call("Page.navigate", url=url)
    browser.wait_for(ALL_DONE)
    assert "shorten it" in browser.evaluate("paths[0].end.textContent")

    text = "<img src=x onerror='window.hurt = 1'></article><script>window.hurt = 1</script>"

    def hostile(student, question, *args):
        yield {"signal": None, "probs": {}, "text": text, "verdict": text}
        yield {"finished": True, "answer": text, "unknown": [text]}

    monkeypatch.setattr(serve, "live_steps", hostile)
    browser.evaluate("ask('<b>q</b>')")
    browser.wait_for(ALL_DONE)
    assert browser.evaluate(column(0)) == [text]
    assert browser.evaluate("paths[0].end.textContent").startswith(f"Answer: {text} (not in")
    assert browser.evaluate("document.querySelectorAll('main img, main b').length") == 0
    assert browser.evaluate("window.hurt") is None
