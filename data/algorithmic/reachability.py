"""reachability: can one get from a town to another by one-way roads? (depth-first search)

What is hard: to turn back at a dead end, to where there was another way. One problem with the
teacher's reasoning:

    All roads are one-way. A road leads from Penn to Holt. A road leads from Penn to Lund. A road
    leads from Lund to Fenn. Can you get from Penn to Fenn?
    Options:
    - Yes
    - No

    RECALL      I recall that I start in Penn and look for Fenn.
    EXAMPLES    Say we try it: from Penn the road leads to Holt.
    CONTRAST    But Holt is a dead end, back to Penn.
    REASONING   Now from Penn I can go to Lund.
    ADDITION    Also, from Lund the road leads to Fenn.
    CONCLUSION  So Fenn can be reached from Penn.
    RESPONSE    The answer is Yes.

The first of several ways is an example (EXAMPLES), the only way on is REASONING, another after it
ADDITION.
"""

import re

from data.algorithmic.common import TOWNS, Family, Problem, any_of, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, EXAMPLES, REASONING, RECALL


def make(rng, length):
    """A Problem with `length` towns."""
    towns = rng.sample(TOWNS, length)
    roads = draw_roads(rng, towns)
    ways = {town: [end for begin, end in roads if begin == town] for town in towns}
    start = rng.choice([town for town in towns if ways[town]])
    near = [start]
    for town in near:  # grows to all the towns that can be reached
        near += [end for end in ways[town] if end not in near]
    far = [town for town in towns if town not in near]
    goals = near[1:] if not far or rng.random() < 0.4 else far
    goal = rng.choice(goals)
    told = " ".join(f"A road leads from {begin} to {end}." for begin, end in roads)
    question = f"All roads are one-way. {told} Can you get from {start} to {goal}?"
    answer = "Yes" if goal in near else "No"
    steps = search(rng, ways, start, goal)
    return Problem(f"{question}\nOptions:\n- Yes\n- No", answer, steps)


