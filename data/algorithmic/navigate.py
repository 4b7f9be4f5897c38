"""Navigate (BBH): follow the instructions; do they lead back to the starting point?

Hard: the facing turns what the next steps mean, and both coordinates have to be kept. An example:

    If you follow these instructions, do you return to the starting point? Always face forward.
    Take 2 steps left. Take 4 steps right.
        RECALL      Let me see: I start at (0, 0).
        REASONING   Looking at this, 2 steps left bring x to 0 - 2 = -2.
        CONTRAST    So 4 steps right move x to -2 + 4 = 2.
        CONCLUSION  Overall, I finish at (2, 0), away from the start.
        RESPONSE    Final answer: No.
"""

import re
from itertools import pairwise

from data.algorithmic.common import COUNT, DIGITS, Family, Problem, advance, number, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL

ASK = "If you follow these instructions, do you return to the starting point? "
COMPASS = ["forward", "right", "backward", "left"]  # clockwise; right is +x, forward is +y
UNIT = [(0, 1), (1, 0), (0, -1), (-1, 0)]  # (x, y) of one step in each direction

# ---------------------------------------------------------------------------------- the teacher
# A move is (steps, direction): so many steps in that direction; 0 steps: a turn to face it.
TURNS = {1: "right", 2: "around", 3: "left"}  # by quarter turns clockwise
HOME = "I [end|finish|stop] at ({x}, {y}), [back at the start|which is the starting point]"
AWAY = "I [end|finish|stop] at ({x}, {y}), [away from the start|not at the starting point]"


def walk(moves):
    """(x, y) before the first and after every move."""
    places = [(0, 0)]
    for steps, direction in moves:
        x, y = places[-1]
        dx, dy = UNIT[direction]
        places.append((x + steps * dx, y + steps * dy))
    return places


def turn(rng, facing):
    """A move that turns right, around or left."""
    return 0, (facing + rng.choice((1, 2, 3))) % 4


def ramble(rng, n, strafing):
    """n moves to anywhere; when strafing, one always faces forward."""
    moves = []
    facing = 0
    while len(moves) < n:
        if strafing:
            moves.append((rng.randint(1, 10), rng.randrange(4)))
        elif rng.random() < 0.35:
            moves.append(turn(rng, facing))
            facing = moves[-1][1]
        else:
            moves.append((rng.randint(1, 10), facing))
    return moves


def way_home(rng, moves, strafing):
    """Moves that lead back to the start, or miss it by a little."""
    x, y = walk(moves)[-1]
    facing = moves[-1][1]
    miss = rng.choice((-2, -1, 1, 2)) if rng.random() < 0.35 else 0
    way = []
    for offset, direction in ((x, 1), (y, 0)):
        if offset > 0:
            direction += 2  # the opposite one
        left = max(0, abs(offset) + miss) if offset else 0  # steps still to go
        if left and not strafing and facing != direction:
            way.append((0, direction))
            facing = direction
        while left:
            way.append((min(left, 10), direction))
            left -= way[-1][0]
    return way


def random_moves(rng, n, strafing):
    """About n moves, of which about 45% return to the start."""
    moves = ramble(rng, n, strafing)
    if rng.random() < 0.7:
        moves = moves[: max(1, n - rng.randint(1, 3))]
        moves += way_home(rng, moves, strafing)
        if strafing:
            rng.shuffle(moves)
        elif rng.random() < 0.2:
            moves.append(turn(rng, moves[-1][1]))
    return moves


def go(rng, count, direction, last, before, after):
    """The teacher's step for going in a direction after the last one: (signal, body)."""
    if last is None or (direction - last) % 2:
        signal = REASONING
    else:
        signal = ADDITION if direction == last else CONTRAST
    axis = 1 - direction % 2
    a, b = before[axis], after[axis]
    n = abs(b - a)
    words = {"count": count, "side": COMPASS[direction], "s": "s" if n == 1 else ""}
    total = {"axis": "xy"[axis], "a": a, "op": "+" if b > a else "-", "n": n, "b": b}
    template = "{count} {side} [take{s}|bring{s}|move{s}] {axis} to {a} {op} {n} = {b}"
    return signal, say(rng, template, **words, **total)


def make(rng, n):
    """A problem of about n instructions; in half of them one always faces forward."""
    strafing = rng.random() < 0.5
    moves = random_moves(rng, n, strafing)
    places = walk(moves)
    told = ["Always face forward."] if strafing else []
    start = say(rng, "I [start|begin] at (0, 0)")
    steps = [(RECALL, start if strafing else start + ", facing forward")]
    facing = 0
    last = None  # the direction gone last
    for (k, direction), (before, after) in zip(moves, pairwise(places), strict=True):
        if k == 0:
            word = TURNS[(direction - facing) % 4]
            facing = direction
            told.append(f"Turn {word}.")
            template = "turning {turn} [means I face|I now face|leaves me facing] {side}"
            signal = CONTRAST if word == "around" else REASONING
            steps.append((signal, say(rng, template, turn=word, side=COMPASS[facing])))
        else:
            count = f"{k} step" if k == 1 else f"{k} steps"
            told.append(f"Take {count} {COMPASS[direction]}." if strafing else f"Take {count}.")
            steps.append(go(rng, count, direction, last, before, after))
            last = direction
    x, y = places[-1]
    at_home = x == y == 0
    steps.append((CONCLUSION, say(rng, HOME if at_home else AWAY, x=x, y=y)))
    question = ASK + " ".join(told) + "\nOptions:\n- Yes\n- No"
    return Problem(question, "Yes" if at_home else "No", steps)


# ---------------------------------------------------------------------------------- the checker
INSTRUCTION = rf"""
    (?: Turn\ (left|right|around)
      | Take\ ({DIGITS})\ steps?(?:\ (forward|right|backward|left))?)\.\ ?"""
