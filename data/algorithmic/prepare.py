"""The embedded teacher: procedural problems with a written-out reasoning trace, generated in seconds.

Eight families in the question and target format of BIG-Bench Hard's algorithmic tasks (Suzgun et al. 2022;
tracking_shuffled_objects with 3, 5 and 7 objects is one family here), plus family_relations (the quiz of
fairydreaming/farel-bench) and reachability (depth-first search with dead ends). One row of train.jsonl:

    {"id": "train-object_counting-0", "task": "object_counting",
     "question": "I have a garlic, a cat, and two onions. How many vegetables do I have?",
     "trace": "I think I have to count the vegetables.\\n\\nTake this one: the garlic is a vegetable.\\n\\n
               Now that makes 0 + 1 = 1.\\n\\nNext, the cat is an animal.\\n\\nBut that does not count, so it stays 1.\\n\\n
               The two onions are vegetables.\\n\\nLet's see: we have 1 + 2 = 3.\\n\\nSo there are 3 vegetables.\\n\\nThe answer is 3.",
     "answer": "3"}

The gold signal of every step is decided by the algorithm, never by a coin; it is kept apart, in train.gold.jsonl.
Only the wording is random. What a signal means here:
    RECALL    states a given fact or rule            REASON    computes, follows, compares
    ADD       one more case like the step before     EXAMPLE   tries a concrete case
    CONTRAST  turns: a claim is false, a direction reverses, an item does not count, a way is blocked
    CONCLUDE  sums up                                RESPOND   hands over the answer

A question's split follows from its hash, so train, val and test share no question, whatever the seed or the size.

    python data/algorithmic/prepare.py                                   # the default set, written beside this file
    python data/algorithmic/prepare.py --tasks navigate --lengths 10-12 --out_dir longer   # longer than trained on
"""
import argparse
import functools
import hashlib
import itertools
import json
import random
import re
import sys
import time
from pathlib import Path

ADD, EXAMPLE, RECALL, CONTRAST, REASON, CONCLUDE, RESPOND = range(7)  # the order of scaffold.SIGNALS
DEFAULT_TASKS = "web_of_lies,boolean_expressions,object_counting"  # those that two cores learn within the default run

# ---------------------------------------------------------------------------------------------- wording
# Openers by signal: those that name it, those that sound like another one, and those that no keyword table lists.
OWN, BORROWED = 0.64, 0.10  # shares of the first two kinds: the paper's 74% of steps with a keyword, 87% of them right
OPENERS = {
    ADD: ("Also,|Next,|Moreover,|In addition,|Furthermore,|Similarly,|Besides,", "Now|So|Let me see:", "|Okay,|From there,"),
    EXAMPLE: ("For example,|For instance,|Take this one:|Say we try it:|Suppose we try:", "First,|So,", "|To begin,|At the start,"),
    RECALL: ("I recall that|We are told that|I know that|Remember that|I think", "First,|So|Let me see:", "|Okay,|To begin,"),
    CONTRAST: ("But|However,|Wait,|But wait,|Yet", "Now|So|Then", "|Hmm,|This time"),
    REASON: ("Let me check:|Let's see:|Now|Looking at this,|Let me see:", "So|Then|Also,", "|Okay,|Right,"),
    CONCLUDE: ("So|Therefore,|Thus|Hence|In summary,|Overall,", "Now|Then", "|Okay,|At this point"),
    RESPOND: ("The answer is|Final answer:|The final answer is", "So the answer is|Therefore, the answer is", "This gives the answer|That makes the answer"),
}
OPENERS = {signal: [kind.split("|") for kind in kinds] for signal, kinds in OPENERS.items()}
FILLERS = "Okay.|Alright.|Good.|That makes sense.|Let me go on.|One step at a time.|Hmm.|Fine.".split("|")
FILLED = 0.08  # share of the steps that trail off into a filler
CHOICE = re.compile(r"\[([^\[\]]*)\]")


