"""Reachability: can one get from one town to another by one-way roads? (depth-first search)

Hard: to turn back at a dead end, to where another way was left. An example of four towns:

    All roads are one-way. A road leads from Yarm to Penn. A road leads from Oxley to Penn. A road
    leads from Yarm to Oxley. A road leads from Oxley to Selby. Can you get from Yarm to Selby?
    Options:
    - Yes
    - No
        RECALL      To begin, I begin in Yarm and look for Selby.
        EXAMPLES    To begin, from Yarm the road leads to Penn.
        CONTRAST    So Penn is a dead end, back to Yarm.
        REASONING   So from Yarm I go to Oxley.
        ADDITION    Next, from Oxley I go to Selby.
        CONCLUSION  Hence Selby can be reached from Yarm.
        RESPONSE    This gives the answer Yes.
"""

import re

from data.algorithmic.common import TOWNS, Family, Problem, any_of, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, EXAMPLES, REASONING, RECALL


# ---------------------------------------------------------------------------------- the teacher
def make(rng, n):
    """A problem of n towns."""
    towns = rng.sample(TOWNS, n)
    roads = draw_roads(rng, towns)
    ways = {town: [y for x, y in roads if x == town] for town in towns}
    start = rng.choice([town for town in towns if ways[town]])
    near = [start]
    for town in near:  # grows to all the towns that can be reached
        near += [end for end in ways[town] if end not in near]
    far = [town for town in towns if town not in near]
    goal = rng.choice(near[1:] if not far or rng.random() < 0.4 else far)
    told = " ".join(f"A road leads from {x} to {y}." for x, y in roads)
    question = f"All roads are one-way. {told} Can you get from {start} to {goal}?"
    answer = "Yes" if goal in near else "No"
    return Problem(f"{question}\nOptions:\n- Yes\n- No", answer, search(rng, ways, start, goal))


