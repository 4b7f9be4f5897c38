"""Navigate (BBH): follow the instructions; do they lead back to the starting point?

Hard: a turn changes what the next steps mean, and two coordinates have to be kept. An example:

    If you follow these instructions, do you return to the starting point? Always face forward.
    Take 2 steps left. Take 4 steps right.
        RECALL      Let me see: I start at (0, 0).
        REASONING   Looking at this, 2 steps left bring x to 0 - 2 = -2.
        CONTRAST    So 4 steps right move x to -2 + 4 = 2.
        CONCLUSION  Overall, I finish at (2, 0), away from the start.
        RESPONSE    Final answer: No.
"""

import re

from data.algorithmic.common import COUNT, DIGITS, Family, Problem, advance, number, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, REASONING, RECALL

ASK = "If you follow these instructions, do you return to the starting point? "
COMPASS = ["forward", "right", "backward", "left"]  # a direction is an index of this list
UNIT = [(0, 1), (1, 0), (0, -1), (-1, 0)]  # (x, y) of one step in each direction

# ---------------------------------------------------------------------------------- the teacher
# A move is (steps, direction): so many steps in that direction; 0 steps: a turn to face it.
TURNS = ["", "right", "around", "left"]  # by quarter turns clockwise


def walk(moves):
    """(x, y) before the first and after every move."""
    places = [(0, 0)]
    for k, direction in moves:
        x, y = places[-1]
        dx, dy = UNIT[direction]
        places.append((x + k * dx, y + k * dy))
    return places


def random_moves(rng, n, strafing):
    """About n moves, of which about 45% return to the start; when strafing, without a turn."""
    moves = []
    facing = 0
    for _ in range(n):
        if strafing:
            moves.append((rng.randint(1, 10), rng.randrange(4)))
        elif rng.random() < 0.35:
            facing = (facing + rng.randint(1, 3)) % 4
            moves.append((0, facing))
        else:
            moves.append((rng.randint(1, 10), facing))
    if rng.random() < 0.7:
        moves = moves[: max(1, n - rng.randint(1, 3))]
        moves += way_home(rng, moves, strafing)
        if strafing:
            rng.shuffle(moves)
        elif rng.random() < 0.2:
            moves.append((0, (moves[-1][1] + rng.randint(1, 3)) % 4))
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
        left = abs(offset) + miss if offset else 0  # steps still to go
        if left > 0 and not strafing and facing != direction:
            way.append((0, direction))
            facing = direction
        while left > 0:
            way.append((min(left, 10), direction))
            left -= 10
    return way


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
    for i, (k, direction) in enumerate(moves):
        side = COMPASS[direction]
        if k == 0:
            word = TURNS[(direction - facing) % 4]
            facing = direction
            told.append(f"Turn {word}.")
            signal = CONTRAST if word == "around" else REASONING
            body = f"turning {word} [means I face|I now face|leaves me facing] {side}"
        else:
            count = f"{k} step" if k == 1 else f"{k} steps"
            told.append(f"Take {count} {side}." if strafing else f"Take {count}.")
            signal = {direction: ADDITION, (direction + 2) % 4: CONTRAST}.get(last, REASONING)
            last = direction
            axis = 1 - direction % 2
            a, b = places[i][axis], places[i + 1][axis]
            total = f"{'xy'[axis]} to {a} {'+' if b > a else '-'} {k} = {b}"
            verb = "[takes|brings|moves]" if k == 1 else "[take|bring|move]"
            body = f"{count} {side} {verb} {total}"
        steps.append((signal, say(rng, body)))
    answer = "No"
    where = "[away from the start|not at the starting point]"
    if places[-1] == (0, 0):
        answer = "Yes"
        where = "[back at the start|which is the starting point]"
    steps.append((CONCLUSION, say(rng, f"I [end|finish|stop] at {places[-1]}, {where}")))
    return Problem(f"{ASK}{' '.join(told)}\nOptions:\n- Yes\n- No", answer, steps)


# ---------------------------------------------------------------------------------- the checker
INSTRUCTION = rf"""
    (?: Turn\ (left|right|around)
      | Take\ ({DIGITS})\ steps?(?:\ (forward|right|backward|left))?)\.\ ?"""
QUESTION = rf"""{re.escape(ASK)}
    (?:Always\ face\ forward\.\ )?
    (?P<told>(?:{INSTRUCTION})+)
    (?:Options:\ -\ Yes\ -\ No)?"""
SIDE = "(?:forward|ahead|right|backward|back|left)"
# Quarter turns clockwise; a direction is the turn from forward to it.
QUARTERS = {"forward": 0, "ahead": 0, "right": 1, "backward": 2, "back": 2, "around": 2, "left": 3}


