"""Step checkers: is each step of a *student's* free text true, and does it follow from the question and the steps before?

A family is one function, which reads a question (None: not of this family) and returns
    claims    a regex of everything that a step of this family can claim
    answers   a regex of what can be handed over as the answer
    judge     takes the claims of one step, moves the state of the reasoning on and yields what is wrong ("" or False: nothing)
    conclude  the true answer, and what the steps so far still leave out for it
Between the claims only NEUTRAL words may stand, and no negation is one: what cannot be parsed counts as wrong. After a wrong step
the state is the true one again, as far as can be told, for the later verdicts. Nothing is shared with the generator, prepare.py.
"""
import re

NEUTRAL = set("""i we me us my our you one's it its it's i'm this that that's these those there here the a an so then thus hence therefore
but and yet however although though now next also too again finally lastly eventually wait hmm hm oh ah well ok okay alright fine good great
sure indeed obviously clearly naturally see let let's lets check look looking at consider think know believe recall remember note notice
told given is are was be being been am have has had go goes going on continue continuing proceed move moving try take takes taking get gets
moves say suppose assume imagine work out begin begins beginning start starts starting started first for example instance from to in into of with
by as since because when while after afterwards later once which what where who how make makes means mean gives give giving leads lead leading
leaves leave leaving puts put putting brings bring bringing lands land raises raise need needs want do can will sense step steps point time
case moreover furthermore addition additionally besides similarly likewise meanwhile summary sum overall conclusion conclude short result end
all altogether both together total count counting number order same way just simply still already further more consequently accordingly
current currently position final expression remaining rest far . , : ; ! - " '""".split())
FILLERS = re.compile(r"(?i)^\W*(?:all )?right(?=[,.:!])|\bon the other hand\b|\bone (?:step|thing) at a time\b|\btake this one\b")
LONGEST = 50_000  # characters of a step: a longer one is no reasoning, and some patterns would take seconds
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
DIGITS = r"\d{1,9}"
COUNT = rf"(?:{DIGITS}|{'|'.join(NUMBERS)})\b"


def tidy(text):
    """On one line, with plain quotes and dashes; an answer in tags becomes "answer X"."""
    text = text.translate(str.maketrans("’‘“”−–—", "''\"\"---"))
    return " ".join(re.sub("(?i)<(/?)answer>", lambda m: "" if m[1] else " answer ", text).split())


def any_of(words, cased="-i"):
    """Regex of one of the words. Names keep their case: "Will" is no "will"."""
    return rf"(?{cased}:\b(?:{'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})\b)"


def number(word):
    return int(word) if word.isdecimal() else 1 if word.lower() in ("a", "an") else NUMBERS.index(word.lower())


def advance(todo, done, item):
    """Take `item` for the next of todo: (how many are done then, what is wrong with it or "")."""
    if item in todo[done:]:
        return todo.index(item, done) + 1, "" if todo[done] == item else "leaves out what comes before it in the question"
    again = done and item == todo[done - 1]
    return (done if again else min(done + 1, len(todo))), "has been done" if again else "is not what comes next in the question"


