"""Reachability: can one get from one town to another by one-way roads? (depth-first search)

Hard: to turn back at a dead end, to where another way was left. What leads on from a town is looked
up: every town comes once as the first word of a fact, and what it leads to stands within three
tokens of it, the reach of the student's short convolution. An example of three towns:

    All roads are one-way. Penn leads nowhere. Yarm leads to Penn and Oxley. Oxley leads to Penn.
    Can you get from Yarm to Oxley?
    Options:
    - Yes
    - No
        RECALL      I think I begin in Yarm and look for Oxley.
        RECALL      We are told that Yarm leads to Penn and Oxley.
        EXAMPLES    Say, Penn is new, so I go to Penn from Yarm.
        RECALL      I recall that Penn leads nowhere.
        ADDITION    Then nothing new is left in Penn, so I go back from Penn to Yarm.
        RECALL      I recall that Yarm leads to Penn and Oxley.
        CONTRAST    But Penn was seen before.
        EXAMPLES    For example, Oxley is new, so I go to Oxley from Yarm.
        CONCLUSION  Hence Oxley can be reached from Yarm.
        RESPONSE    This gives the answer Yes.
"""

import re

from data.algorithmic.common import TOWNS, Family, Problem, any_of, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, EXAMPLES, REASONING, RECALL


# ---------------------------------------------------------------------------------- the teacher
def make(rng, n):
    """A problem of n towns."""
    towns = rng.sample(TOWNS, n)
    ways = draw_roads(rng, towns)
    start = rng.choice([town for town in towns if ways[town]])
    near = [start]
    for town in near:  # grows to all the towns that can be reached
        near += [end for end in ways[town] if end not in near]
    far = [town for town in towns if town not in near]
    goal = rng.choice(near[1:] if not far or rng.random() < 0.4 else far)
    told = " ".join(f"{roads_from(town, ways[town])}." for town in rng.sample(towns, n))
    question = f"All roads are one-way. {told} Can you get from {start} to {goal}?"
    answer = "Yes" if goal in near else "No"
    return Problem(f"{question}\nOptions:\n- Yes\n- No", answer, search(rng, ways, start, goal))