@functools.cache
def choices(template):
    """A template cut into its parts: plain text, and the list of what each [a|b] may become."""
    return [part.split("|") if i % 2 else part for i, part in enumerate(CHOICE.split(template))]


def say(rng, template, **values):
    """One wording of a template: every [a|b] becomes one of its parts, then every {name} its value."""
    return "".join([rng.choice(part) if isinstance(part, list) else part for part in choices(template)]).format(**values)


def write(rng, signal, body):
    """One step of the trace: an opener, the body, now and then a filler."""
    u = rng.random()
    opener = rng.choice(OPENERS[signal][0 if u < OWN else 1 if u < OWN + BORROWED else 2])
    text = f"{opener} {body}" if opener else body[0].upper() + body[1:]
    return text + "." + (" " + rng.choice(FILLERS) if signal != RESPOND and rng.random() < FILLED else "")


# Broad lists; the students' test questions need not stay inside them, but a name met in training is copied better. Items are
# (singular, plural); the shufflers are those of BBH, who always come in this order.
WORDS = json.loads(Path(__file__).with_name("words.json").read_text(encoding="utf-8"))
NAMES, SHUFFLERS, ITEMS, COLORS, BOOKS, POSITIONS, PARTNERS, TOWNS = WORDS.values()
NUMBERS = "a two three four five six".split()


def listing(parts):
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + ", and " + parts[-1]


# ------------------------------------------------------------------------------------------- the families
# Each takes a random generator and a length and returns (question, answer, [(signal, body), ...]).
def web_of_lies(rng, n):
    """n people; each but the first speaks about the one before."""
    people = rng.sample(NAMES, n)
    honest = [rng.random() < 0.5]
    verb = lambda tells: "tells the truth" if tells else "lies"
    known = lambda who, tells: say(rng, "{p} [tells the truth|is truthful|is honest]" if tells else "{p} [lies|is lying|is a liar]", p=who)
    question = [f"{people[0]} {verb(honest[0])}."]
    steps = [(RECALL, known(people[0], honest[0]))]
    for i in range(1, n):
        claim = rng.random() < 0.5
        honest.append(claim == honest[i - 1])
        question.append(f"{people[i]} says {people[i - 1]} {verb(claim)}.")
        signal = CONTRAST if not honest[i] else ADD if steps[-1][0] in (REASON, ADD) else REASON
        verdict = "[true|right|correct]" if honest[i] else "[false|wrong|a lie]"
        steps.append((signal, say(rng, "{p} [says|claims|says that] {q} {verb}, [which is|and that is|and this is] " + verdict + ", so {known}",
                                  p=people[i], q=people[i - 1], verb=verb(claim), known=known(people[i], honest[i]))))
    steps.append((CONCLUDE, known(people[-1], honest[-1])))
    return f"Question: {' '.join(question)} Does {people[-1]} tell the truth?", "Yes" if honest[-1] else "No", steps


COMPASS = ["forward", "right", "backward", "left"]  # clockwise; right is +x, forward is +y
AXIS = [(0, 1), (1, 0), (0, -1), (-1, 0)]