def web_of_lies(question):
    """A status is known when given, or when the words are quoted and the status of the one they are about is known."""
    m = re.fullmatch(r"(?:Question: )?((?:[\w-]+ (?:says [\w-]+ )?(?:lies|tells the truth)\. )+)Does ([\w-]+) tell the truth\?", tidy(question))
    honest, said, shown, quoted = {"": True}, {}, set(), set()
    for who, whom, verb in re.findall(r"([\w-]+) (?:says ([\w-]+) )?(lies|tells)", m[1]) if m else []:
        said[who] = whom, verb == "tells"
        honest[who] = (verb == "tells") == honest.get(whom)
    if not m or m[2] not in said or not all(whom in honest for whom, _ in said.values()):
        return None
    name, asked, be = any_of(said), m[2], r"(?:\b(?:is|was|must be)|'s)(?: not|n't)?"
    status = (rf"(?:lies|lied|(?:tells|told|speaks) the truth|(?:does|did)(?: not|n't) (?:lie|(?:tell|speak) the truth)|{be} "
              r"(?:lying|a liar|dishonest|untruthful|truthful|honest|a truth[- ]teller|telling (?:the truth|a lie)))\b")
    claims = (rf"(?P<by>{name}) (?:says|said|claims|claimed|states)(?: that)? (?P<about>{name}) (?P<quote>{status})|(?:(?P<who>{name})|\b(?:he|she))"
              rf" (?P<status>{status})|(?P<verdict>{be} (?:true|right|correct|false|wrong|incorrect|untrue|a lie)\b)")
    truth = lambda text: bool(re.search(r"n't|\bnot\b", text)) == bool(re.search("(?i)lie|lia|lying|dishonest|untru|false|wrong|incorrect", text))
    def judge(cs):
        by, new, fresh = None, False, False
        for c in cs:
            if c["quote"]:
                by, fresh = c["by"], fresh or c["by"] not in quoted
                quoted.add(by)
                yield said[by] != (c["about"], truth(c["quote"])) and f"the question does not say '{c[0]}'"
            elif not (who := c["who"] or by):
                yield f"'{c[0]}': whose words?"
            else:
                whom = said[who][0]
                yield truth(c["status"] or c["verdict"]) != honest[who] and f"says '{c[0]}', but {who} {'tells the truth' if honest[who] else 'lies'}"
                yield whom and (who not in quoted and f"leaves out what {who} says" or said[whom][0] and whom not in shown and f"does not know yet whether {whom} lies")
                new |= bool(c["status"]) and who not in shown
                shown.update({who} if c["status"] else ())
        stated, sums_up = any(c["status"] for c in cs), len(cs) == 1 and cs[0]["who"] == asked
        yield cs and not (new if stated else fresh) and not sums_up and "gets no further"
    return claims, "yes|no", judge, lambda: ("yes" if honest[asked] else "no", "" if asked in shown else f"whether {asked} lies")


def navigate(question):
    """Every move or turn is the next one told, and says where it leads; right is +x, forward +y."""
    m = re.fullmatch(r"If you follow these instructions, do you return to the starting point\? (?:Always face forward\. )?((?:(?:Turn (?:left|right|around)|"
                     rf"Take {DIGITS} steps?(?: (?:forward|right|backward|left))?)\. ?)+)(?:Options: - Yes - No)?", tidy(question))
    turns, todo, places, done = {"right": 1, "around": 2, "back": 2, "left": 3}, [], [(0, 0, 0)], 0
    side = lambda word: ["forward", "right", "backward", "left", "ahead", "", "back"].index(word.lower()) % 4
    for turn, k, d in re.findall(r"Turn (\w+)|Take (\d+) steps?(?: (\w+))?", m[1]) if m else []:
        x, y, facing = places[-1]
        k, d = int(k or 0), side(d) if d else facing
        todo.append(turns[turn] if turn else (k, d))
        places.append((x + (0, k, 0, -k)[d], y + (k, 0, -k, 0)[d], (facing + turns.get(turn, 0)) % 4))
    sides = "(?:forward|ahead|right|backward|back|left)"
    claims = (rf"\b(?P<k>{COUNT})(?: more)? steps?\b(?: (?:to the |straight )?(?P<dir>{sides})s?\b)?|\bturn(?:ing|s|ed)?(?: to the)? (?P<turn>left|right|around|back)\b|"
              rf"\b(?:fac(?:e|es|ing)|heading)(?: to| the| towards?)* (?P<heading>{sides})s?\b|\b(?P<axis>[xy]) to (?P<a>-?{DIGITS}) (?P<op>[+-]) (?P<n>{DIGITS}) = (?P<b>-?{DIGITS})\b|\(\s?(?P<x>-?{DIGITS})\s?,\s?(?P<y>-?{DIGITS})\s?\)|(?P<end>\b(?:end|finish|stop)(?:s|ed)?\b)|"
              r"(?P<home>(?P<not>(?:\b(?:do|did|am|is) ?)?(?:\bnot|n't) (?:(?:back|return) )?(?:(?:at|to|reach) )?|\b(?:away|far) from )?"
              r"(?:\b(?:back (?:at|to)|at|is|returns? to|reach) |(?<=not )|(?<=at )|(?<=to )|(?<=from ))the (?:start(?:ing point| point)?|origin)\b)")
    def judge(cs):
        nonlocal done
        due, moved = None, False
        for c in cs:
            if c["k"] or c["turn"]:
                d = side(c["dir"]) if c["dir"] else places[done][2]
                done, reason = advance(todo, done, turns[c["turn"].lower()] if c["turn"] else (number(c["k"]), d))
                yield due and "does not say where that leads" or reason and f"'{c[0]}' {reason}"
                due, moved = "heading" if c["turn"] else "x", True
            x, y, facing = places[done]
            if c["axis"]:  # the whole way of one coordinate in one move
                at, due = "xy".index(c["axis"].lower()), None if due == "x" else due
                a, n, b, was, now = int(c["a"]), int(c["op"] + c["n"]), int(c["b"]), places[done - moved][at], places[done][at]
                yield (not moved or was == now or (a, a + n, b) != (was, now, now)) and f"says '{c[0]}', but it is from {was} to {now}"
            yield c["x"] and (int(c["x"]), int(c["y"])) != (x, y) and f"says {c[0]}, but it is ({x}, {y})"
            yield (c["heading"] and side(c["heading"]) != facing or c["home"] and bool(c["not"]) == (x == y == 0)) and f"says '{c[0]}' wrongly"
            yield c["end"] and done < len(todo) and "stops before the last instruction"
            due = None if due and c[due] else due
        yield due and "does not say where that leads" or cs and not moved and 0 < done < len(todo) and "follows no instruction"
    home = "yes" if places[-1][:2] == (0, 0) else "no"
    return m and (claims, "yes|no", judge, lambda: (home, "the rest of the way" if done < len(todo) else ""))


