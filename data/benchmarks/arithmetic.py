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
        ¢ | (?: cents? | dozen | choose | mod | r[ ]?\d+ )\b
        | (?: hundred | thousand | million | billion )\b  # 6 * 0.5 = 3 million
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
    marks = re.findall(r"<<([^<>]*)>>", step)
    prose = re.sub(r"<<[^<>]*>>", "", step)
    errors = []
    for text in [*marks, prose]:
        for sides in equations(text):
            errors += errors_between(sides)
    return list(dict.fromkeys(errors))  # every error once, in order


def equations(text):
    """Yield the sides of every equation that stands alone in a text."""
    for run in RUN.finditer(text):
        if "=" not in run[0] or len(run[0]) > 200:
            continue
        before = text[max(0, run.start() - 20) : run.start()]
        if not BEFORE.search(before) and not AFTER.match(text, run.end()):
            yield split_sides(run[0])


def split_sides(run):
    """The sides of an equation: "2 x $1,000 = 50%" -> [["2", "*", "1000"], ["50%"]]."""
    spelling = {"x": "*", "×": "*", "of": "*", "÷": "/"}
    sides = [[]]
    for token in re.findall(TOKEN, run, re.VERBOSE | re.IGNORECASE):
        token = re.sub(r"[$,\s]", "", token.lower()).replace("percent", "%")
        if token == "=":
            sides.append([])
        else:
            sides[-1].append(spelling.get(token, token))
    return sides


def errors_between(sides):
    """Yield what is wrong between neighbouring sides of an equation."""
    for i, (left, right) in enumerate(pairwise(sides)):
        if i == 0 and not OPERATORS.keys() & left:  # a label: "Week 1 = 60/6"
            continue
        truth = correction(left, right, goes_on=i + 2 < len(sides))
        if truth:
            yield f"{''.join(left)} = {''.join(right)}: {truth}"


def correction(left, right, goes_on):
    """What the left side comes to (str); None where the right side agrees or one makes no sense.

    goes_on: a third side follows.
    """
    if not is_complete(left, right):
        return None
    hundredth = Fraction(1, 100)
    try:
        for percent in (Fraction(1), hundredth):
            if agree(left, right, goes_on, percent):
                return None
        result = evaluate(left, hundredth)
    except ZeroDivisionError:
        return "it divides by zero"
    except (ValueError, IndexError):  # one side is no expression
        return None
    if result.denominator == 1:
        return f"it is {result}"
    return f"it is {float(result):.4f}".rstrip("0")


def is_complete(left, right):
    """Is there a whole sum, with only one reading?"""
    if not left or left[0] in OPERATORS or not OPERATORS.keys() & {*left, *right}:
        return False
    return not re.search(r"/ [^ (]+ /", " ".join(left))  # people write 6 / 2/3 for 6 / (2/3)


def agree(left, right, goes_on, percent):
    """Do two sides say the same, where percent (Fraction) is what 1% stands for?"""
    result = evaluate(left, percent)
    if abs(result - evaluate(right, percent)) <= rounding(left, right, percent):
        return True
    if len(right) > 1 and left[: len(right)] == right:  # the first part of the left side
        return True
    return goes_on and result == evaluate(right[:1], percent)


def rounding(left, right, percent):
    """The largest difference that rounding explains; 0 where neither side is one number."""
    numbers = [side[0] for side in (right, left) if len(side) == 1]
    if not numbers:
        return 0
    decimals = len(numbers[0].rstrip("%").partition(".")[2])
    unit = percent if "%" in numbers[0] else 1
    return Fraction(unit, 2 * 10**decimals)


def evaluate(tokens, percent):
    """The value (Fraction) of an expression (list of tokens).

    Raises ValueError or IndexError where it is none, and ZeroDivisionError.
    """
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
        result = -parse(rest, percent, TIGHTNESS["-"])
    elif token == "(":
        result = parse(rest, percent)
        if rest.pop(0) != ")":
            raise ValueError
    else:
        result = Fraction(token.rstrip("%"))
        if token.endswith("%"):
            result *= percent
    while TIGHTNESS.get(rest[0], 0) > tightness:
        sign = rest.pop(0)
        result = OPERATORS[sign](result, parse(rest, percent, TIGHTNESS[sign]))
    return result