def navigate(rng, n):
    """About n instructions; half of the questions always face forward, about 45% return to the start."""
    strafing = rng.random() < 0.5
    moves = []  # (steps, direction) when strafing, else (steps, None) or (0, turn)
    while len(moves) < n:
        moves.append((rng.randint(1, 10), rng.randrange(4)) if strafing else
                     (0, rng.choice((1, 2, 3))) if rng.random() < 0.35 else (rng.randint(1, 10), None))
    if rng.random() < 0.7:  # bend the end of the walk towards the start: some arrive, some miss by a little
        moves = moves[: max(1, n - rng.randint(1, 3))]
        x, y, facing = walk(moves)[-1]
        miss = rng.choice((-2, -1, 1, 2)) if rng.random() < 0.35 else 0
        for net, axis in ((x, 1), (y, 0)):
            back = 2 + axis if net > 0 else axis
            left = max(0, abs(net) + (miss if net else 0))
            while left:
                if not strafing and facing != back % 4:
                    moves.append((0, (back - facing) % 4))
                    facing = back % 4
                step = min(left, 10)
                moves.append((step, back % 4 if strafing else None))
                left -= step
        if strafing:
            rng.shuffle(moves)
        elif rng.random() < 0.2:
            moves.append((0, rng.choice((1, 2, 3))))
    count = lambda k: f"{k} step" + "s" * (k > 1)
    turns = {1: "right", 2: "around", 3: "left"}
    told = [f"Turn {turns[d]}." if not k else f"Take {count(k)}." if d is None else f"Take {count(k)} {COMPASS[d]}." for k, d in moves]
    question = "If you follow these instructions, do you return to the starting point? " + "Always face forward. " * strafing + " ".join(told)
    steps = [(RECALL, say(rng, "I [start|begin] at (0, 0)") + ", facing forward" * (not strafing))]
    last, path = None, walk(moves)
    for (k, d), (x0, y0, _), (x, y, facing) in zip(moves, path, path[1:]):
        if not k:
            steps.append((CONTRAST if d == 2 else REASON, say(rng, "turning {turn} [means I face|I now face|leaves me facing] {dir}", turn=turns[d], dir=COMPASS[facing])))
        else:
            dir = facing if d is None else d
            signal = REASON if last is None or (dir - last) % 2 else ADD if dir == last else CONTRAST
            steps.append((signal, say(rng, "{k} {dir} [take{s}|bring{s}|move{s}] {axis} to {a} {op} {n} = {b}", k=count(k), dir=COMPASS[dir], s="s" * (k == 1),
                                      axis="yx"[dir % 2], a=(y0, x0)[dir % 2], op="++--"[dir], n=k, b=(y, x)[dir % 2])))
            last = dir
    home = (x, y) == (0, 0)
    steps.append((CONCLUDE, say(rng, "I [end|finish|stop] at ({x}, {y}), [" + ("back at the start|which is the starting point" if home else "away from the start|not at the starting point") + "]", x=x, y=y)))
    return question + "\nOptions:\n- Yes\n- No", "Yes" if home else "No", steps


def walk(moves):
    """(x, y, facing) before the first and after every move."""
    x, y, facing = 0, 0, 0
    path = [(x, y, facing)]
    for k, d in moves:
        if not k:
            facing = (facing + d) % 4
        dx, dy = AXIS[facing if d is None else d]
        x, y = x + k * dx, y + k * dy
        path.append((x, y, facing))
    return path


def expression(rng, k):
    """k tokens."""
    if k == 1:
        return [rng.choice(("True", "False"))]
    kind = rng.random()
    if k >= 3 and kind < 0.45:
        left = rng.randint(1, k - 2)
        return expression(rng, left) + [rng.choice(("and", "or"))] + expression(rng, k - 1 - left)
    return ["("] + expression(rng, k - 2) + [")"] if k >= 3 and kind < 0.7 else ["not"] + expression(rng, k - 1)


def boolean_expressions(rng, n):
    """An expression of n tokens (BBH: 8), reduced one operation at a time."""
    if n < 3:
        raise ValueError("boolean_expressions: no expression of 2 tokens has an and or an or")
    tokens = expression(rng, n)
    while "and" not in tokens and "or" not in tokens:  # a bare chain of not is no BBH question
        tokens = expression(rng, n)
    steps = []
    if len({"not", "and", "or"} & set(tokens)) > 1:
        steps.append((RECALL, say(rng, "[brackets come first, then not, and, or|not comes before and, and comes before or]")))
    value = tokens[0]
    for signal, part, value, rest in reduction(tuple(tokens)):
        steps.append((signal, say(rng, "{part} [is|gives|makes] {value}[, leaving|, which leaves|, so we have] {rest}", part=part, value=value, rest=rest)))
    steps.append((CONCLUDE, say(rng, "the [whole expression|whole|expression] is {value}", value=value)))
    return " ".join(tokens) + " is", value, steps