def draw_roads(rng, towns):
    """{town: where its roads lead}: a tree, and a few roads more."""
    ways = {town: [] for town in towns}
    for i, town in enumerate(towns[1:], 1):
        ways[rng.choice(towns[:i])].append(town)
    for _ in range(len(towns) // 3):
        x, y = rng.sample(towns, 2)
        if y not in ways[x]:
            ways[x].append(y)
    return {town: rng.sample(ends, len(ends)) for town, ends in ways.items()}


def roads_from(town, ends):
    """The fact of the question that is looked up by the name of the town."""
    return f"{town} leads to {' and '.join(ends)}" if ends else f"{town} leads nowhere"


def search(rng, ways, start, goal):
    """The steps of the search, which tries the roads in the order of the question.

    The roads from a town are stated before one is taken: a step hangs on words just written.
    """
    plan = f"I [start|begin] in {start} and [look for|want to reach|am looking for] {goal}"
    steps = [(RECALL, say(rng, plan))]
    seen, path = {start}, [start]
    while path and path[-1] != goal:
        town = path[-1]
        steps.append((RECALL, roads_from(town, ways[town])))
        for end in ways[town]:
            if end not in seen:
                signal = EXAMPLES if len(ways[town]) > 1 else REASONING
                steps.append(
                    (signal, say(rng, f"{end} is new, so I [go|come|move] to {end} from {town}"))
                )
                seen.add(end)
                path.append(end)
                break
            steps.append((CONTRAST, say(rng, f"{end} [is not new|has been seen|was seen before]")))
        else:
            path.pop()
            back = "and there is nowhere to go back to"
            if path:
                back = f"so I go back from {town} to {path[-1]}"
            body = f"[nothing new is left|there is nothing new] in {town}, {back}"
            steps.append((ADDITION, say(rng, body)))
    verdict = "[is reached|can be reached]" if path else "[is never reached|cannot be reached]"
    steps.append((CONCLUSION, say(rng, f"{goal} {verdict} from {start}")))
    return steps


# ---------------------------------------------------------------------------------- the checker
FACT = r"([\w-]+) leads (?:nowhere|to ([\w -]+))\. "
QUESTION = re.compile(
    r"""All\ roads\ are\ one-way\.\ (?P<facts>(?:[\w-]+\ leads\ [\w\ -]+\.\ )+)
    Can\ you\ get\ from\ (?P<start>[\w-]+)\ to\ (?P<goal>[\w-]+)\?(?:\ Options:\ -\ Yes\ -\ No)?""",
    re.VERBOSE,
)


class Checker:
    """A search: on along a given road to a new town, or back from a town that has no such road."""

    answers = "yes|no"

    def __init__(self, ways, start, goal):
        self.ways = ways  # {town: [where its roads lead]}
        self.start, self.goal = start, goal
        near = [start]
        for town in near:  # grows to all the towns that can be reached
            near += [end for end in ways[town] if end not in near]
        self.reachable = goal in near
        self.path = [start]  # from the start to where the search is; empty at its end
        self.seen = {start}
        town = any_of(ways)
        self.claims = rf"""
            \b(?:start|begin|am)(?:s|ing|ning)?\ (?:in|at|from)\ (?P<place>{town})  # start in Ash
          | \b(?:look(?:ing)?\ for|want\ to\ (?:reach|get\ to)|try(?:ing)?\ to\ reach|goal\ is)
            \ (?P<goal>{town})  # look for Fir
          | \b(?:(?:i|we)\ can|there\ is)(?:\ a)?(?P<cannot>\ not|not|'t|\ never|\ no)?
            \ (?:get|way|path|route)\ from\ (?P<from>{town})\ to\ (?P<to>{town})  # I can get
          | (?:\bfrom\ (?P<x>{town}),?\ )?\b(?:i|we)(?:\ can)?  # from Ash I go to Oak
            \ (?:(?:go|come|move|travel|drive|get|take\ the\ road)(?!\ back)
              (?:\ from\ (?P<x2>{town}))?
              (?:\ there|(?:\ on)?\ to\ (?P<y>{town})|\ on\b)|reach\ (?P<y2>{town}))
            (?:\ from\ (?P<x3>{town}))?
          | (?P<x4>{town})\ ->\ (?P<y3>{town})
          | (?:\bfrom\ )?(?P<listed>{town}),?\ (?:there\ (?:is|are)\ )?(?:(?:the|a|one)\ )?
            (?:only\ )?(?:roads?\ (?:leads?\ |goe?s?\ )?|leads?\ )to  # from Ash roads lead to Oak
            \ (?P<ends>{town}(?:(?:,|,?\ and)\ {town})*)
          | \broad\ from\ (?P<listed2>{town})\ to\ (?P<ends2>{town})
          | (?P<new>{town})\ (?:is\ (?:new|unseen)|(?:is|was|has)(?:\ not|n't)\ (?:been\ )?seen)\b
          | (?P<old>{town})\ (?:(?:is|was)(?:\ not\ new|n't\ new|\ seen)|has\ been\ seen)\b
            (?:\ before|\ already)?
          | (?:\bfrom\ )?(?P<dead>{town}),?\ (?:is\ a\ dead\ end
            |(?P<lacks>leads\ nowhere|(?:(?:has|there\ (?:is|are))\ )?no\b)
             (?P<fresh>\ (?:new|other|more|unseen|unvisited|(?:road|way)s?\ left))?
             (?:\ (?:road|way)s?)?(?:\ leads?|\ goes?)?(?:\ out|\ on|\ anywhere)?)\b
          | \bnothing(?:\ new)?(?:\ is)?(?:\ left)?\ in\ (?P<spent>{town})  # nothing is left in Oak
          | \b(?:back(?:track)?(?:ing)?|return(?:ing)?)  # back from Oak to Ash
            (?:\ from\ (?P<left>{town}))?\ to\ (?P<back>{town})
          | (?P<none>\b(?:nowhere|nothing)(?:\ left)?\ to\ (?:go|turn)\ back\ to\b)
          | (?P<end>{town})\ (?:is|was|can|has)(?P<no>n't|not|\ not|'t|\ never)?(?:\ be|\ been)?
            \ (?:reached|(?P<un>un)?reachable)(?:\ from\ (?P<end_from>{town}))?  # Fir is reached
        """

    def judge(self, claims):
        self.dead_end = None  # a town that this step leaves, until it says where to go back to
        self.named = None  # the town that "there" means
        n_moves = 0
        for claim in claims:
            here = self.path[-1] if self.path else "its end"
            if claim["place"] or claim["goal"] or claim["from"] or claim["end"]:
                yield from self.judge_question(here, claim)
            elif claim["listed"] or claim["listed2"]:
                yield from self.judge_fact(here, claim)
            elif claim["new"] or claim["old"]:
                self.named = claim["new"]
                town = claim["new"] or claim["old"]
                if bool(claim["new"]) == (town in self.seen):
                    yield f"says '{claim[0]}' wrongly"
                elif town not in self.ways.get(here, []):
                    yield f"no road leads from {here} to {town}"
            elif claim["dead"] or claim["spent"] or claim["back"] or claim["none"]:
                yield from self.judge_turn(here, claim)
            else:
                n_moves += 1
                yield from self.judge_move(here, claim)
        if n_moves > 1:
            yield "takes two roads"
        if self.dead_end:
            yield "does not say where to go back to"

    def judge_question(self, here, claim):
        """Where the search is, what it looks for, whether that can be reached."""
        start = claim["from"] or claim["end_from"] or self.start
        goal = claim["goal"] or claim["to"] or claim["end"] or self.goal
        if (start, goal) != (self.start, self.goal):
            yield f"'{claim[0]}': the question asks for {self.start} to {self.goal}"
        if claim["place"] not in (None, here):
            yield f"says '{claim[0]}', but the search is at {here}"
        if claim["end"] or claim["from"]:
            denies = claim["no"] or claim["un"] or claim["cannot"]
            if bool(denies) == self.reachable:
                yield f"says '{claim[0]}' wrongly"
            elif self.conclude()[1]:
                yield "the search has not shown that"

    def judge_fact(self, here, claim):
        """Given roads from where the search is, all of them or one."""
        town = claim["listed"] or claim["listed2"]
        ends = re.split(r",? and |, ", claim["ends"] or claim["ends2"])
        is_all = sorted(ends) == sorted(self.ways[town])
        if not is_all and (len(ends) > 1 or "only" in claim[0] or ends[0] not in self.ways[town]):
            yield f"'{claim[0]}' is not given"
        elif town != here:
            yield f"the search is at {here}, not {town}"
        self.named = ends[0]

    def judge_move(self, here, claim):
        """A road has to be given, and to lead from where the search is to a new town."""
        town = claim["x"] or claim["x2"] or claim["x3"] or claim["x4"] or here
        end = claim["y"] or claim["y2"] or claim["y3"] or self.named
        self.cut_path(town)
        if end not in self.ways[town]:
            yield f"no road leads from {town} to {end}"
            return
        if end in self.seen:
            yield f"{end} has been seen"
        elif self.named not in (None, end):
            yield f"goes to {end}, not {self.named}"
        elif town != here or self.dead_end:
            yield f"the search is at {here}, not {town}"
        elif here == self.goal:
            yield "goes on after the goal"
        self.path.append(end)
        self.seen.add(end)

    def judge_turn(self, here, claim):
        """No road at all, a dead end, or the way back, where no road leads to a new town."""
        town = claim["dead"] or claim["spent"]
        if claim["left"] not in (None, here):
            yield f"the search is at {here}, not {claim['left']}"
        before = [claim["back"]] if claim["back"] else []  # nothing lies before the start
        if town not in (None, here):
            yield f"the search is at {here}, not {town}"
        elif claim["lacks"] and not claim["fresh"] and self.ways[here]:
            yield f"{here} has a road"
        elif here == self.goal or set(self.ways.get(here, [])) - self.seen:
            yield f"says '{claim[0]}', but the way is not over"
        elif not town and self.path[-2:-1] != before:
            yield f"'{claim[0]}': the search is not there"
        if claim["none"]:
            self.path = self.path[:-1]
        self.cut_path(town or claim["back"])
        if not claim["lacks"]:
            self.dead_end = town

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
    facts = re.findall(FACT, m["facts"])
    ways = {town: ends.split(" and ") if ends else [] for town, ends in facts}
    towns = {m["start"], m["goal"]}.union(ways, *ways.values())
    return Checker({town: ways.get(town, []) for town in towns}, m["start"], m["goal"])


FAMILY = Family("reachability", make, read_question, lengths=(4, 8))
