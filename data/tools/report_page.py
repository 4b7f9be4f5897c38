"""One page for the browser: a student's figures and all that it thought, in a file of its own.

The page is report_page.html with the data in it, as one block of JSON: no network, no framework.
serve.html becomes a page in the same way.
"""

import base64
import json
from pathlib import Path

from data.tools.files import write_text
from scaffold import SIGNAL_NAMES, SIGNALS

TEMPLATE = Path(__file__).with_suffix(".html")
PICTURES = {
    "curves.png": "Losses against the training step",
    "annotation.png": "Which signal follows which in the teacher's traces",
}

LONGEST = 1000  # characters of a step: one of more is a student's that found no end, and is cut

# Colours that colour-blind people can tell apart (Okabe and Ito), in the order of SIGNALS. From the
# eighth signal on they come again, with another line.
COLORS = "#56B4E9 #CC79A7 #0072B2 #E69F00 #009E73 #F0E442 #D55E00".split()
LINES = ["solid", "double", "dashed", "dotted"]


def palette(n):
    """(colour, CSS border style) of each of n signals."""
    return [(COLORS[i % len(COLORS)], LINES[i // len(COLORS) % len(LINES)]) for i in range(n)]


def write_page(path, result, records, ckpt):
    """Write the page of what `evaluate` returned, and say where.

    ckpt: the student's checkpoint; the pictures beside it, if any, are in the page, too. Raises
    UserError where the page cannot be written.
    """
    pictures = {title: Path(ckpt).with_name(name) for name, title in PICTURES.items()}
    page = {
        "signals": [
            {"name": signal.name, "meaning": signal.meaning, "color": color, "line": line}
            for signal, (color, line) in zip(SIGNALS, palette(len(SIGNALS)), strict=True)
        ],
        "pictures": [
            {"title": title, "source": data_url(picture)}
            for title, picture in pictures.items()
            if picture.is_file()
        ],
        "figures": {k: v for k, v in result.items() if isinstance(v, (int, float))},
        "tasks": result["tasks"],
        "unseen": result.get("unseen"),
        "records": [compact(record) for record in records],
    }
    write_text(path, fill(TEMPLATE, page))
    print(f"to read in a browser: {path}")


def fill(template, data):
    """A page (str): an HTML file of this folder with its data, and with what all pages share."""
    html = template.read_text(encoding="utf-8")
    for name in ("page.css", "page.js"):
        html = html.replace(f"%{name}%", template.with_name(name).read_text(encoding="utf-8"))
    return html.replace("%DATA%", as_json(data))  # last: nothing in the data is replaced


def data_url(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def compact(record):
    """A record with a list for each step: number of its signal or None, confidence, text, verdict.

    The names of the fields would be half of the page.
    """
    fields = "id task question answer given correct erroneous seen tokens gated".split()
    steps = []
    for step in record["steps"]:
        signal = None if step["signal"] is None else SIGNAL_NAMES.index(step["signal"])
        text = step["text"]
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]} ... ({len(text) - LONGEST} characters more)"
        steps.append([signal, round(step["confidence"], 2), text, step["verdict"]])
    return {name: record[name] for name in fields} | {"steps": steps}


def as_json(value):
    """JSON for a <script> element, which nothing in it can end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