@functools.cache  # most expressions come up many times before enough new ones are found
def reduction(tokens):
    """[(signal, the part that is done, its value, what is then left), ...] down to one value."""
    steps, last = [], None
    while len(tokens) > 1:
        i, j, op = next_operation(tokens)
        value = "True" if boolean_value(tokens[i:j]) else "False"
        part, tokens = tokens[i:j], (*tokens[:i], value, *tokens[j:])
        steps.append((CONTRAST if op == "not" else ADD if op == last else REASON, " ".join(part), value, " ".join(tokens)))
        last = op
    return steps


def next_operation(tokens):
    """Span and name of the operation to do next: the first innermost bracket, and in it not, and, or."""
    close = tokens.index(")") if ")" in tokens else len(tokens)
    open_ = max([k for k in range(close) if tokens[k] == "("], default=-1)
    if close - open_ == 2:
        return open_, close + 1, "("
    inner = range(open_ + 1, close)
    for k in reversed(inner):  # the last not of a chain stands before a value
        if tokens[k] == "not":
            return k, k + 2, "not"
    op = "and" if any(tokens[k] == "and" for k in inner) else "or"
    k = next(k for k in inner if tokens[k] == op)
    return k - 1, k + 2, op


def boolean_value(part):
    if part[0] == "(":
        return part[1] == "True"
    if part[0] == "not":
        return part[1] == "False"
    return (all if part[1] == "and" else any)(t == "True" for t in part[::2])


BRACKETS = {"(": ")", "[": "]", "{": "}", "<": ">"}
CHUNK = 4  # symbols read in one step: a fixed stride keeps the place in a long input


def dyck_languages(rng, n):
    """About n symbols; one to three brackets stay open (as in BBH)."""
    symbols, stack, target = [], [], rng.randint(1, 3)
    while len(symbols) < n or len(stack) != target:
        deeper = 0.66 if symbols and symbols[-1] in BRACKETS else 0.42  # BBH nests deep and closes in runs
        grow = len(symbols) < n and len(stack) < 14 and (rng.random() < deeper or not stack)
        if grow or len(stack) < target:
            stack.append(rng.choice(list(BRACKETS)))
            symbols.append(stack[-1])
        else:
            symbols.append(BRACKETS[stack.pop()])
    steps, open_ = [(RECALL, say(rng, "the [last|newest] bracket opened [closes first|must close first]"))], []
    for i in range(0, len(symbols), CHUNK):
        chunk, before = symbols[i : i + CHUNK], list(open_)
        lowest = len(open_)
        for s in chunk:
            open_ = open_ + [s] if s in BRACKETS else open_[:-1]
            lowest = min(lowest, len(open_))
        signal = CONTRAST if lowest < len(before) else REASON if open_ == before else ADD if i else REASON
        steps.append((signal, say(rng, "{chunk} [leaves|makes it|gives] {stack}", chunk=" ".join(chunk), stack=" ".join(open_) or "nothing")))
    answer = " ".join(BRACKETS[s] for s in reversed(stack))
    steps.append((CONCLUDE, say(rng, "{stack} [stays|is still|remains] open, [which needs|to be closed by] {answer}", stack=" ".join(stack), answer=answer)))
    question = "Complete the rest of the sequence, making sure that the parentheses are closed properly. Input: "
    return question + " ".join(symbols), answer, steps


