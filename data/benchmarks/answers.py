r"""Final answers: which one a text hands over, and whether two of them say the same.

Numbers are exact Fractions. In doubt two answers differ: a false "right" is worse than a false
"wrong". LaTeX is the business of math-verify, see latex.py.
"""

import re
from fractions import Fraction

from data.benchmarks.latex import same_latex

# Where a group matches, it is more than the bare word "answer".
HANDOVER = re.compile(
    r"""
    (?: \banswer\b (?: \s+ (?: must | should | would | will ) \s+ be\b )?
        ( \s* (?: \bis\b | [:=] ) )*
      | ( \#\#\#\# | <answer> )
    )
    \s*
    """,
    re.VERBOSE | re.IGNORECASE,
)

# "The answer is right" hardly hands anything over.
PRAISE = re.compile(r"(?:right|correct|wrong|incorrect|reasonable)\b", re.IGNORECASE)

# What may stand around an answer; the last group that matches is the answer itself.
WRAPPED = re.compile(
    r"""
    (["'`*$]) (.*) \1  # "4", 'yes', `code`, *emphasis*, $math$
    | [“‘] (.*) [”’]  # “4”
    | \\\( (.*) \\\)  # \(4\)
    | \\\[ (.*) \\\]  # \[4\]
    | \\text\{ ([^{}]*) \}  # \text{yes}
    """,
    re.VERBOSE | re.DOTALL,
)

# (pattern, replacement), in this order: typography that leaves the meaning alone.
SPELLINGS = [
    (r"[−–]", "-"),
    (r"(?i)\bno-one\b", "nobody"),  # a word of its own, not the answer "no"
    ("½", " 1/2"),
    ("¼", " 1/4"),
    ("¾", " 3/4"),
    (r"(?<=\d),(?=\d{3}(?!\d))", ""),  # 1,234
    (r"\\(?=[%$])", ""),
    (r"%|\bper cent\b", " percent"),
    (r"^(-?) ?\$ ?(-?[\d.]+)", r"\1\2 dollars "),
    (r"^(-?) ?€ ?(-?[\d.]+)", r"\1\2 euros "),
    (r"^(-?) ?£ ?(-?[\d.]+)", r"\1\2 pounds "),
    (r"\s+", " "),
    (r" ?([^\w\s]) ?", r"\1"),  # no space beside punctuation
]

NUMBER = re.compile(
    r"""
    (?P<sign> [-+]? )
    (?: (?P<whole> \d+ ) [ ] (?= \d+ / ) )?  # 1 3/4
    (?P<fraction> \d+ / 0* [1-9] \d* | \d+ | \d* \. \d+ )  # 3/4, 12, 1.5, .5
    (?P<unit>
        (?: [ ] (?: square[ ] | cubic[ ] )? [a-z/]{2,}  # km/h
            (?: [ ] (?: of | per | an? | each | every ) [ ] [a-z]{2,} ){0,2}  # cups of tea a day
        )?
    )
    """,
    re.VERBOSE,
)

# No units: "5 million", "5 tenths" and "5 more" are not 5. Without a plural's s, which is taken off
# before: "halve" is of "halves", "twentie" of "twenties".
NO_UNIT = set(
    """
    half halve third quarter fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
    sixteenth twentieth hundredth thousandth millionth
    one two three four five six seven eight nine ten eleven twelve twenty twentie hundred
    thousand million billion bn trillion dozen score
    pi squared cubed factorial more less fewer below above under over not wrong
    """.split()
)

OPTION = re.compile(
    r"""
    (?: (?: option | choice ) [ ]? )?  # `plain` leaves no space before (
    (?: \( ([a-z]) \) | ([a-z]) (?: [.):] | $ ) )  # (b), b., b), b: or b
    (?! (?: and | or | nor )\b | [,/&] | .* \( [a-z] \) )  # not "(b) or (c)"
    (?! [ ]? (?: is[ ] (?: not | wrong | false | incorrect ) | isn ) \b )  # not "(b) is wrong"
    """,
    re.VERBOSE,
)

VERDICT = re.compile(
    r"""
    (?: (?: so | thus | therefore | hence | well ) [, ]* )?
    ( yes | no | true | false )
    (?= $ | [,.;:!—-]
      | [ ] (?: because | since | as | it | they | he | she )\b  # not "no trees"
    )
    """,
    re.VERBOSE,
)