def worked_out(tokens):
    """What the tokens come to: "true", "false", or a longer text when they are no expression."""
    text, before = " ".join(tokens), None
    while text != before:
        before, text = text, re.sub(r"\( (true|false) \)", r"\1", text.replace("not not ", ""))
        text = re.sub(r"\bnot (true|false)", lambda m: "false" if m[1] == "true" else "true", text)
        if text == before:  # by the alphabet, min is and, max is or
            text = re.sub(r"\b(true|false) and (true|false)\b", lambda m: min(m.groups()), text)
            text = re.sub(r"(?<!and )\b(true|false) or (true|false)\b(?! and)", lambda m: max(m.groups()), text)
    return text


def reduced(tokens, part):
    """All that `tokens` can become when an occurrence of `part` as an operand of its own gives way to its value."""
    depths = [part[:i].count("(") - part[:i].count(")") for i in range(len(part))]
    loose = {t for t, depth in zip(part, depths) if depth == 0}
    before = {"and", "not"} if "or" in loose else {"not"} if "and" in loose else set()  # these would tear it apart
    spots = [i for i in range(len(tokens)) if tokens[i : i + len(part)] == part and not before & set(tokens[i - 1 : i] if i else ())]
    rests = [(tokens[:i], tokens[i + len(part) :]) for i in spots if len(part) > 1]
    return [head + [worked_out(part)] + tail for head, tail in rests if "or" not in loose or tail[:1] != ["and"]]


def boolean_expressions(question):
    """Every step works out a genuine part of the expression and says what is left."""
    split, tokens = lambda text: re.findall(r"[a-z]+|[()]", text.lower()), question.split()
    now = split(" ".join(tokens[:-1]))
    if set(tokens) - {"True", "False", "not", "and", "or", "(", ")"} != {"is"} or tokens[-1] != "is" or worked_out(now) not in ("true", "false"):
        return None
    truth, rank = worked_out(now), {"brackets": 0, "parentheses": 0, "not": 1, "and": 2, "or": 3}
    tightest, op, is_ = "(" not in now, any_of(rank, "i"), r"(?:is|gives?|makes?|equals?|becomes|evaluates to|simplifies to|comes to|=)"
    run = r"(?<!\()(?<!\( )(?<!\bnot )(?:(?:\bnot\b|\() ?)*\b(?:true|false)\b(?: ?\)| ?\b(?:and|or)\b ?(?:(?:\bnot\b|\() ?)*\b(?:true|false)\b)*"
    claims = (rf"\b(?:whole|entire|expression|result|value)(?: expression| thing)? {is_} (?P<whole>true|false)\b(?! (?:and|or)\b)|(?P<part>{run}) ?{is_} (?P<value>true|false)\b"
              rf"(?! (?:and|or) (?:true|false|not|\())|(?P<rest>{run})|(?P<first>{op}) (?:come|go|are|is)(?:e?s)? first(?P<then>(?:,? ?(?:\band |\bthen )*{op})*)|"
              rf"(?P<x>{op}) (?:comes?|goes|go|is|are|binds?)(?: done| evaluated)? (?P<rel>before|after|tighter than) (?P<y>{op})")
    def judge(cs):
        nonlocal now
        left = []
        for c in cs + [None]:
            if c and c["rest"]:
                rest, fits = split(c["rest"]), left or [now]
                yield rest not in fits and f"'{c['rest']}' is not what is left"
                now = rest if rest in fits or len(rest) < len(now) and worked_out(rest) == truth else fits[0]
                left = []
            elif left and (not c or c["part"] or c["whole"]):  # not saying what is left will do when there is no choice
                yield any(e != left[0] for e in left) and "does not say what is left"
                now, left = left[0], []
            if c and c["part"]:
                left = reduced(now, split(c["part"]))
                yield not left and f"'{c['part']}' is no part to be worked out here" or worked_out(split(c["part"])) != c["value"].lower() and f"'{c['part']}' is not {c['value']}"
            elif c and c["whole"]:
                yield now != [c["whole"].lower()] and f"says '{c[0]}' of '{' '.join(now)}'"
            elif c and (c["first"] or c["x"]):
                ranks = [rank[t] for t in split(f"{c['first']} {c['then']}" if c["first"] else f"{c['x']} {c['y']}") if t in rank]
                right = sorted(ranks, reverse=c["rel"] == "after")
                yield (ranks != right or bool(c["first"]) and ranks[0] > tightest) and "not the order of precedence"
    return claims, "true|false", judge, lambda: (truth, "the rest of the expression" if len(now) > 1 else "")


