"""Final answers: which one a text hands over, and whether two of them say the same.

Nothing is ever evaluated as code, numbers are exact Fractions. In doubt two answers differ: a false "right" is worse than a
false "wrong".
"""
import re
from fractions import Fraction

HANDOVER = re.compile(r"\banswer\b((?:\s*(?:\bis\b|[:=]))*)\s*|(####|<answer>)\s*", re.I)
WRAPPED = re.compile(r"""(["'`*$])(.*)\1|[“‘](.*)[”’]|\\\((.*)\\\)|\\\[(.*)\\\]|\\text\{([^{}]*)\}""", re.S)
SPELLINGS = [(re.compile(found), new) for found, new in (  # typography and LaTeX that leave the meaning alone, in this order
    (r"[−–]", "-"), ("½", " 1/2"), ("¼", " 1/4"), ("¾", " 3/4"), ("²", "^2"), ("³", "^3"), (r"\\(?:left|right)(?![a-z])|\\!", ""),
    (r"\\[,;: ]|\\q?quad", " "), (r"\{,\}", ","), (r"(?<=\d),(?=\d{3}(?!\d))", ""), (r"\\(?=[%$])", ""), (r"%|\bper cent\b", " percent"),
    (r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|°", " degrees"), (r"^(-?) ?\$ ?(-?[\d.]+)", r"\1\2 dollars "),
    (r"^(-?) ?€ ?(-?[\d.]+)", r"\1\2 euros "), (r"^(-?) ?£ ?(-?[\d.]+)", r"\1\2 pounds "), (r"\\[dtc]frac", r"\\frac"),
    (r"\\frac\s*(\w)", r"\\frac{\1}"), (r"(\\frac\{[^{}]*\})\s*(\w)", r"\1{\2}"), (r"\\frac\{(-?\d+)\}\{(\d+)\}", r" \1/\2"),
    (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"), (r"\^\{(\w)\}", r"^\1"), (r"\\(?:mathrm|mbox|textbf|textrm)\{", r"\\text{"),
    (r"\s+", " "), (r" ?([^\w\s]) ?", r"\1"))]
NUMBER = re.compile(r"([-+]?)(?:(?:(\d+) )?(\d+)/(0*[1-9]\d*)|(\d+|\d*\.\d+))((?: [a-z/]{2,}(?:\^[23])?){0,4})")
NO_UNIT = set("""or and not than less plus minus times over by pi half halves third quarter hundred thousand million billion dozen squared
    cubed factorial mod base one two three four five six seven eight nine ten""".split())  # "5 million" and "5 or more" are not 5
OPTION = re.compile(r"(?:option |choice )?(?:\(([a-z])\)|([a-z])(?:[.):]|$))(?!(?:and|or|nor)\b|[,/&]|.*\([a-z]\))")
VERDICT = re.compile(r"(?:(?:so|thus|therefore|hence|well)[, ]*)?(yes|no|true|false)(?=$|[,.;:!—-]| (?:because|since|as|it|they|he|she)\b)")


def extract(text):
    """The final answer a text hands over, or None: the last of \\boxed{...}, "answer is ...", "answer: ...", "#### ...", <answer>;
    if there is none of them, what follows the last "answer"."""
    text = re.sub(r"(?<!\w)\*\*|\*\*(?!\w)", "", text[-20_000:])  # bold type may open before "answer" and close after it
    found = [(True, at, clean(inside)) for at, inside in boxed(text)]  # (is it sure, where, answer)
    for m in HANDOVER.finditer(text):
        line = text[m.end() :].partition("\n")[0]
        found.append((bool(m[1] or m[2]), m.start(), clean(re.split(r"\.\s+(?=[A-Z(])", line)[0])))
    return max((f for f in found if f[2]), default=(0, 0, None))[2]


def boxed(text):
    """[(where, inside), ...] of every complete \\boxed{...}, nested braces and all."""
    found, opened = [], []
    for m in re.finditer(r"\\boxed\s*\{|[{}]", text):
        if m[0] != "}":
            opened.append(m)
        elif opened and (start := opened.pop())[0] != "{":
            found.append((start.start(), text[start.end() : m.start()]))
    return found


def clean(text):
    """An answer without what is wrapped around it: white space, a final period, quotes, emphasis, math signs, tags."""
    text = re.sub(r"</?answer>", "", text, flags=re.I).strip().rstrip(". \n")
    while m := WRAPPED.fullmatch(text):
        text = m[m.lastindex].strip().rstrip(". \n")
    return text


def same(given, right):
    """Do two final answers (str, or None for none) say the same? Case, white space and a final period never count.

    Numbers (integers, decimals, fractions, mixed numbers, also in LaTeX) compare exactly; a unit (currency, percent, words) only
    counts where both have one, so 12% is 12 percent and 12, never 0.12. An option is its letter: (B), B, b) or "(B) its text".
    Where yes, no, true or false is right, a sentence that opens with one will do. Other LaTeX compares as text with its spelling
    evened out (\\dfrac, \\left, spaces, units in \\text): no algebra, no reordering. The right one may stand behind GSM8K's ####.
    """
    right = (right or "").rpartition("####")[2]
    given, right = (" ".join(clean(text or "").split()) for text in (given, right))
    if not given or not right or max(len(given), len(right)) > 1000:
        return given == right != ""
    given, right = plain(given), plain(right)
    if letter := re.fullmatch(r"\(?([a-z])\)?", right):
        return given == right or (m := OPTION.match(given)) is not None and letter[1] in m.groups()
    if right in ("yes", "no", "true", "false"):
        return verdict(given) == verdict(right)
    (a, unit), (b, other) = value(given if "=" in right else re.sub(r"^[a-zA-Z]=", "", given)), value(right)
    return a == b and all(u == v for u, v in zip(unit, other))


def plain(text):
    """An answer in one spelling; only LaTeX keeps its capitals, since \\Delta is not \\delta."""
    for found, new in SPELLINGS:
        text = found.sub(new, text)
    text = clean(text)
    return text if "\\" in text else text.casefold()


def verdict(text):
    """True for yes or true, False for no or false; None where a text opens with neither or says both."""
    m = VERDICT.match(text)
    said = [m[1], *re.findall(r"\b(?:yes|no|true|false)(?=$|[,.;:!])", text)] if m else []
    said = {word in ("yes", "true") for word in said}
    return said.pop() if len(said) == 1 else None


def value(text):
    """(Fraction, or str where it is no number; the words of its unit, in the singular) of a plain answer."""
    body, unit = re.fullmatch(r"(.*?)(?:\\text\{([^{}]*)\})?", text).groups("")
    n = NUMBER.fullmatch(body)
    words = f"{n[6] if n else ''} {unit}".split()
    if NO_UNIT & {*words, *(w.rstrip("s") for w in words)}:
        return text, []
    if n:
        body = Fraction(n[1] + "1") * (Fraction(n[5]) if n[5] else int(n[2] or 0) + Fraction(int(n[3]), int(n[4])))
    return body, [w.rstrip("s") for w in words]