class Checker:
    """Every move or turn is the next one told, and says where it leads."""

    answers = "yes|no"
    claims = rf"""
        (?:\b(?P<first_side>{SIDE})\ )?\b(?P<k>{COUNT})(?:\ more)?\ steps?\b  # 3 steps to the right
          (?:\ (?:to\ the\ |straight\ )?(?P<side>{SIDE})s?\b)?
      | \bturn(?:ing|s|ed)?(?:\ to\ the)?\ (?P<turn>left|right|around|back)\b
      | \b(?:fac(?:e|es|ing)|heading)(?:\ to|\ the|\ towards?)*\ (?P<heading>{SIDE})s?\b
      | (?:\b(?P<axis>[xy])\ (?:to|is|=|becomes)\ (?:now\ )?)?  # x to -2 + 4 = 2
          (?:(?P<a>-?{DIGITS})\ (?P<n>[+-]\ {DIGITS})\ (?:=|is|equals|makes)\ )?(?P<b>-?{DIGITS})\b
      | (?:\bback\ (?:to|at)\ )?\(\s?(?P<x>-?{DIGITS})\s?,\s?(?P<y>-?{DIGITS})\s?\)  # (2, 0)
      | (?P<end>\b(?:final|(?:end|finish|stop)(?:s|ed)?)\b)
      | (?P<home>  # back at the start, or away from it
          (?P<not>(?:\b(?:do|did|am|is)\ ?)?(?:\bnot|n't)\b|\b(?:away|far)\ from\b)?
          (?:\ ?\b(?:back|returns?|at|to|is|reach)\b)*\ ?
          (?:\bthe\ (?:start(?:ing\ point|\ point)?|origin)|\bwhere\ i\ (?:started|began))\b)
    """

    def __init__(self, told):
        self.todo = []  # of quarter turns, or (steps, direction)
        x = y = facing = 0
        self.places = [(x, y, facing)]  # places[i]: after i of todo
        for turn, k, side in told:
            if turn:
                self.todo.append(QUARTERS[turn])
                facing = (facing + QUARTERS[turn]) % 4
            else:
                direction = QUARTERS[side] if side else facing
                self.todo.append((int(k), direction))
                x += int(k) * UNIT[direction][0]
                y += int(k) * UNIT[direction][1]
            self.places.append((x, y, facing))
        self.done = 0  # so many of todo

    def judge(self, claims):
        self.moved = None  # the claim that names this step's move
        self.due = ()  # one of these claims has to say where the last move led
        for claim in claims:
            if claim["k"] or claim["turn"]:
                yield from self.judge_move(claim)
            elif claim["b"]:
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
        if claim["turn"]:
            move = QUARTERS[claim["turn"].lower()]
        else:
            side = claim["side"] or claim["first_side"]
            direction = QUARTERS[side.lower()] if side else self.places[self.done][2]
            move = (number(claim["k"]), direction)
        self.done, reason = advance(self.todo, self.done, move)
        if self.due:
            yield "does not say where that leads"
        elif self.moved and (claim["turn"] or self.moved["k"]):  # it may turn and then go
            yield "makes two moves"
        elif reason:
            yield f"'{claim[0]}' {reason}"
        self.due = ("heading",) if claim["turn"] else ("axis", "a", "x")
        self.moved = claim

    def judge_sum(self, claim):
        """A sum has to lead all the way of this step's move along its axis."""
        before = self.places[self.done - bool(self.moved)]
        here = self.places[self.done]
        axis = "xy".index(claim["axis"].lower()) if claim["axis"] else before[0] == here[0]
        was = before[axis]
        now = here[axis]
        a = int(claim["a"] or was)
        n = int((claim["n"] or str(now - was)).replace(" ", ""))
        if was == now or (a, a + n, int(claim["b"])) != (was, now, now):
            yield f"says '{claim[0]}', but it is from {was} to {now}"

    def judge_place(self, claim):
        """A place, a facing, and being home or not have to be the true ones."""
        x, y, facing = self.places[self.done]
        if claim["x"] and (int(claim["x"]), int(claim["y"])) != (x, y):
            yield f"says {claim[0]}, but it is ({x}, {y})"
        if claim["heading"] and QUARTERS[claim["heading"].lower()] != facing:
            yield f"says '{claim[0]}' wrongly"
        if claim["home"] and bool(claim["not"]) == (x == y == 0):
            yield f"says '{claim[0]}' wrongly"
        if claim["end"] and self.done < len(self.todo):
            yield "stops before the last instruction"

    def conclude(self):
        answer = "yes" if self.places[-1][:2] == (0, 0) else "no"
        return answer, "the rest of the way" if self.done < len(self.todo) else ""


def read_question(question):
    m = re.fullmatch(QUESTION, tidy(question), re.VERBOSE)
    return Checker(re.findall(INSTRUCTION, m["told"], re.VERBOSE)) if m else None


FAMILY = Family("navigate", make, read_question, lengths=(2, 7))