def dyck_languages(question):
    """Symbols are read on from where the last step stopped; after them stands what is open."""
    m = re.fullmatch(r"Complete the rest of the sequence, making sure that the parentheses are closed properly\. Input: ([()\[\]{}<> ]+)", tidy(question))
    symbols, stacks, pairs, read = m[1].replace(" ", "") if m else "", [""], {"(": ")", "[": "]", "{": "}", "<": ">"}, 0
    for s in symbols:
        stacks.append(stacks[-1] + s if s in pairs else stacks[-1][:-1])
    if not symbols or any(pairs.get(stack[-1:]) != s for s, stack in zip(symbols, stacks) if s not in pairs):
        return None
    closers, run = "".join(pairs[s] for s in reversed(stacks[-1])), r"(?<![()\[\]{}<>] )(?<![()\[\]{}<>])[()\[\]{}<>](?: ?[()\[\]{}<>])*"
    claims = (rf"(?P<open>{run}) (?:(?:stays?|remains?|is|are|still|left) )+open\b|\b(?:needs?|requires?|closed (?:by|with)|closes with) (?P<close>{run})|(?P<chunk>{run})(?:[,:= ]|"
              rf"\b(?:leaves?|leaving|makes?|making|gives?|giving|it|the|stack|open|becomes?|is|now|which|so|us|with)\b)+(?P<stack>{run}|nothing\b|none\b|empty\b)|\b(?P<which>last|newest|"
              r"latest|most recent|first|oldest)\b(?: \w+){0,3}? (?:closes|(?:must|has to|should|to) (?:be )?closed?|is closed) (?P<when>first|last)\b")
    def judge(cs):
        nonlocal read
        for c in cs:
            opened, closing, chunk, stack = (re.sub(r"[\s\w]", "", c[k] or "") for k in ("open", "close", "chunk", "stack"))
            if chunk:
                spots = [i + len(chunk) for i in range(read, len(symbols)) if symbols.startswith(chunk, i)]
                due, near = symbols.startswith(chunk, read), read if symbols[:read].endswith(chunk) else min(read + len(chunk), len(symbols))
                read = spots[0] if due else next((i for i in spots if stacks[i] == stack), near)
                yield not due and f"'{c['chunk']}' is not what comes next" or stacks[read] != stack and f"says '{c['stack']}', but {stacks[read] or 'nothing'} is open"
            elif c["which"]:
                yield (c["which"].lower() in ("first", "oldest")) == (c["when"].lower() == "first") and "the last bracket opened closes first"
            else:
                yield read < len(symbols) and "sums up before all is read" or (opened or stacks[-1], closing or closers) != (stacks[-1], closers) and f"says '{c[0]}' of {stacks[-1]}"
    return claims, run, judge, lambda: (closers, "the rest of the symbols" if read < len(symbols) else "")