def extract(text):
    r"""The final answer that a text hands over (str), or None.

    It is the last of \boxed{...}, "answer is ...", "answer: ...", "#### ..." and <answer>, or else
    what follows the last "answer".
    """
    text = text[-20_000:]
    text = re.sub(r"(?<!\w)\*\*|\*\*(?!\w)", "", text)  # bold type, but not 2**3
    # (is it surely the answer, its position, the answer)
    candidates = [(True, start, clean(content)) for start, content in boxed(text)]
    for m in HANDOVER.finditer(text):
        line = text[m.end() :].partition("\n")[0]
        sentence = re.split(r"\.\s+(?=[A-Z(])", line)[0]
        is_sure = m.lastindex is not None and not PRAISE.match(sentence)
        candidates.append((is_sure, m.start(), clean(sentence)))
    candidates = [c for c in candidates if c[2]]
    return max(candidates)[2] if candidates else None


def boxed(text):
    r"""[(start, content), ...] of every complete \boxed{...}; braces may be nested."""
    found = []
    openings = []  # matches of { and \boxed{ that are not closed yet
    for m in re.finditer(r"\\boxed\s*\{|[{}]", text):
        if m[0] != "}":
            openings.append(m)
        elif openings:
            opening = openings.pop()
            if opening[0] != "{":
                found.append((opening.start(), text[opening.end() : m.start()]))
    return found


def clean(text):
    """An answer without final periods, quotes, emphasis, math signs or tags around it."""
    text = re.sub(r"</?answer>", "", text, flags=re.IGNORECASE)
    while True:
        text = text.strip().rstrip(". \n")
        m = WRAPPED.fullmatch(text)
        if not m:
            return text
        text = m[m.lastindex]


def same(given, right, task=""):
    r"""Do two final answers (str, or None for none) say the same?

    - Case, white space and a final period never count.
    - Numbers (decimals, fractions, mixed numbers) compare exactly.
    - A unit (currency, percent, words) counts where both have one: 12% is 12, never 0.12.
    - An option is its letter: (B), B, b) or "(B) its text".
    - Where yes, no, true or false is right, a sentence that opens with one will do.
    - For LaTeX, and in the tasks of MATH, math-verify decides where all this finds no match.

    right may be a whole solution of GSM8K, with the answer behind ####.
    """
    right = (right or "").rpartition("####")[2]
    given = " ".join(clean(given or "").split())
    right = " ".join(clean(right).split())
    if not given or not right:
        return False
    if max(len(given), len(right)) > 1000:
        return given == right
    return same_plain(plain(given), plain(right)) or same_latex(given, right, task)


def same_plain(given, right):
    """Do two plain answers say the same?"""
    if letter := re.fullmatch(r"\(?([a-z])\)?", right):
        option = OPTION.match(given)
        return given == right or bool(option) and option[option.lastindex] == letter[1]
    if right in ("yes", "no", "true", "false"):
        return verdicts(given) == verdicts(right)
    if "=" not in right:
        given = re.sub(r"^[a-zA-Z]=", "", given)  # "x = 5" is 5
    number, unit = value(given)
    right_number, right_unit = value(right)
    shared_words = zip(unit, right_unit, strict=False)  # none where one of them has no unit
    return number == right_number and all(a == b for a, b in shared_words)


def plain(text):
    r"""An answer in one spelling. Only LaTeX keeps its capitals, since \Delta is not \delta."""
    for pattern, replacement in SPELLINGS:
        text = re.sub(pattern, replacement, text)
    text = clean(text)
    return text if "\\" in text else text.casefold()


def verdicts(text):
    """The set of True (yes, true) and False (no, false) that a plain answer opens with and says."""
    opening = VERDICT.match(text)
    if not opening:
        return set()
    words = re.findall(r"\b(?:yes|no|true|false)(?=$|[,.;:!])", text)
    return {word in ("yes", "true") for word in [opening[1], *words]}


def value(text):
    """(number, unit) of a plain answer.

    number: a Fraction, or the text where there is none. unit: a list of words in the singular.
    """
    m = NUMBER.fullmatch(text)
    words = m["unit"].split() if m else []
    unit = [word.rstrip("s") for word in words]
    if not m or NO_UNIT & {*words, *unit}:
        return text, []
    size = int(m["whole"] or 0) + Fraction(m["fraction"])
    return -size if m["sign"] == "-" else size, unit