def object_counting(rng, n):
    """n kinds of item, of which up to three do not belong to the category asked for. What an item is and whether it counts are
    two steps: the turn then hangs on the words just written, and a signal is predicted in one look."""
    kind = rng.choice(list(ITEMS))
    strangers = 0 if kind == "objects" else rng.choice((0, 1, 1, 2, 3))
    strangers = min(strangers, (n - 1) // 2)
    others = [(item, k) for k in ITEMS if k != kind for item in ITEMS[k]]
    items = [(item, kind) for item in rng.sample(ITEMS[kind], n - strangers)] + rng.sample(others, strangers)
    rng.shuffle(items)
    told, total = [], 0
    steps = [(RECALL, say(rng, "[I have to|I need to|we have to] count the {kind}", kind=kind))]
    for (one, many), own in items:
        number = rng.choice((1, 1, 1, 2, 3)) if rng.random() < 0.8 else rng.randint(1, 5)
        told.append(f"{'an' if one[0] in 'aeiou' else 'a'} {one}" if number == 1 else f"{NUMBERS[number - 1]} {many}")
        noun = f"the {one}" if number == 1 else f"the {NUMBERS[number - 1]} {many}"
        total += number * (own == kind)
        be, of = ("is", f"{'an' if own[0] in 'aeiou' else 'a'} {own[:-1]}") if number == 1 else ("are", own)
        steps.append((ADD if len(steps) > 1 else EXAMPLE, f"{noun} {be} {of}"))
        steps.append((REASON, say(rng, "[that makes|we have|the count is] {a} + {n} = {b}", a=total - number, n=number, b=total)) if own == kind else
                     (CONTRAST, say(rng, "[that does not count|this is not asked for], so [it stays|the count is still|the total stays] {total}", total=total)))
    steps.append((CONCLUDE, say(rng, "[there are|I have|that makes] {total} {kind} [in all|altogether|in total]", total=total, kind=kind)))
    return f"I have {listing(told)}. How many {kind} do I have?", str(total), steps


SHUFFLES = [  # opening, holding verb, things, what happens, swap phrase, closing
    ("are dancers at a square dance. At the start of a song, they each have a partner", "is dancing with", PARTNERS,
     "Throughout the song, the dancers often trade partners.", "switch partners", "At the end of the dance, {} is dancing with"),
    ("are on the same team in a soccer match. At the start of the match, they are each assigned to a position", "is playing", POSITIONS,
     "As the game progresses, pairs of players occasionally swap positions.", "trade positions", "At the end of the match, {} is playing"),
    ("are playing a game. At the start of the game, they are each holding a ball", "has a", [c + " ball" for c in COLORS],
     "As the game progresses, pairs of players trade balls.", "swap balls", "At the end of the game, {} has the"),
    ("are holding a white elephant gift exchange. At the start of the event, they are each holding a present of a different color", "has a",
     [c + " present" for c in COLORS] + ["pink ball", "orange ball", "black ball"], "As the event progresses, pairs of people swap gifts.",
     "swap their gifts", "At the end of the event, {} has the"),
    ("are friends and avid readers who occasionally trade books. At the start of the semester, they each buy one new book", "gets", BOOKS,
     "As the semester proceeds, they start trading around the new books.", "swap books", "At the end of the semester, {} has"),
]


def tracking_shuffled_objects(rng, n):
    """n people (3, 5 or 7) and n swaps."""
    opening, holds, things, happens, swap, closing = rng.choice(SHUFFLES)
    people, things = SHUFFLERS[:n], rng.sample(things, n)
    has, previous, told, steps = dict(zip(people, things)), (), [], []
    steps.append((RECALL, listing([f"{p} has {t}" for p, t in has.items()])))
    for i in range(n):
        a, b = rng.sample(people, 2)
        told.append(f"{'First' if i == 0 else 'Finally' if i == n - 1 else 'Then'}, {a} and {b} {swap}.")
        has[a], has[b] = has[b], has[a]
        signal = CONTRAST if {a, b} == set(previous) else ADD if i and not {a, b} & set(previous) else REASON
        steps.append((signal, say(rng, "{a} and {b} [swap|trade|switch], so {a} [has|gets|now has] {x} and {b} [has|gets|now has] {y}", a=a, b=b, x=has[a], y=has[b])))
        previous = a, b
    asked = rng.choice(people)
    letter = f"({'ABCDEFG'[things.index(has[asked])]})"
    steps.append((CONCLUDE, say(rng, "{p} [ends up with|finally has|ends with] {x}, [which is|that is|option] {o}", p=asked, x=has[asked], o=letter)))
    held = listing([f"{p} {holds} {t}" for p, t in zip(people, things)])
    options = "\n".join(f"({'ABCDEFG'[i]}) {t}" for i, t in enumerate(things))
    return f"{listing(people)} {opening}: {held}.\n{happens} {' '.join(told)} {closing.format(asked)}\nOptions:\n{options}", letter, steps


KIN = {2: {(1, 0): "child", (0, 1): "parent"},  # (generations from A, from B, up to their meeting point): what A is to B
       5: {(2, 0): "grandchild", (0, 2): "grandparent", (1, 1): "sibling"},
       9: {(3, 0): "great grandchild", (0, 3): "great grandparent", (2, 1): "niece or nephew", (1, 2): "aunt or uncle"}}


def family_relations(rng, n):
    """n given facts (2, 5 or 9, as in farel-bench), a small tree, and two of its people."""
    while True:
        people = rng.sample(NAMES, n + 1)
        parent = {people[i]: people[rng.randrange(max(0, i - 3), i)] for i in range(1, n + 1)}  # the first one has none
        chain = lambda p: [p] + (chain(parent[p]) if p in parent else [])
        pairs = []
        for a, b in itertools.permutations(people, 2):
            meet = next(p for p in chain(a) if p in chain(b))
            if (chain(a).index(meet), chain(b).index(meet)) in KIN[n]:
                pairs.append((a, b, meet))
        if pairs:
            break
    up = {a + b: (chain(a).index(m), chain(b).index(m)) for a, b, m in pairs}
    kind = rng.choice(sorted({up[a + b] for a, b, _ in pairs}))  # every relation as often as the trees allow
    a, b, meet = rng.choice([p for p in pairs if up[p[0] + p[1]] == kind])
    relation = KIN[n][kind]
    options = rng.sample(sorted(KIN[n].values()), len(KIN[n]))
    s = lambda name: name + ("'" if name.endswith("s") else "'s")
    told = [f"* {parent[c]} is {s(c)} parent." for c in rng.sample(sorted(parent), n)]
    ending = rng.choice(("Enclose the selected answer number in the <ANSWER> tag, for example: <ANSWER>1</ANSWER>.", "Answer with selected option number."))
    question = "\n".join(["Given the family relationships:", *told, f"What is {s(a)} relationship to {b}?", "Select the correct answer:",
                          *[f"{i}. {a} is {s(b)} {o}." for i, o in enumerate(options, 1)], ending])
    climb = chain(a)[: chain(a).index(b) + 1] if b in chain(a) else chain(a)  # from A to B, else to the top, then from B
    steps = []
    for i, (child, above) in enumerate(zip(climb, climb[1:])):
        steps.append((ADD if i else RECALL, f"{above} is {s(child)} parent"))
    if b not in climb:
        steps.append((CONTRAST, say(rng, "[nobody is given as|no one is named as|nothing is said of] {top} parent, and {b} [was not met|is not among them]", top=s(climb[-1]), b=b)))
        climb = chain(b)[: chain(b).index(meet) + 1]
        for i, (child, above) in enumerate(zip(climb, climb[1:])):
            steps.append((ADD if i else REASON, say(rng, "{from_}{above} is {child} parent", from_="" if i else f"going up from {b}, ", above=above, child=s(child))))
    steps.append((CONCLUDE, say(rng, "{a} is {b} {relation}, [which is|that is|so] option {o}", a=a, b=s(b), relation=relation, o=options.index(relation) + 1)))
    return question, str(options.index(relation) + 1), steps


def reachability(rng, n):
    """n towns joined by one-way roads; depth-first search in the order given, turning back at dead ends."""
    towns = rng.sample(TOWNS, n)
    roads = {t: [] for t in towns}
    for t in towns[1:]:
        roads[rng.choice(towns[: towns.index(t)])].append(t)
    for _ in range(n // 3):
        x, y = rng.sample(towns, 2)
        if y not in roads[x]:
            roads[x].append(y)
    pairs = [(x, y) for x in towns for y in roads[x]]
    rng.shuffle(pairs)
    roads = {t: [y for x, y in pairs if x == t] for t in towns}
    start = rng.choice([t for t in towns if roads[t]])
    near = [start]
    for t in near:  # grows to all that can be reached
        near += [y for y in roads[t] if y not in near]
    far = [t for t in towns if t not in near]
    goal = rng.choice(near[1:] if not far or rng.random() < 0.4 else far)
    steps, seen, path = [(RECALL, say(rng, "I [start|begin] in {a} and [look for|want to reach|am looking for] {b}", a=start, b=goal))], [start], [start]
    while path and path[-1] != goal:
        here = path[-1]
        ways = [t for t in roads[here] if t not in seen]
        if ways:
            onward = steps[-1][0] in (REASON, ADD)
            signal = EXAMPLE if len(ways) > 1 else ADD if onward else REASON
            steps.append((signal, say(rng, "from {a} [the road leads|I can go|I go] to {b}", a=here, b=ways[0])))
            seen.append(ways[0])
            path.append(ways[0])
        else:
            path.pop()
            back = f"back to {path[-1]}" if path else "and there is nowhere to go back to"
            steps.append((CONTRAST, say(rng, "{a} [leads nowhere new|is a dead end|has no new road], {back}", a=here, back=back)))
    found = bool(path)
    steps.append((CONCLUDE, say(rng, "{b} [" + ("is reached|can be reached" if found else "is never reached|cannot be reached") + "] from {a}", a=start, b=goal)))
    told = " ".join(f"A road leads from {x} to {y}." for x, y in pairs)
    return f"All roads are one-way. {told} Can you get from {start} to {goal}?\nOptions:\n- Yes\n- No", "Yes" if found else "No", steps


# each family with its shortest and longest default length
TASKS = {f.__name__: (f, lengths) for f, lengths in (
    (web_of_lies, (3, 6)), (navigate, (2, 7)), (boolean_expressions, (5, 9)), (dyck_languages, (2, 70)), (object_counting, (2, 10)),
    (tracking_shuffled_objects, (3, 7)), (family_relations, (2, 9)), (reachability, (4, 8)))}
SHARE = {"web_of_lies": 0.75}  # of the training rows, against 1: the family that is learned first needs fewer
STEPPED = {"tracking_shuffled_objects": (3, 5, 7), "family_relations": (2, 5, 9)}  # only these lengths occur


# ---------------------------------------------------------------------------------------------- the rows
def split_of(question):
    """train (80%), val or test (10% each), by a hash of the question: the splits share none."""
    return ("val", "test", *["train"] * 8)[hashlib.blake2b(question.encode()).digest()[0] % 10]


def problem(rng, task, lengths=None):
    """(question, answer, [(signal, body), ...]) of one random problem."""
    family, (low, high) = TASKS[task]
    low, high = lengths or (low, high)
    if task in STEPPED:
        n = rng.choice([k for k in STEPPED[task] if low <= k <= high] or STEPPED[task][-1:])
    else:  # most dyck questions of BBH are short, a few very long
        n = round(low * (high / low) ** rng.random() ** 1.3) if task == "dyck_languages" else rng.randint(low, high)
    return family(rng, n)


def generate(task, split, n, seed=0, lengths=None):
    """Yield n rows (dict, gold signals) of one task; the first rows do not depend on n. Raises ValueError when it runs dry."""
    rng, seen, misses = random.Random(f"{seed}/{task}/{split}"), set(), 0
    while len(seen) < n:
        question, answer, steps = problem(rng, task, lengths)
        if question in seen or split_of(question) != split:
            misses += 1
            if misses > 200 * (n + 50):
                raise ValueError(f"{task}: only {len(seen)} different {split} questions of these lengths, {n} wanted: widen --lengths or ask for fewer")
            continue
        text = "\n\n".join([write(rng, s, body) for s, body in steps] + [write(rng, RESPOND, answer)])
        row = {"id": f"{split}-{task}-{len(seen)}", "task": task, "question": question, "trace": text, "answer": answer}
        seen.add(question)
        yield row, [s for s, _ in steps] + [RESPOND]


def rows(tasks, split, n, seed=0, lengths=None):
    """The first n (row, gold signals) over several tasks, taken in turn; in training by their SHARE."""
    count, order = dict.fromkeys(tasks, 0), []
    for _ in range(n):
        order.append(min(tasks, key=lambda t: (count[t] + 1) / (SHARE.get(t, 1) if split == "train" else 1)))
        count[order[-1]] += 1
    streams = {t: generate(t, split, count[t], seed, lengths) for t in tasks}
    return [next(streams[t]) for t in order]


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--tasks", default=DEFAULT_TASKS, help="families, comma-separated, of: " + ", ".join(TASKS))
    p.add_argument("--n_train", type=int, default=20000, help="training rows, over all families; 0: no such file")
    p.add_argument("--n_val", type=int, default=250, help="validation rows, over all families")
    p.add_argument("--n_test", type=int, default=500, help="test rows, over all families")
    p.add_argument("--lengths", default="", help="shortest-longest problem, as 7-10 (people, instructions, tokens, symbols, items, objects, facts, towns); empty: each family's own")
    p.add_argument("--seed", type=int, default=0, help="seed of the data")
    p.add_argument("--out_dir", default=str(Path(__file__).parent), help="where train.jsonl, val.jsonl, test.jsonl and their .gold.jsonl go")
    p.error = lambda message: p.exit(2, f"error: {''.join(c if c.isprintable() else '?' for c in message)}\n")  # one line, no usage
    args = p.parse_args(argv)
    tasks, lengths = args.tasks.split(","), None
    if unknown := set(tasks) - set(TASKS):
        p.error(f"unknown task {sorted(unknown)[0][:60]!r}: choose from {', '.join(TASKS)}")
    if args.lengths:
        if not (m := re.fullmatch(r"(\d{1,3})-(\d{1,3})", args.lengths)) or not 2 <= int(m[1]) <= int(m[2]):
            p.error(f"--lengths {args.lengths[:20]!r}: write two whole numbers from 2 to 999, as 7-10")
        lengths = int(m[1]), int(m[2])
    start, out, sizes = time.time(), Path(args.out_dir), {"train": args.n_train, "val": args.n_val, "test": args.n_test}
    if not all(0 <= n <= 10**7 for n in sizes.values()):
        p.error("--n_train, --n_val and --n_test are between 0 and 10000000")
    try:
        out.mkdir(parents=True, exist_ok=True)
        splits = {split: rows(tasks, split, n, args.seed, lengths) for split, n in sizes.items() if n}  # all of them before the first is written
        for split, pairs in splits.items():
            for name, lines in ((split, [r for r, _ in pairs]), (split + ".gold", [{"id": r["id"], "signals": g} for r, g in pairs])):
                (out / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8", newline="\n")
    except OSError as e:
        p.error(str(e))
    except ValueError as e:  # a family ran dry, or has no such long problem
        p.error(f"--lengths {args.lengths or 'of the families'}: {e}")
    print(", ".join(f"{n} {split}" for split, n in sizes.items() if n) + f" problems in {out} ({time.time() - start:.1f} s)")


if __name__ == "__main__":
    sys.exit(main())