KINDS = {kind: {w.replace("_", " ") for w in words.split()} for kind, words in {
    "fruit": """apple apricot banana blackberry blueberry cherry coconut cranberry date fig grape grapefruit guava kiwi lemon lime mango melon nectarine
        orange papaya peach pear pineapple plum pomegranate raspberry strawberry tangerine watermelon""",
    "vegetable": """artichoke asparagus beet beetroot bell_pepper broccoli cabbage carrot cauliflower celery cucumber eggplant garlic head_of_broccoli kale
        leek lettuce lettuce_head onion parsnip pea potato pumpkin radish shallot spinach squash stalk_of_celery sweet_potato turnip yam zucchini""",
    "animal": """bear bee bird camel cat chicken cow crow deer dog donkey duck elephant fish fox frog geese goat goose hamster hen horse lion lizard llama mice
        monkey mouse owl pig pony rabbit rat sheep snail snake spider squirrel tiger toad turkey turtle whale wolf zebra""",
    "musical instrument": """accordion bagpipe banjo bassoon cello clarinet cymbal drum fiddle flute guitar harmonica harp lute mandolin oboe organ piano
        piccolo recorder saxophone sitar tambourine trombone trumpet tuba ukulele viola violin xylophone""",
    "object": """bed bench bookcase book car chair clock couch cup desk door dresser fridge kettle lamp microwave mirror oven pen phone pillow radio rug shelf sofa
        stool stove table telephone television toaster vase wardrobe window""",
}.items()}


def kind_of(noun):
    """The kind that a noun in the singular or the plural belongs to, or None."""
    forms = [noun, noun.replace("s of ", " of ")] + ([noun[:-1], noun[:-2], noun[:-3] + "y"] if noun.endswith("s") else [])
    return next((kind for form in forms for kind, words in KINDS.items() if form in words), None)


def object_counting(question):
    """Item by item as in the question: what it is, in the same step or the next the count after it."""
    m = re.fullmatch(r"I have ([\w ,'-]+)\. How many (fruit|vegetable|animal|musical instrument|object)s do I have\?", tidy(question))
    items = [re.fullmatch(rf"(an?|{COUNT}) ([\w' -]+)", part) for part in re.split(r",? and |, ", m[1])] if m else []
    if not items or not all(items) or m[2] != "object" and None in [kind_of(i[2]) for i in items]:
        return None
    items, done, pending, kind = [(number(i[1]), i[2]) for i in items], 0, False, r"\b(?:(?:musical )?instrument|fruit|vegetable|animal|object)s?\b"
    counts = [False] + [m[2] in ("object", kind_of(thing)) for _, thing in items]  # whether the item before this place counts
    totals, noun = [sum(n * c for (n, _), c in zip(items[:i], counts[1:])) for i in range(len(items) + 1)], any_of({thing for _, thing in items}, "i")
    claims = (rf"(?:\b(?P<n>an?|{COUNT}) )?(?P<noun>{noun})|\b(?:is|are)(?P<no> not|n't)?(?: an?)? (?P<member>{kind})|(?P<out>\b(?:do|does|is|are) not (?:count|asked for)\b)|\b(?P<sum>{COUNT}) (?P<sumkind>{kind})|(?P<goal>{kind})|"
              rf"(?:\b(?P<a>{COUNT}) ?\+ ?(?P<b>{COUNT}) ?= ?|\b(?:(?P<stay>stays?|remains?|still)(?: at)?|to|is|are|makes?|making|gives?|becomes?|have|of|reach(?:es)?) )(?P<total>{COUNT})(?! ?\+| (?:{noun}|{kind}))")
    def judge(cs):
        nonlocal done, pending
        excluded = moved = False
        for c in cs:
            said = c["sumkind"] or c["goal"]
            yield said and not m[2].endswith(said.lower().rstrip("s")) and f"the question asks for {m[2]}s, not '{said}'"
            if c["noun"]:
                done, reason = advance(items, done, (number(c["n"] or "a"), c["noun"].lower()))
                yield pending and "leaves the count open" or reason and f"'{c[0]}' {reason}"
                pending, excluded, moved = True, False, True
            elif c["out"]:
                excluded = True
                yield (not pending or counts[done]) and f"says '{c[0]}' wrongly"
            elif c["member"]:
                said, asked = c["member"].lower().rstrip("s"), m[2].endswith(c["member"].lower().rstrip("s"))
                excluded = bool(c["no"]) if asked else not c["no"]
                yield (not moved or bool(c["no"]) == (counts[done] if asked else (kind_of(items[done - 1][1]) or "").endswith(said))) and f"says '{c[0]}' wrongly"
            elif said := c["total"] or c["sum"]:
                yield c["a"] and (not pending or (number(c["a"]), number(c["b"])) != (totals[done - 1], items[done - 1][0])) and f"adds up wrongly: '{c[0]}'"
                yield number(said) != totals[done] and f"says {said}, but it is {totals[done]}"
                yield (c["sum"] and (pending or done < len(items)) or not pending and 0 < done < len(items)) and "stops before the last item"
                yield (counts[done] or not pending if c["stay"] else pending and not counts[done] and not excluded) and "counts what does not, or does not count what does"
                pending = False
        yield moved and pending and not any(c["member"] for c in cs) and "says nothing of it"
    return claims, COUNT, judge, lambda: (str(totals[-1]), "the rest of the items" if pending or done < len(items) else "")


