"""Written arithmetic: which sums of a step are wrong?

A small recursive parser reads them as exact Fractions; nothing is evaluated as code. What it cannot
read, and what may be part of something larger, is left alone: a false alarm is worse than a miss.
"""

import operator
import re
from fractions import Fraction
from itertools import pairwise

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
TIGHTNESS = {"+": 1, "-": 1, "*": 2, "/": 2}  # the tighter one comes first

TOKEN = r"""
    (?: \$\s? )?  # a number: $1,234.5 or 12 %
    (?: \d{1,3} (?: ,\d{3} )+ (?!\d) | \d+ | (?=\.\d) )
    (?: \.\d+ )?
    (?: \s?% | \s?percent\b )?
    | [-+*/×÷()=]
    | (?<![a-z]) x (?! [a-z] | \s*[-+*/=)] )  # 2 x 3, but not 2x + 3
    | (?: (?<=%[ ]) | (?<=percent[ ]) ) of\b (?=[^=a-z]*=)  # 10% of 50 =
"""
RUN = re.compile(rf"(?:{TOKEN}) (?: [ \t]* (?:{TOKEN}) )*", re.VERBOSE | re.IGNORECASE)

# What makes an equation part of something larger.
BEFORE = re.compile(
    r"""
    [^\s"'“‘] $  # 2^3 + 1 = 9
    | \d [.,] \s* $
    | \b (?:
        twice | half | double | triple  # twice 3 + 4 = 11
        | times | plus | minus | than | choose
        | (?: divided | multiplied )[ ]by | \d[ ]and
        | days? | weeks?  # on day 1 * 2 = 20
        | (?: half | thirds? | quarters? | \w+ths? )[ ]of
    ) \s* $
    """,
    re.VERBOSE | re.IGNORECASE,
)
AFTER = re.compile(
    r"""
    [a-z] (?![a-z])  # 3 + 2 = 5x
    | [\^!¹²³⁰-⁹] | :\d | \.\.
    | ,? \s* (?:
        ¢ | (?: cents? | choose | mod | r[ ]?\d+ )\b
        | (?: dozen | hundred | thousand | million | billion )\b  # 6 * 0.5 = 3 million
        | (?: with[ ] )? (?: an?[ ] )? rem  # 7/2 = 3 remainder 1
        | and[ ] (?: a[ ]half | \(? \d+/\d )  # 12 x 1 and 1/4
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)


def arithmetic(step):
    """Errors in a step's equations and <<a*b=c>> marks: ["48/2 = 25: it is 24", ...].

    Sides are equal when one is the other rounded to the decimals that it shows. Percentages may be
    read as hundredths or as they stand. In 2+3=5+1=6 a side goes on from the result before, in
    1+2+3=1+2 it takes the first part. Powers, variables and units are left alone.
    """
    step = re.sub(r"[−–]", "-", step)
    mark = r"<<([^<>]*)>>"
    errors = {}  # as keys: every error once, in order
    for text in [*re.findall(mark, step), re.sub(mark, "", step)]:
        for sides in equations(text):
            errors |= dict.fromkeys(errors_between(sides))
    return list(errors)


def equations(text):
    """Yield every equation that stands alone in a text, as the tokens of its sides.

    "2 x $1,000 = 50%" is [["2", "*", "1000"], ["50%"]].
    """
    for run in RUN.finditer(text):
        if "=" not in run[0] or len(run[0]) > 200:
            continue
        before = text[max(0, run.start() - 20) : run.start()]
        if not BEFORE.search(before) and not AFTER.match(text, run.end()):
            sums = re.sub(r"\s?(?:%|percent)", "%", run[0].lower()).replace("of", "*")
            sums = sums.translate(str.maketrans("x×÷$", "**/ ", ","))
            yield [re.findall(r"[\d.]+%?|[-+*/()]", side) for side in sums.split("=")]


def errors_between(sides):
    """Yield what is wrong between neighbouring sides of an equation."""
    for i, (left, right) in enumerate(pairwise(sides)):
        # The first left side needs an operator: "Week 1 = 60/6" has a label there.
        # People write 6 / 2/3 for 6 / (2/3), and a dash before a sum.
        is_sum = OPERATORS.keys() & (left + right if i else left)
        if is_sum and not re.search(r"^[-+*/]|/ [^ (]+ /", " ".join(left)):
            truth = correction(left, right, goes_on=i + 2 < len(sides))
            if truth:
                yield f"{''.join(left)} = {''.join(right)}: {truth}"


def correction(left, right, goes_on):
    """What the left side comes to (str); None where the right side agrees or one makes no sense.

    goes_on: a third side follows.
    """
    try:
        for percent in (Fraction(1), Fraction(1, 100)):  # what 1% stands for
            result = evaluate(left, percent)
            if abs(result - evaluate(right, percent)) <= rounding(left, right, percent):
                return None
            if len(right) > 1 and left[: len(right)] == right:  # the first part of the left side
                return None
            if goes_on and result == evaluate(right[:1], percent):
                return None
    except ZeroDivisionError:
        return "it divides by zero"
    except ValueError:  # one side is no expression
        return None
    if result.denominator == 1:
        return f"it is {result}"
    return f"it is {float(result):.4f}".rstrip("0")


def rounding(left, right, percent):
    """The largest difference that rounding explains; 0 where neither side is one number."""
    for side in (right, left):
        if len(side) == 1:
            decimals = len(side[0].rstrip("%").partition(".")[2])
            unit = percent if "%" in side[0] else 1
            return Fraction(unit, 2 * 10**decimals)
    return 0


def evaluate(tokens, percent):
    """The value (Fraction) of an expression. Raises ValueError where it is none."""
    rest = [*tokens, "end"]
    result = parse(rest, percent)
    if rest != ["end"]:
        raise ValueError
    return result


def parse(rest, percent, tightness=0):
    """The value of the expression at the front of rest, which loses its tokens.

    An operator that is no tighter than tightness ends the expression.
    """
    token = rest.pop(0)
    if token == "-":
        result = -parse(rest, percent, TIGHTNESS["*"])
    elif token == "(":
        result = parse(rest, percent)
        if rest.pop(0) != ")":
            raise ValueError
    else:
        result = Fraction(token.rstrip("%")) * (percent if "%" in token else 1)
    while TIGHTNESS.get(rest[0], 0) > tightness:
        sign = rest.pop(0)
        result = OPERATORS[sign](result, parse(rest, percent, TIGHTNESS[sign]))
    return result
