"""A page to play with: students reason step by step, and go on under other signals.

GET / is serve.html. POST /reason takes the signals of the first steps; then the head decides:

    {"question": "...", "flow": ["Recall", "Contrast"], "student": 0}

The reply is one JSON object a line: each step once it is decoded, then the answer. All else is
refused with a status and {"error": "..."}. Only this machine is answered.
"""

import dataclasses
import itertools
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

from data.tools.files import check_field, parse_row
from data.tools.flags import UserError
from data.tools.live import class_names, live_steps, page_of
from data.tools.terminal import first_line, one_line


class Server(ThreadingHTTPServer):
    allow_reuse_address = os.name != "nt"  # Windows would lend a port twice
    request_queue_size = 64

    def __init__(self, port, paths, students, decode, decoding):
        """decode, decoding: see sample.py. Raises OSError for a port that is taken."""
        super().__init__(("127.0.0.1", port), Handler)
        self.urls = [f"http://{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")]
        self.page = page_of(paths, students)
        self.students, self.decode, self.decoding = students, decode, decoding
        self.turn = threading.Lock()  # each request has a thread, and one at a time decodes
        self.is_stopping = False

    def parse(self, body):
        """(Student, question, classes of the first steps) of a request. Raises UserError."""
        request = parse_row(body, "request")
        check_field(request, "question", "request")
        number, flow = request.get("student", 0), request.get("flow", [])
        if number not in [*range(len(self.students))]:
            raise UserError(f'"student" must be a number below {len(self.students)}')
        student = self.students[int(number)]
        classes = class_names(student)
        if not isinstance(flow, list) or any(name not in [*classes] for name in flow):
            known = ", ".join(classes) or "none, as it is a clone"
            raise UserError(f'"flow" must be a list of signals that the student has: {known}')
        return student, request["question"], [classes[name] for name in flow]

    def reason(self, student, question, flow):
        """Yield the lines (str) of a reply."""
        for line in live_steps(student, question, flow, self.decode, self.decoding):
            if self.is_stopping:
                return
            if line:
                yield json.dumps(line) + "\n"

    def handle_error(self, request, client_address):
        """One line; none for a browser that went away."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"error: {one_line(first_line(error))}", file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    timeout = 60  # seconds, for a client that neither sends nor reads

    def parse_request(self):
        """Refuse what another site's page may have sent."""
        if not super().parse_request():
            return False
        urls = self.server.urls
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if f"http://{host}" in urls and origin in (None, *urls):
            return True
        return self.send_error(403, f"only the page at {urls[0]} may ask here")

    def do_GET(self):
        if self.path != "/":
            return self.send_error(404, "there is one page here: /")
        self.reply(200, "text/html", [self.server.page])

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if self.path != "/reason":
            return self.send_error(404, "questions go to /reason")
        if self.headers.get_content_type() != "application/json":
            return self.send_error(415, "the Content-Type must be application/json")
        if not length.isdecimal() or len(length) > 5:
            return self.send_error(413, "a request must have less than 100000 bytes")
        try:
            request = self.server.parse(self.rfile.read(int(length)))
            with self.server.turn:
                lines = self.server.reason(*request)
                first = next(lines, "")
                self.reply(200, "application/x-ndjson", itertools.chain([first], lines))
        except UserError as e:  # of the request, or before the first line: a question too long
            self.send_error(400, one_line(e))

    def send_error(self, code, message=None, explain=None):
        """The library's own refusals come here, too."""
        self.reply(code, "application/json", [json.dumps({"error": message or str(code)})])

    def reply(self, code, kind, parts):
        """Send parts (str) as they come. In HTTP/1.0, the default, closing ends a reply."""
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.end_headers()
        for part in parts:
            self.wfile.write(part.encode())

    def log_message(self, *args):
        """No line for each request."""


def serve(config, question, students, decode, decoding):
    """Serve the page until Ctrl-C. Raises UserError."""
    names = "ckpt compare device serve port tau".split()
    others = dataclasses.replace(config, **{name: getattr(type(config), name) for name in names})
    if others != type(config)():
        raise UserError("--serve goes with --ckpt, --compare, --device, --port and --tau alone")
    try:
        server = Server(config.port, config.compare or [config.ckpt], students, decode, decoding)
    except OSError as e:
        raise UserError(f"--port {config.port}: {e.strerror}; choose another one") from None
    start = "#" + urlencode({"q": question}) if question else ""
    print(f"the page: {server.urls[0]}/{start} (Ctrl-C ends it)", flush=True)
    with server:
        try:
            server.serve_forever()
        finally:
            server.is_stopping = True
            server.turn.acquire(timeout=3)  # whoever decodes sees it at the next token