QUESTION = rf"""{re.escape(ASK)}
    (?:Always\ face\ forward\.\ )?
    (?P<told>(?:{INSTRUCTION})+)
    (?:Options:\ -\ Yes\ -\ No)?"""
QUARTERS = {"right": 1, "around": 2, "back": 2, "left": 3}
DIRECTIONS = {"forward": 0, "ahead": 0, "right": 1, "backward": 2, "back": 2, "left": 3}
SIDE = "(?:forward|ahead|right|backward|back|left)"


class Checker:
    """Every move or turn is the next one told, and says where it leads."""

    answers = "yes|no"
    claims = rf"""
        \b(?P<k>{COUNT})(?:\ more)?\ steps?\b  # 3 steps to the right
          (?:\ (?:to\ the\ |straight\ )?(?P<side>{SIDE})s?\b)?
      | \bturn(?:ing|s|ed)?(?:\ to\ the)?\ (?P<turn>left|right|around|back)\b
      | \b(?:fac(?:e|es|ing)|heading)(?:\ to|\ the|\ towards?)*\ (?P<heading>{SIDE})s?\b
      | \b(?P<axis>[xy])\ to\ (?P<a>-?{DIGITS})  # x to -2 + 4 = 2
          \ (?P<n>[+-]\ {DIGITS})\ =\ (?P<b>-?{DIGITS})\b
      | \(\s?(?P<x>-?{DIGITS})\s?,\s?(?P<y>-?{DIGITS})\s?\)  # (2, 0)
      | (?P<end>\b(?:end|finish|stop)(?:s|ed)?\b)
      | (?P<home>  # back at the start, or away from it
          (?P<not>
              (?:\b(?:do|did|am|is)\ ?)?(?:\bnot|n't)\ (?:(?:back|return)\ )?(?:(?:at|to|reach)\ )?
            | \b(?:away|far)\ from\ )?
          (?:\b(?:back\ (?:at|to)|at|is|returns?\ to|reach)\s
            | (?<=not\ ) | (?<=at\ ) | (?<=to\ ) | (?<=from\ ))
          the\ (?:start(?:ing\ point|\ point)?|origin)\b)
    """

    def __init__(self, todo, places):
        self.todo = todo  # of quarter turns, or (steps, direction)
        self.places = places  # (x, y, facing) before the first and after every one of todo
        self.done = 0  # so many of todo

    def judge(self, claims):
        """Yield what is wrong with the claims of one step."""
        self.moved = False
        self.due = ()  # one of these claims has to say where the last move led
        for claim in claims:
            if claim["k"] or claim["turn"]:
                yield from self.judge_move(claim)
            elif claim["axis"]:
                yield from self.judge_sum(claim)
            else:
                yield from self.judge_place(claim)
            if any(claim[group] for group in self.due):
                self.due = ()
        if self.due:
            yield "does not say where that leads"
        elif claims and not self.moved and 0 < self.done < len(self.todo):
            yield "follows no instruction"

    def judge_move(self, claim):
        """A move has to be the next one told."""
        if claim["turn"]:
            move = QUARTERS[claim["turn"].lower()]
        else:
            side = claim["side"]
            direction = DIRECTIONS[side.lower()] if side else self.places[self.done][2]
            move = (number(claim["k"]), direction)
        self.done, reason = advance(self.todo, self.done, move)
        if self.due:
            yield "does not say where that leads"
        elif reason:
            yield f"'{claim[0]}' {reason}"
        self.due = ("heading",) if claim["turn"] else ("axis", "x")
        self.moved = True

    def judge_sum(self, claim):
        """A sum has to lead all the way of this step's move along its axis."""
        axis = "xy".index(claim["axis"].lower())
        was = self.places[self.done - self.moved][axis]
        now = self.places[self.done][axis]
        a, n, b = (int(claim[group].replace(" ", "")) for group in "anb")
        if not self.moved or was == now or (a, a + n, b) != (was, now, now):
            yield f"says '{claim[0]}', but it is from {was} to {now}"

    def judge_place(self, claim):
        """A place, a facing, and being home or not have to be the true ones."""
        x, y, facing = self.places[self.done]
        if claim["x"] and (int(claim["x"]), int(claim["y"])) != (x, y):
            yield f"says {claim[0]}, but it is ({x}, {y})"
        if claim["heading"] and DIRECTIONS[claim["heading"].lower()] != facing:
            yield f"says '{claim[0]}' wrongly"
        if claim["home"] and bool(claim["not"]) == (x == y == 0):
            yield f"says '{claim[0]}' wrongly"
        if claim["end"] and self.done < len(self.todo):
            yield "stops before the last instruction"

    def conclude(self):
        """(the true answer, what is missing for it)"""
        answer = "yes" if self.places[-1][:2] == (0, 0) else "no"
        return answer, "the rest of the way" if self.done < len(self.todo) else ""


def read_question(question):
    """A checker of the question's steps, or None."""
    m = re.fullmatch(QUESTION, tidy(question), re.VERBOSE)
    if not m:
        return None
    todo = []
    places = [(0, 0, 0)]
    for turn_word, k, side in re.findall(INSTRUCTION, m["told"], re.VERBOSE):
        x, y, facing = places[-1]
        if turn_word:
            todo.append(QUARTERS[turn_word])
            facing = (facing + QUARTERS[turn_word]) % 4
        else:
            direction = DIRECTIONS[side] if side else facing
            todo.append((int(k), direction))
            x += int(k) * UNIT[direction][0]
            y += int(k) * UNIT[direction][1]
        places.append((x, y, facing))
    return Checker(todo, places)


FAMILY = Family("navigate", make, read_question, lengths=(2, 7))