def draw_roads(rng, towns):
    """[(town, where the road leads), ...]: a tree, and a few roads more."""
    ways = {town: [] for town in towns}
    for i, town in enumerate(towns[1:], 1):
        ways[rng.choice(towns[:i])].append(town)
    for _ in range(len(towns) // 3):
        x, y = rng.sample(towns, 2)
        if y not in ways[x]:
            ways[x].append(y)
    roads = [(x, y) for x in towns for y in ways[x]]
    rng.shuffle(roads)
    return roads


def search(rng, ways, start, goal):
    """The steps of the search, which tries the roads in the order of the question."""
    plan = f"I [start|begin] in {start} and [look for|want to reach|am looking for] {goal}"
    steps = [(RECALL, say(rng, plan))]
    seen = {start}
    path = [start]
    while path and path[-1] != goal:
        town = path[-1]
        new = [end for end in ways[town] if end not in seen]
        if new:
            signal = ADDITION if steps[-1][0] in (REASONING, ADDITION) else REASONING
            if len(new) > 1:
                signal = EXAMPLES
            body = f"from {town} [the road leads|I can go|I go] to {new[0]}"
            seen.add(new[0])
            path.append(new[0])
        else:
            path.pop()
            back = f"back to {path[-1]}" if path else "and there is nowhere to go back to"
            signal = CONTRAST
            body = f"{town} [leads nowhere new|is a dead end|has no new road], {back}"
        steps.append((signal, say(rng, body)))
    verdict = "[is reached|can be reached]" if path else "[is never reached|cannot be reached]"
    steps.append((CONCLUSION, say(rng, f"{goal} {verdict} from {start}")))
    return steps


# ---------------------------------------------------------------------------------- the checker
QUESTION = re.compile(
    r"""All\ roads\ are\ one-way\.\ (?P<roads>(?:A\ road\ leads\ from\ [\w-]+\ to\ [\w-]+\.\ )+)
    Can\ you\ get\ from\ (?P<start>[\w-]+)\ to\ (?P<goal>[\w-]+)\?(?:\ Options:\ -\ Yes\ -\ No)?""",
    re.VERBOSE,
)


class Checker:
    """A search: on along a given road to a new town, or back from a town that has no such road."""

    answers = "yes|no"

    def __init__(self, roads, start, goal):
        self.roads = roads  # {(town, where the road leads), ...}
        self.start, self.goal = start, goal
        near = [start]
        for town in near:  # grows to all the towns that can be reached
            near += {y for x, y in roads if x == town} - set(near)
        self.reachable = goal in near
        self.path = [start]  # from the start to where the search is; empty at its end
        self.seen = {start}
        town = any_of({start, goal}.union(*roads))
        self.claims = rf"""
            \b(?:start|begin|am)(?:s|ing|ning)?\ (?:in|at|from)\ (?P<place>{town})  # start in Ash
          | \b(?:look(?:ing)?\ for|want\ to\ (?:reach|get\ to)|try(?:ing)?\ to\ reach|goal\ is)
            \ (?P<goal>{town})  # look for Fir
          | \b(?:(?:i|we)\ can|there\ is)(?:\ a)?(?P<cannot>\ not|not|'t|\ never|\ no)?
            \ (?:get|way|path|route)\ from\ (?P<from>{town})\ to\ (?P<to>{town})  # I can get
          | (?:\b(?:road\ )?from\ )?(?P<x>{town}),?  # from Ash the road leads to Oak
            (?:\ (?:the|a|one)\ road\ (?:leads|goes)
              |\ (?:i|we)(?:\ can)?\ (?:go|move|travel|drive|get|reach))?(?:\ on)?
            \ (?:to\ |->\ |(?<=reach\ ))(?P<y>{town})
          | (?:\bfrom\ )?(?P<dead>{town}),?\ (?:is\ a\ dead\ end
            |(?P<lacks>leads\ nowhere|(?:has|there\ (?:is|are))\ no)
             (?P<new>\ (?:new|other|more|unseen|unvisited|(?:road|way)s?\ left))?
             (?:\ (?:road|way)s?)?(?:\ out)?)\b
          | \b(?:back(?:track)?(?:ing)?|return(?:ing)?)\ to\ (?P<back>{town})  # back to Ash
          | (?P<none>\b(?:nowhere|nothing)(?:\ left)?\ to\ (?:go|turn)\ back\ to\b)
          | (?P<end>{town})\ (?:is|was|can|has)(?P<no>n't|not|\ not|'t|\ never)?(?:\ be|\ been)?
            \ (?:reached|(?P<un>un)?reachable)(?:\ from\ (?P<end_from>{town}))?  # Fir is reached
        """

    def judge(self, claims):
        self.dead_end = None  # a town that this step leaves, until it says where to go back to
        if sum(bool(claim["x"]) for claim in claims) > 1:
            yield "takes two roads"
        for claim in claims:
            start = claim["from"] or claim["end_from"] or self.start
            goal = claim["goal"] or claim["to"] or claim["end"] or self.goal
            if (start, goal) != (self.start, self.goal):
                yield f"'{claim[0]}': the question asks for {self.start} to {self.goal}"
            here = self.path[-1] if self.path else "its end"
            if claim["place"] not in (None, here):
                yield f"says '{claim[0]}', but the search is at {here}"
            if claim["x"]:
                yield from self.judge_road(here, claim["x"], claim["y"])
            elif claim["dead"] or claim["back"] or claim["none"]:
                yield from self.judge_turn(here, claim)
            elif claim["end"] or claim["from"]:
                denies = claim["no"] or claim["un"] or claim["cannot"]
                if bool(denies) == self.reachable:
                    yield f"says '{claim[0]}' wrongly"
                elif self.conclude()[1]:
                    yield "the search has not shown that"
        if self.dead_end:
            yield "does not say where to go back to"

    def judge_road(self, here, town, end):
        """A road has to be given, and to lead from where the search is to a new town."""
        self.cut_path(town)
        if (town, end) not in self.roads:
            yield f"no road leads from {town} to {end}"
            return
        if end in self.seen:
            yield f"{end} has been seen"
        elif town != here or self.dead_end:
            yield f"the search is at {here}, not {town}"
        self.path.append(end)
        self.seen.add(end)

    def judge_turn(self, here, claim):
        """A dead end, or the way back, is where no road leads to a new town."""
        new = {y for x, y in self.roads if x == here} - self.seen
        before = [claim["back"]] if claim["back"] else []  # nothing lies before the start
        if new or here == self.goal:
            yield f"says '{claim[0]}', but the way is not over"
        elif claim["lacks"] and not claim["new"] and any(x == here for x, _ in self.roads):
            yield f"{here} has a road"
        elif claim["dead"] and claim["dead"] != here:
            yield f"the search is at {here}, not {claim['dead']}"
        elif not claim["dead"] and self.path[-2:-1] != before:
            yield f"'{claim[0]}': the search is not there"
        if claim["none"]:
            self.path = self.path[:-1]
        self.cut_path(claim["dead"] or claim["back"])
        self.dead_end = claim["dead"]

    def cut_path(self, town):
        """Go back to the town, where the path has it."""
        if town in self.path:
            self.path = self.path[: self.path.index(town) + 1]

    def conclude(self):
        is_over = self.goal in self.seen if self.reachable else not self.path
        return "yes" if self.reachable else "no", "" if is_over else "the rest of the search"


def read_question(question):
    m = QUESTION.fullmatch(tidy(question))
    if not m or m["start"] == m["goal"]:
        return None
    roads = re.findall(r"from ([\w-]+) to ([\w-]+)", m["roads"])
    return Checker(set(roads), m["start"], m["goal"])


FAMILY = Family("reachability", make, read_question, lengths=(4, 8))
