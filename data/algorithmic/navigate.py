"""Navigate (BBH): follow the instructions; do they lead back to the starting point?

Hard: a turn changes what the next steps mean. The steps in each direction are counted apart, in
sums that only grow, so that no number needs a sign. An example:

    If you follow these instructions, do you return to the starting point? Always face forward.
    Take 2 steps left. Take 4 steps right.
        RECALL      Let me see: at first, forward is 0, backward is 0, right is 0, and left is 0.
        REASONING   Looking at this, 2 steps left give 0 + 2 = 2, so left is 2.
        CONTRAST    But 4 steps right make 0 + 4 = 4, so right is 4.
        CONCLUSION  Overall, forward is 0 and backward is 0, the same, and right is 4 and left is 2,
                    not the same, so I finish away from the start.
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
    told = ["Always face forward."] if strafing else []
    start = "[at first|at the start], forward is 0, backward is 0, right is 0, and left is 0"
    steps = [(RECALL, say(rng, start if strafing else start + ", and I face forward"))]
    counts = [0] * 4  # steps gone so far in each direction
    facing = 0
    last = None  # the direction gone last
    for k, direction in moves:
        side = COMPASS[direction]
        if k == 0:
            word = TURNS[(direction - facing) % 4]
            told.append(f"Turn {word}.")
            signal = CONTRAST if word == "around" else REASONING
            body = f"turning {word} from {COMPASS[facing]} [makes me face|means I face] {side}"
            facing = direction
        else:
            count = f"{k} step" if k == 1 else f"{k} steps"
            told.append(f"Take {count} {side}." if strafing else f"Take {count}.")
            signal = {direction: ADDITION, (direction + 2) % 4: CONTRAST}.get(last, REASONING)
            last = direction
            before = counts[direction]
            counts[direction] += k
            total = f"{before} + {k} = {before + k}, so {side} is {before + k}"
            body = f"{count} {side} {'[gives|makes]' if k == 1 else '[give|make]'} {total}"
        steps.append((signal, say(rng, body)))
    answer, summary = compare(counts)
    steps.append((CONCLUSION, say(rng, summary)))
    return Problem(f"{ASK}{' '.join(told)}\nOptions:\n- Yes\n- No", answer, steps)


def compare(counts):
    """(answer, summary): opposite directions are compared, until two counts differ."""
    summary = ""
    for there in (0, 1):
        back = there + 2
        summary += f"{COMPASS[there]} is {counts[there]} and {COMPASS[back]} is {counts[back]}, "
        if counts[there] != counts[back]:
            where = "[away from the start|not at the starting point]"
            return "No", f"{summary}not the same, so I [am|end|finish] {where}"
        summary += "the same, and " if there == 0 else "the same, "
    return "Yes", f"{summary}so I [am|end|finish] back at the [start|starting point]"


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
OPPOSITES = [[0, 2], [2, 0], [1, 3], [3, 1]]


class Checker:
    """Every move or turn is the next one told, and says where it leads: to a count or a place."""

    answers = "yes|no"
    claims = rf"""
        (?:\b(?P<first_side>{SIDE})\ )?\b(?P<k>{COUNT})(?:\ more)?\ steps?\b  # 3 steps to the right
          (?:\ (?:to\ the\ |straight\ )?(?P<side>{SIDE})s?\b)?
      | \bturn(?:ing|s|ed)?(?:\ to\ the)?\ (?P<turn>left|right|around|back)\b
      | \bfrom\ (?:facing\ )?(?P<origin>{SIDE})s?\b
      | \b(?:fac(?:e|es|ing)|heading)(?:\ to|\ the|\ towards?)*\ (?P<heading>{SIDE})s?\b
      | (?:\b(?P<name>{SIDE})(?:\ (?:to|at|is|are|=|becomes|now))*\ )?  # left is 3 + 2 = 5
          (?:\b(?P<a>{DIGITS})\ \+\ (?P<n>{DIGITS})\ (?:=|is|equals|makes)\ )?\b(?P<b>{DIGITS})\b
      | (?P<compare>(?P<no>(?:\bdo(?:es)?)?(?:\ ?\bnot|n't)\ )?\b  # not the same
          (?:the\ same(?!\ (?!and|so|as|but)[a-z])|equals?|(?P<differ>differ(?:s|ent)?))\b)
      | (?:\bback\ (?:to|at)\ )?\(\s?(?P<x>-?{DIGITS})\s?,\s?(?P<y>-?{DIGITS})\s?\)  # (2, 0)
      | (?P<end>\b(?:final|(?:end|finish|stop)(?:s|ed)?)\b)
      | (?P<home>  # back at the start, or away from it
          (?P<not>(?:\b(?:do|did|am|is)\ ?)?(?:\bnot|n't)\b|\b(?:away|far)\ from\b)?
          (?:\ ?\b(?:back|returns?|at|to|is|reach)\b)*\ ?
          (?:\bthe\ (?:start(?:ing\ point|\ point)?|origin)|\bwhere\ i\ (?:started|began))\b)
    """

    def __init__(self, told):
        self.todo = []  # of quarter turns, or (steps, direction)
        facing = 0
        gone = [0] * 4  # steps in each direction
        self.places = [(tuple(gone), facing)]  # places[i]: after i of todo
        for turn, k, side in told:
            if turn:
                self.todo.append(QUARTERS[turn])
                facing = (facing + QUARTERS[turn]) % 4
            else:
                direction = QUARTERS[side] if side else facing
                self.todo.append((int(k), direction))
                gone[direction] += int(k)
            self.places.append((tuple(gone), facing))
        self.done = 0  # so many of todo
        self.told = set()  # the directions whose counts the steps have told since the last move

    def judge(self, claims):
        self.moved = None  # the claim that names this step's move
        self.direction = None  # of that move
        self.due = ()  # one of these claims has to say where the last move led
        self.counted = []  # the directions whose counts this step tells
        for claim in claims:
            if claim["k"] or claim["turn"]:
                yield from self.judge_move(claim)
            elif claim["b"]:
                yield from self.judge_count(claim)
            elif not claim["compare"]:
                yield from self.judge_place(claim)
            if any(claim[group] for group in self.due):
                self.due = ()
        yield from self.judge_comparisons(claims)
        if self.due:
            yield "does not say where that leads"
        elif claims and not self.moved and 0 < self.done < len(self.todo):
            yield "follows no instruction"

    def judge_move(self, claim):
        if claim["turn"]:
            self.direction = None
            move = QUARTERS[claim["turn"].lower()]
        else:
            side = claim["side"] or claim["first_side"]
            self.direction = QUARTERS[side.lower()] if side else self.places[self.done][1]
            move = (number(claim["k"]), self.direction)
        self.done, reason = advance(self.todo, self.done, move)
        if self.due:
            yield "does not say where that leads"
        elif self.moved and (claim["turn"] or self.moved["k"]):  # it may turn and then go
            yield "makes two moves"
        elif reason:
            yield f"'{claim[0]}' {reason}"
        self.due = ("heading",) if claim["turn"] else ("b", "x")
        self.moved = claim
        self.told = set()

    def judge_count(self, claim):
        """The steps in a direction, that of this step's move if it has one; a sum adds the move."""
        name = claim["name"]
        direction = QUARTERS[name.lower()] if name else self.direction
        if direction is None or (self.moved and direction != self.direction):
            yield f"'{claim[0]}' does not count this step's move"
            return
        was = self.places[self.done - bool(self.moved)][0][direction]
        now = self.places[self.done][0][direction]
        a = int(claim["a"] or was)
        n = int(claim["n"] or now - was)
        if (a, a + n, int(claim["b"])) != (was, now, now):
            truth = f"from {was} to {now}" if self.moved else now
            yield f"says '{claim[0]}', but it is {truth}"
        if not self.moved and direction in self.counted:
            yield f"counts '{name}' again"
        self.counted.append(direction)
        self.told.add(direction)

    def judge_comparisons(self, claims):
        """Two counts are compared, of opposite directions; the end follows from what is told."""
        gone, _ = self.places[-1]
        for i, claim in enumerate([claim for claim in claims if claim["compare"]]):
            pair = self.counted[2 * i : 2 * i + 2]
            if self.done < len(self.todo) or pair not in OPPOSITES:
                yield f"'{claim[0]}' compares no two opposite directions in the end"
            elif (bool(claim["no"]) != bool(claim["differ"])) == (gone[pair[0]] == gone[pair[1]]):
                yield f"says '{claim[0]}' wrongly"
        differs = any({a, b} <= self.told and gone[a] != gone[b] for a, b in OPPOSITES)
        for claim in claims:
            follows = differs if claim["not"] else len(self.told) == len(COMPASS)
            if self.counted and not self.moved and claim["home"] and not follows:
                yield f"'{claim[0]}' does not follow"

    def judge_place(self, claim):
        """A place, a facing, and being home or not have to be the true ones."""
        _, was_facing = self.places[self.done - bool(self.moved)]
        (forward, right, backward, left), facing = self.places[self.done]
        x = right - left
        y = forward - backward
        if claim["x"] and (int(claim["x"]), int(claim["y"])) != (x, y):
            yield f"says {claim[0]}, but it is ({x}, {y})"
        if claim["heading"] and QUARTERS[claim["heading"].lower()] != facing:
            yield f"says '{claim[0]}' wrongly"
        if claim["origin"] and QUARTERS[claim["origin"].lower()] != was_facing:
            yield f"says '{claim[0]}' wrongly"
        if claim["home"] and bool(claim["not"]) == (x == y == 0):
            yield f"says '{claim[0]}' wrongly"
        if (claim["end"] or claim["not"]) and self.done < len(self.todo):
            yield "stops before the last instruction"

    def conclude(self):
        forward, right, backward, left = self.places[-1][0]
        answer = "yes" if (forward, right) == (backward, left) else "no"
        return answer, "the rest of the way" if self.done < len(self.todo) else ""


def read_question(question):
    m = re.fullmatch(QUESTION, tidy(question), re.VERBOSE)
    return Checker(re.findall(INSTRUCTION, m["told"], re.VERBOSE)) if m else None


FAMILY = Family("navigate", make, read_question, lengths=(2, 7))