def tracking_shuffled_objects(question):
    """Swap by swap as in the question, each with what the two have after it."""
    m = re.fullmatch(r"[^:]+: ([^\n]+)\.\n([^\n]+) At the end of the [\w ]+, (\w+) (?:is dancing with|is playing|has the|has)\s+Options:\n((?:\([A-Z]\) [^\n]+(?:\n|$))+)", question)
    has = dict(re.findall(r"(?:^|, |and )(\w+) (?:is dancing with|is playing|has an?|gets) (.+?)(?=, |$)", m[1])) if m else {}
    pairs = re.findall(r"\b(\w+) and (\w+) (?:swap|switch|trade)\b", m[2]) if m else []
    letters, states, done, concluded = {what.strip(): k for k, what in re.findall(r"\((\w)\) (.+)", m[4])} if m else {}, [has], 0, False
    if not pairs or not {m[3], *sum(pairs, ())} <= set(has) or not set(has.values()) <= set(letters):
        return None
    for a, b in pairs:
        states.append({**states[-1], a: states[-1][b], b: states[-1][a]})
    todo, asked, letter, name = [set(pair) for pair in pairs], m[3], letters[states[-1][m[3]]], any_of(has)
    swap = r"(?:swap|switch|trade|exchange)(?:e?s|d|ed|ped)?\b"
    claims = (rf"(?P<a>{name}) (?:and (?P<b>{name}) {swap}|{swap}(?: \w+)? with (?P<b2>{name}))(?: their)?(?: (?:balls|gifts|presents|books|partners|positions))?|(?P<who>{name}) "
              rf"(?P<last>finally |ends? (?:up )?)?(?:(?:now |then )?(?:has|holds|gets|got|plays|is (?:now )?(?:playing|dancing with|holding))|with)(?: now)?(?: the| an?)? "
              rf"(?P<what>{any_of(letters, 'i')})|(?:\boption )?\((?P<letter>[A-Z])\)|\boption (?P<letter2>[A-Z])\b")
    def judge(cs):
        nonlocal done, concluded
        due, swapped = set(), False
        for c in cs:
            if c["a"]:
                (done, reason), was_due, due, swapped = advance(todo, done, {c["a"], c["b"] or c["b2"]}), due, {c["a"], c["b"] or c["b2"]}, True
                yield was_due and "does not say who has what then" or reason and f"'{c[0]}' {reason}"
            elif who := c["who"]:
                due = due - {who}
                yield c["what"].lower() != states[done][who].lower() and f"says '{c[0]}', but {who} has {states[done][who]}"
                yield c["last"] and done < len(todo) and "stops before the last swap"
                concluded |= who == asked and done == len(todo) and not swapped
            else:
                yield done < len(todo) and "stops before the last swap" or (c["letter"] or c["letter2"]).upper() != letter and f"says {c[0]}, but {states[-1][asked]} is ({letter})"
        yield due and "does not say who has what then"
    return claims, r"\(?[A-Z]\b\)?", judge, lambda: (letter, "" if concluded else f"what {asked} has in the end")


KIN = {(1, 0): "child", (0, 1): "parent", (2, 0): "grandchild", (0, 2): "grandparent", (1, 1): "sibling", (3, 0): "great grandchild",
       (0, 3): "great grandparent", (2, 1): "niece or nephew", (1, 2): "aunt or uncle"}  # by the steps up from A and from B to where they meet


