"""Reachability: can one get from one town to another by one-way roads? (breadth-first search)

Hard: to know which towns were found, and which of them is next. What a step compares stands close
before it: the list of the towns found, and the goal. What leads on from a town is looked up: every
town comes once as the first word of a fact. An example of four towns:

    All roads are one-way. Penn leads nowhere. Oxley leads to Penn. Yarm leads to Penn and Elmer.
    Elmer leads to Yarm and Oxley. Can you get from Yarm to Oxley?
    Options:
    - Yes
    - No
        RECALL      I think I look for Oxley, and my list is Yarm.
        RECALL      We are told that Yarm leads to Penn and Elmer.
        REASONING   Now I look for Oxley: Penn is new and Elmer is new.
        ADDITION    Also, my list is Yarm, Penn, Elmer, and after Yarm comes Penn.
        RECALL      I recall that Penn leads nowhere.
        CONTRAST    But this is a dead end, and after Penn comes Elmer.
        RECALL      I know that Elmer leads to Yarm and Oxley.
        REASONING   Now I look for Oxley: Yarm was seen before and Oxley is my goal.
        CONCLUSION  Hence Oxley can be reached from Yarm.
        RESPONSE    This gives the answer Yes.

A fork: of several roads the teacher compares all, as above, or any one; new towns go to the end of
the list, or they come next; there may be no conclusion.

        EXAMPLES    Say, Elmer is new.
        REASONING   Now I look for Oxley: Penn is new.
"""

import re

from data.algorithmic.common import TOWNS, Family, Problem, any_of, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, EXAMPLES, REASONING, RECALL, RESPONSE

# ---------------------------------------------------------------------------------- the teacher
CONCLUDE = 0.5  # at a fork: the share of conclusions


def make(rng, n, forks=None):
    """A problem of n towns; forks: chooses at the forks of the search."""
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
    found = search(rng, ways, start, goal, forks)
    return Problem(f"{question}\nOptions:\n- Yes\n- No", answer, *found)


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


def search(rng, ways, start, goal, forks):
    """(steps, open signals) of the search: what a town leads to goes on the list, if it is new.

    A step that compares has the list and the goal close before it.
    """
    steps = [(RECALL, say(rng, f"I [look|am looking] for {goal}, and my list is {start}"))]
    open_signals = {}
    known = [start]
    for i, town in enumerate(known):
        steps.append((RECALL, roads_from(town, ways[town])))
        left, n_known = ways[town], len(known)
        while left and goal not in known:
            choices = roads_to_compare(left, known, goal, forks)
            open_signals[len(steps)] = {signal for signal, _ in choices}
            signal, ends = forks.choice(choices) if forks else choices[0]
            body = " and ".join(compare(end, known, goal) for end in ends)
            if signal == REASONING:
                body = f"I [look|am looking] for {goal}: {body}"
            steps.append((signal, say(rng, body)))
            known += [end for end in ends if end not in known]
            left = [end for end in left if end not in ends]
        if goal in known:
            verdict = "[is|can be] reached"
            break
        later, new = known[i + 1 : n_known], known[n_known:]
        signal = ADDITION if new else CONTRAST
        if forks and later and new:
            open_signals[len(steps)] = {ADDITION, EXAMPLES}
            signal = forks.choice((ADDITION, EXAMPLES))
        known[i + 1 :] = new + later if signal == EXAMPLES else later + new
        result = "[nothing there is new|this is a dead end|that leads to nothing new]"
        if new:
            result = f"my list is {', '.join(known)}"
        if signal == EXAMPLES:
            result = f"I [go on|continue] from here, so {result}"
        following = [*known, "nothing"][i + 1]
        steps.append((signal, say(rng, f"{result}, and after {town} comes {following}")))
    else:
        verdict = "[is never|cannot be] reached"
    if forks:
        open_signals[len(steps)] = {CONCLUSION, RESPONSE}
    if not forks or forks.random() < CONCLUDE:
        steps.append((CONCLUSION, say(rng, f"{goal} {verdict} from {start}")))
    return steps, open_signals


def roads_to_compare(ends, known, goal, forks):
    """[(signal, towns)] of the steps that may come next: about all of these, at a fork any one."""
    choices = [(REASONING, ends)]
    if forks and len(ends) > 1:
        others = [end for end in ends if end != goal]
        choices += [(CONTRAST if end in known else EXAMPLES, [end]) for end in others]
    return choices


def compare(end, known, goal):
    """What the search says of a town that a road leads to."""
    if end == goal:
        return f"{end} is my goal"
    return f"{end} was [seen|known|found] before" if end in known else f"{end} is new"