def draw_roads(rng, towns):
    """Pairs of towns (begin, end): a tree, and a few more."""
    ways = {town: [] for town in towns}
    for i, town in enumerate(towns[1:], 1):
        ways[rng.choice(towns[:i])].append(town)
    for _ in range(len(towns) // 3):
        begin, end = rng.sample(towns, 2)
        if end not in ways[begin]:
            ways[begin].append(end)
    roads = [(begin, end) for begin in towns for end in ways[begin]]
    rng.shuffle(roads)
    return roads


def search(rng, ways, start, goal):
    """The teacher's steps: depth-first, in the order of the question."""
    template = "I [start|begin] in {a} and [look for|want to reach|am looking for] {b}"
    steps = [(RECALL, say(rng, template, a=start, b=goal))]
    seen = {start}
    path = [start]
    while path and path[-1] != goal:
        town = path[-1]
        new = [end for end in ways[town] if end not in seen]
        if new:
            signal = REASONING
            if len(new) > 1:
                signal = EXAMPLES
            elif steps[-1][0] in (REASONING, ADDITION):
                signal = ADDITION
            template = "from {a} [the road leads|I can go|I go] to {b}"
            steps.append((signal, say(rng, template, a=town, b=new[0])))
            seen.add(new[0])
            path.append(new[0])
        else:
            path.pop()
            back = f"back to {path[-1]}" if path else "and there is nowhere to go back to"
            template = "{a} [leads nowhere new|is a dead end|has no new road], {back}"
            steps.append((CONTRAST, say(rng, template, a=town, back=back)))
    verdict = "[is reached|can be reached]" if path else "[is never reached|cannot be reached]"
    steps.append((CONCLUSION, say(rng, "{b} " + verdict + " from {a}", a=start, b=goal)))
    return steps


# ------------------------------------------------------------------------------------- the checker
QUESTION = re.compile(
    r"""All\ roads\ are\ one-way\.\ (?P<roads>(?:A\ road\ leads\ from\ [\w-]+\ to\ [\w-]+\.\ )+)
    Can\ you\ get\ from\ (?P<start>[\w-]+)\ to\ (?P<goal>[\w-]+)\?(?:\ Options:\ -\ Yes\ -\ No)?""",
    re.VERBOSE,
)


def read_question(question):
    """The Checker of a question of this family; None for any other question."""
    match = QUESTION.fullmatch(tidy(question))
    if not match or match["start"] == match["goal"]:
        return None
    roads = re.findall(r"from ([\w-]+) to ([\w-]+)", match["roads"])
    return Checker(set(roads), match["start"], match["goal"])


class Checker:
    """A search: on along a given road to a new town, or back from a town that has no such road."""

    answers = "yes|no"

    def __init__(self, roads, start, goal):
        self.roads = roads  # of (begin, end)
        self.start = start
        self.goal = goal
        near = {start}
        size = 0
        while len(near) > size:
            size = len(near)
            near |= {end for begin, end in roads if begin in near}
        self.reachable = goal in near
        self.path = [start]  # from the start to where the search is
        self.seen = {start}

        town = any_of({town for road in roads for town in road} | {start, goal})
        self.claims = rf"""
            \b(?:start|begin|am)(?:s|ing|ning)?\ (?:in|at|from)\ (?P<start>{town})   # I start in A
            | \b(?:look(?:ing)?\ for|want\ to\ (?:reach|get\ to)|try(?:ing)?\ to\ reach|goal\ is)
              \ (?P<goal>{town})                                                     # look for B
            | \b(?:i|we)\ (?P<can>can|can\ not|cannot|can't|can\ never)\ get         # I can get
              \ from\ (?P<from>{town})\ to\ (?P<to>{town})                           # from A to B
            | \bfrom\ (?P<x>{town}),?\ (?:                                           # from A I go
                (?:the|a|one)\ road\ (?:leads|goes)
                | (?:i|we)(?:\ can)?\ (?:go|move|travel|drive|get)
              )(?:\ on)?\ to\ (?P<y>{town})
            | (?P<dead>{town})\ (?:leads\ nowhere(?:\ new)?|is\ a\ dead\ end         # A: dead end
                | has\ no\ (?:(?:new|other|more|unseen|unvisited)\ )?
                  (?:roads?|ways?)(?:\ left|\ out)?)\b
            | \bback(?:track)?(?:ing)?\ to\ (?P<back>{town})                         # back to A
            | (?P<none>\b(?:nowhere|nothing)(?:\ left)?\ to\ (?:go|turn)\ back\ to\b)
            | (?P<end>{town})\ (?:is|was|can|has)(?P<no>n't|not|\ not|'t|\ never)?   # B is reached
              (?:\ be|\ been)?\ (?:reached|(?P<un>un)?reachable)
              (?:\ from\ (?P<end_from>{town}))?
        """

    def judge(self, claims):
        """Yields what is wrong with the claims of one step."""
        self.dead_end = None  # a town that this step turns back from, without saying where to
        for claim in claims:
            start = claim["start"] or claim["from"] or claim["end_from"] or self.start
            goal = claim["goal"] or claim["to"] or claim["end"] or self.goal
            if (start, goal) != (self.start, self.goal):
                yield f"'{claim[0]}': the question asks for {self.start} to {self.goal}"
            if claim["x"]:
                yield from self.judge_road(claim["x"], claim["y"])
            elif claim["dead"] or claim["back"] or claim["none"]:
                yield from self.judge_turn(claim)
            elif claim["end"] or claim["from"]:
                yield from self.judge_conclusion(claim)
        if self.dead_end:
            yield "does not say where to go back to"

    def place(self):
        """The town where the search is."""
        return self.path[-1] if self.path else "its end"

    def judge_road(self, begin, end):
        here = self.place()
        if (begin, end) not in self.roads:
            yield f"no road leads from {begin} to {end}"
        elif end in self.seen:
            yield f"{end} has been seen"
        elif begin != here or self.dead_end:
            yield f"the search is at {here}, not {begin}"
        if begin in self.path:
            self.path = self.path[: self.path.index(begin) + 1]
        if (begin, end) in self.roads:
            self.path.append(end)
        self.seen.update(self.path)

    def judge_turn(self, claim):
        """To call a town a dead end, or to go back: only where no new road leads on."""
        here = self.place()
        onward = {end for begin, end in self.roads if begin == here} - self.seen
        if onward or here == self.goal:
            yield f"says '{claim[0]}', but the way is not over"
        elif claim["dead"] and claim["dead"] != here:
            yield f"the search is at {here}, not {claim['dead']}"
        before = [claim["back"]] if claim["back"] else []  # nothing lies before the start
        if not claim["dead"] and self.path[-2:-1] != before:
            yield f"'{claim[0]}': the search is not there"
        town = claim["dead"] or claim["back"]
        if town in self.path:
            self.path = self.path[: self.path.index(town) + 1]
        elif claim["none"]:
            self.path = self.path[:-1]
        self.dead_end = claim["dead"]

    def judge_conclusion(self, claim):
        """That the goal can be reached or not must be true, and the search must have shown it."""
        if claim["end"]:
            says_yes = not (claim["no"] or claim["un"])
        else:
            says_yes = claim["can"].lower() == "can"
        if says_yes != self.reachable:
            yield f"says '{claim[0]}' wrongly"
        elif not self.is_shown():
            yield "the search has not shown that"

    def is_shown(self):
        """Whether the search has come to the goal, or back from everywhere."""
        return self.goal in self.seen if self.reachable else not self.path

    def conclude(self):
        """(the true answer, what is missing for it)"""
        missing = "" if self.is_shown() else "the rest of the search"
        return "yes" if self.reachable else "no", missing


FAMILY = Family("reachability", make, read_question, lengths=(4, 8))