def family_relations(question):
    """Given facts, climbed from one of the two people or from whom they led to, until they prove the relation."""
    facts = re.findall(r"(?m)^\* ([\w-]+) is ([\w-]+)'s? parent\.", question)
    m = re.match(r"Given the family relationships:[^?]+\nWhat is ([\w-]+)'s? relationship to ([\w-]+)\?", question)
    parent, options = {y: x for x, y in facts}, {r: n for n, r in re.findall(rf"(?m)^({DIGITS})\. [\w-]+ is [\w-]+'s? ([a-z ]+)\.", question)}
    (a, b), up, down = (m.groups(), [m[1]], [m[2]]) if m else ("  ", [], [])
    for line, p in ((line, p) for line in (up, down) for p in line):  # each grows up to the top
        line += {parent.get(p, p)} - set(line)
    meet = next((p for p in up if p in down), None)
    kin = meet and KIN.get((up.index(meet), down.index(meet)))
    if kin not in options or len(parent) < len(facts):
        return None
    proof = {(parent[p], p) for line in (up, down) for p in line[: line.index(meet)]}
    stated, closed, concluded, name, kins = set(), set(), False, any_of({p for fact in facts for p in fact} | {a, b}), any_of(KIN.values(), "i")
    claims = (rf"(?P<x>{name}) is (?:(?:the )?(?P<y>{name})'s? (?P<kin>{kins})|(?:the|an?) (?P<kin2>{kins}) of (?P<y2>{name}))|(?P<y3>{name})'s? parent is (?P<x3>{name})|\b(?:nobody|no one|nothing)"
              rf"(?: (?:is|was|given|named|listed|said|known|told|as|of|about|to|be))* (?P<top>{name})'s? parent\b|(?P<top2>{name}) has no (?:given |known |listed )?parent\b|"
              rf"(?P<unmet>{name}) (?:was|is|has)(?: not|n't)(?: been)? (?:met|among (?:them|these)|seen|reached)\b|\b(?:up )?from (?P<base>{name})|\boption (?P<option>{DIGITS})\b")
    def judge(cs):
        nonlocal concluded
        base, before = None, set(stated)
        for c in cs:
            x, y, k, top = c["x"] or c["x3"], c["y"] or c["y2"] or c["y3"], (c["kin"] or c["kin2"] or "parent").lower(), c["top"] or c["top2"]
            met = {a} | {p for p, _ in stated}
            if x and k == "parent" and not ((x, y) == (a, b) and (x, y) in before):
                yield (x, y) not in facts and f"the question does not say '{c[0]}'" or (x, y) in stated and f"'{c[0]}' has been said"
                yield (y not in met | {b} or base not in (None, y)) and f"nothing so far leads to {y}"
                stated.update({(x, y)} & set(facts))
                base = None
            elif x:
                concluded |= (x, y, k) == (a, b, kin)
                yield (x, y, k) != (a, b, kin) and f"says '{c[0]}', but {a} is the {kin} of {b}" or not proof <= stated and f"'{c[0]}' needs more facts"
            elif top:
                yield top in parent and f"{top} has a parent" or top in closed and f"'{c[0]}' has been said" or top not in met | {b} and f"nothing so far leads to {top}"
                closed.add(top)
            elif c["option"]:
                yield not concluded and f"no relation leads to {c[0]}" or c["option"] != options[kin] and f"says {c[0]}, but {kin} is {options[kin]}"
            base = c["base"] or base
            yield c["unmet"] and (c["unmet"] != b or b in met) and f"'{c[0]}' does not matter or is false"
        yield base and f"says nothing of {base}"
    return claims, DIGITS, judge, lambda: (options[kin], "" if concluded and proof <= stated else f"what {a} is to {b}")