# ---------------------------------------------------------------------------------- the checker
FACT = r"([\w-]+) leads (?:nowhere|to ([\w -]+))\. "
QUESTION = re.compile(
    r"""All\ roads\ are\ one-way\.\ (?P<facts>(?:[\w-]+\ leads\ [\w\ -]+\.\ )+)
    Can\ you\ get\ from\ (?P<start>[\w-]+)\ to\ (?P<goal>[\w-]+)\?(?:\ Options:\ -\ Yes\ -\ No)?""",
    re.VERBOSE,
)


class Checker:
    """A search: in one town after the other, every road leads to a new town or to a known one."""

    answers = "yes|no"

    def __init__(self, ways, start, goal):
        self.ways = ways  # {town: [where its roads lead]}
        self.start, self.goal = start, goal
        near = [start]
        for town in near:  # grows to all the towns that can be reached
            near += [end for end in ways[town] if end not in near]
        self.reachable = goal in near
        self.found = [start]  # in the order of the list
        self.due = {}  # {town that the search has come to: the ends of its roads not yet judged}
        self.enter(start)
        town = any_of(ways)
        towns = rf"{town}(?:(?:,|,?\ and)\ {town}(?!\ (?:is|was|has)\b))*"
        self.claims = rf"""
            \b(?:start|begin)(?:s|ning)?\ (?:in|at|from|with)\ (?P<start>{town})  # begin in Ash
          | \b(?:look(?:ing)?\ for|want\ to\ (?:reach|get\ to)|try(?:ing)?\ to\ reach|goal\ is)
            \ (?P<goal>{town})  # look for Fir
          | \b(?:(?:my|the|our)\ list(?:\ now)?\ (?:is|has|holds|reads)
            |(?:i|we)\ (?:know\ of|have\ found)):?\ (?P<list>{towns})  # my list is Ash
          | \b(?:(?:i|we)\ can|there\ is)(?:\ a)?(?P<cannot>\ not|not|'t|\ never|\ no)?
            \ (?:get|way|path|route)\ from\ (?P<from>{town})\ to\ (?P<to>{town})  # I can get
          | (?:\bafter\ (?P<after>{town}),?\ )?(?:(?:\bcomes\ |\bnext\ (?:is|comes)\ )
             (?:(?P<next>{town})|(?P<nothing>nothing|no\ other))
             |(?P<next2>{town})\ (?:is|comes)\ next)\b  # after Ash comes Oak
          | (?:\bfrom\ (?P<x>{town}),?\ )?\b(?:(?:i|we)(?:\ can)?|back)  # from Ash I go to Oak
            (?:\ (?:go|come|move|turn|return|travel))?(?:\ on|\ back)*
            (?:\ from\ (?P<x2>{town}))?\ to\ (?P<next3>{town})(?:\ from\ (?P<x3>{town}))?
          | (?P<listed>{town}),?\ (?:there\ (?:is|are)\ )?(?:(?:the|a|one)\ )?
            (?:only\ )?(?:roads?\ (?:leads?\ |goe?s?\ )?|leads?\ )to  # from Ash roads lead to Oak
            \ (?P<ends>{towns})
          | \broad\ from\ (?P<listed2>{town})\ to\ (?P<ends2>{town})
          | (?P<dead>{town}),?\ (?:leads\ nowhere|(?:(?:has|there\ (?:is|are))\ )?no\ (?:road|way)s?
            (?:\ out|\ (?:leads?\ )?on)?)\b  # Elm leads nowhere
          | (?P<hit>{town})\ is\ (?:my|the|our)\ goal\b
          | (?P<new>{town})\ (?:is\ (?:new|unseen)|(?:is|was)\ not\ (?:known|seen)(?:\ yet)?)\b
          | (?P<old>{town})\ (?:is\ (?:not\ new|known|on\ (?:my|the|our)\ list)|isn't\ new
            |(?:was|has\ been)\ (?:seen|known|found|listed))\b(?:\ before|\ already)?
          | (?:(?P<spent_in>{town})\ is\ )?(?P<spent>\ba\ dead\ end\b
            |\bnothing(?:\ there|\ here|\ is|\ new|\ left)+)(?:\ in\ (?P<spent_in2>{town}))?
          | (?P<end>{town})\ (?:is|was|can|has)(?P<no>n't|not|\ not|'t|\ never)?(?:\ be|\ been)?
            \ (?:reached|(?P<un>un)?reachable)(?:\ from\ (?P<end_from>{town}))?  # Fir is reached
        """

    def enter(self, town):
        """The search comes to the town, maybe once more."""
        self.here = town
        self.told = set()  # ends of its roads that were stated since then
        self.is_fruitful = False  # whether one of them has been new
        self.due.setdefault(town, list(self.ways[town]))

    def judge(self, claims):
        n_moves = 0
        for claim in claims:
            if claim["start"] or claim["goal"] or claim["from"] or claim["end"]:
                yield from self.judge_question(claim)
            elif claim["list"]:
                towns = split(claim["list"])
                place = self.found.index(self.here) + 1  # only what comes later may change places
                if towns[:place] == self.found[:place] and sorted(towns) == sorted(self.found):
                    self.found = towns
                else:
                    yield f"'{claim[0]}', but found are {', '.join(self.found)}"
            elif claim["listed"] or claim["listed2"] or claim["dead"]:
                yield from self.judge_fact(claim)
            elif claim["new"] or claim["old"] or claim["hit"]:
                yield from self.judge_end(claim)
            elif claim["spent"]:
                town = claim["spent_in"] or claim["spent_in2"] or self.here
                if town != self.here or self.due[town] or self.is_fruitful:
                    yield f"says '{claim[0]}' wrongly"
            else:
                n_moves += 1
                yield from self.judge_move(claim)
        if n_moves > 1:
            yield "goes on twice"

    def judge_question(self, claim):
        """Where the search begins, what it looks for, whether that can be reached."""
        start = claim["start"] or claim["from"] or claim["end_from"] or self.start
        goal = claim["goal"] or claim["to"] or claim["end"] or self.goal
        if (start, goal) != (self.start, self.goal):
            yield f"'{claim[0]}': the question asks for {self.start} to {self.goal}"
        elif claim["end"] or claim["from"]:
            denies = bool(claim["no"] or claim["cannot"]) != bool(claim["un"])
            if denies == self.reachable:
                yield f"says '{claim[0]}' wrongly"
            elif self.conclude()[1]:
                yield "the search has not shown that"

    def judge_fact(self, claim):
        """Given roads from where the search is: all of them, one, or that there is none."""
        town = claim["listed"] or claim["listed2"] or claim["dead"]
        ends = [] if claim["dead"] else split(claim["ends"] or claim["ends2"])
        is_all = sorted(ends) == sorted(self.ways[town])
        is_one = len(ends) == 1 and "only" not in claim[0] and ends[0] in self.ways[town]
        if not is_all and not is_one:
            yield f"'{claim[0]}' is not given"
        elif town != self.here:
            yield f"the search is at {self.here}, not {town}"
        elif self.told >= {*ends, None}:
            yield f"'{claim[0]}' has been said"
        self.told |= {*ends, None}

    def judge_end(self, claim):
        """What a road from where the search is leads to: a new town, an old one, or the goal."""
        town = claim["new"] or claim["old"] or claim["hit"]
        is_right = town == self.goal if claim["hit"] else bool(claim["old"]) == (town in self.found)
        if town not in self.due[self.here]:
            yield f"no road leads from {self.here} to {town}, or it has been followed"
        else:
            self.follow(town)
            if not is_right:
                yield f"says '{claim[0]}' wrongly"

    def follow(self, town):
        """A road from where the search is leads to this town."""
        self.due[self.here].remove(town)
        if town not in self.found:
            self.found.append(town)
            self.is_fruitful = True

    def judge_move(self, claim):
        """The next town is a new one or one found before, where a road is left to follow."""
        town = claim["next"] or claim["next2"] or claim["next3"]
        x = claim["after"] or claim["x"] or claim["x2"] or claim["x3"]
        place = self.found.index(self.here) + 1
        if town in self.due[self.here]:
            self.follow(town)
        if x not in (None, self.here):
            yield f"the search is at {self.here}, not {x}"
        elif claim["nothing"]:
            if self.left():
                yield f"{self.left()[0]} is left"
        elif town not in self.left():
            yield f"there is nothing to do in {town}"
        elif claim["after"] and self.found[place : place + 1] != [town]:
            yield f"{town} does not come after {x}"
        elif self.goal in self.found:
            yield "goes on after the goal"
        if town in self.found:
            self.enter(town)

    def left(self):
        """The towns found where a road is left to follow, as far as is known."""
        return [town for town in self.found if self.due.get(town, True)]

    def conclude(self):
        if self.reachable:
            return "yes", "" if self.goal in self.found else "the rest of the search"
        return "no", "the rest of the search" if self.left() else ""


def split(towns):
    return re.split(r",? and |, ", towns)


def read_question(question):
    m = QUESTION.fullmatch(tidy(question))
    if not m or m["start"] == m["goal"]:
        return None
    facts = re.findall(FACT, m["facts"])
    ways = {town: ends.split(" and ") if ends else [] for town, ends in facts}
    towns = {m["start"], m["goal"]}.union(ways, *ways.values())
    return Checker({town: ways.get(town, []) for town in towns}, m["start"], m["goal"])


FAMILY = Family("reachability", make, read_question, lengths=(4, 8), has_forks=True)