def reachability(question):
    """A search: on along a given road to a new town, or back from a town that has no such road."""
    m = re.fullmatch(r"All roads are one-way\. ((?:A road leads from [\w-]+ to [\w-]+\. )+)Can you get from ([\w-]+) to ([\w-]+)\?(?: Options: - Yes - No)?", tidy(question))
    if not m or m[2] == m[3]:
        return None
    roads, start, goal, path, seen = set(re.findall(r"from ([\w-]+) to ([\w-]+)", m[1])), m[2], m[3], [m[2]], {m[2]}
    near, town = [start], any_of({t for road in roads for t in road} | {start, goal})
    for t in near:  # grows to all that can be reached
        near += sorted({y for x, y in roads if x == t} - set(near))
    claims = (rf"\b(?:start|begin|am)(?:s|ing|ning)? (?:in|at|from) (?P<start>{town})|\b(?:look(?:ing)? for|want to (?:reach|get to)|try(?:ing)? to reach|goal is) (?P<goal>{town})|\b(?:i|we) (?P<can>can"
              rf"|can not|cannot|can't|can never) get from (?P<from>{town}) to (?P<to>{town})|\bfrom (?P<x>{town}),? (?:(?:the|a|one) road (?:leads|goes)|(?:i|we)(?: can)? (?:go|move|travel|drive|get))"
              rf"(?: on)? to (?P<y>{town})|(?P<dead>{town}) (?:leads nowhere(?: new)?|is a dead end|has no (?:(?:new|other|more|unseen|unvisited) )?(?:roads?|ways?)(?: left| out)?)\b|"
              rf"\bback(?:track)?(?:ing)? to (?P<back>{town})|(?P<none>\b(?:nowhere|nothing)(?: left)? to (?:go|turn) back to\b)|"
              rf"(?P<end>{town}) (?:is|was|can|has)(?P<no>n't|not| not|'t| never)?(?: be| been)? (?:reached|(?P<un>un)?reachable)(?: from (?P<end_from>{town}))?")
    def judge(cs):
        due = None
        for c in cs:
            x, y, here, back = c["x"], c["y"], path[-1] if path else "its end", c["dead"] or c["back"] or c["none"]
            ways = {t for s, t in roads if s == here} - seen
            asks = (c["start"] or c["from"] or c["end_from"] or start, c["goal"] or c["to"] or c["end"] or goal) == (start, goal)
            yield not asks and f"'{c[0]}': the question asks for {start} to {goal}"
            if x:
                yield (x, y) not in roads and f"no road leads from {x} to {y}" or y in seen and f"{y} has been seen" or (x != here or due) and f"the search is at {here}, not {x}"
                path[:] = path[: path.index(x) + 1 if x in path else len(path)] + [y] * ((x, y) in roads)
                seen.update(path)
            elif back:
                yield (ways or here == goal) and f"says '{c[0]}', but the way is not over" or c["dead"] and c["dead"] != here and f"the search is at {here}, not {c['dead']}"
                yield not c["dead"] and path[-2:-1] != [c["back"]] * bool(c["back"]) and f"'{c[0]}': the search is not there"
                path[:] = path[: path.index(back) + 1] if back in path else path[:-1] if c["none"] else path
                due = c["dead"]
            elif c["end"] or c["from"]:
                yes = not (c["no"] or c["un"]) if c["end"] else c["can"].lower() == "can"
                yield yes != (goal in near) and f"says '{c[0]}' wrongly" or (goal not in seen if yes else path) and "the search has not shown that"
        yield due and "does not say where to go back to"
    return claims, "yes|no", judge, lambda: ("yes" if goal in near else "no", "" if (goal in seen if goal in near else not path) else "the rest of the search")


FAMILIES = web_of_lies, navigate, boolean_expressions, dyck_languages, object_counting, tracking_shuffled_objects, family_relations, reachability


def task_of(question):
    """The task (str) whose question format this is; None when it is no family's."""
    return next((family.__name__ for family in FAMILIES if family(question)), None)


def check(question, steps):
    """For each step (list of str) of an answer to the question (str): "" when it is right or neutral, else what is wrong.

    The last step has to hand over the answer that the steps establish. None when the question is no family's. Never raises."""
    parts = next(filter(None, (family(question) for family in FAMILIES)), None)
    if parts is None:
        return None
    claims, answers, judge, conclude = parts
    pattern = re.compile(rf"\banswer(?:[\s:=]|\b(?:is|must|be|to|the|question|answer|option|number)\b){{0,12}}(?P<answer>{answers})(?!\w)|{claims}", re.I)
    verdicts, answered = [], False
    for step in steps:
        text = tidy(FILLERS.sub(" ", step[:LONGEST]))
        found = list(pattern.finditer(text))
        unknown = [w for w in re.findall(r"[\w']*\w|\S", pattern.sub(" . ", text).lower()) if w not in NEUTRAL]
        made, given = [c for c in found if not c["answer"]], [c["answer"] for c in found if c["answer"]]
        wrong = [f"cannot parse '{unknown[0][:40]}'"] if unknown or len(step) > LONGEST else []
        wrong += [w for w in judge(made) if w] + ["goes on after the answer"] * bool(made and answered)
        right, missing = conclude()
        for text in given:
            plain = str(NUMBERS.index(text)) if text in NUMBERS else re.sub(r"\s", "", text).lower()
            plain = plain.strip("()") if right.isalpha() else plain
            wrong += [f"answers without {missing}" if missing else f"answers {text}, but it is {right}"] * bool(missing or plain != right.lower())
        answered |= bool(given)
        verdicts.append(wrong[0] if wrong else "")
    if steps and not answered:
        verdicts[-1] = verdicts[-1] or "hands over no answer"
    return verdicts
