"""Web of lies (BBH): the first person's status is given, each other speaks of the one before.

Hard: one slip turns over every verdict after it. With three people:

    Question: Lina lies. Mei says Lina lies. Elena says Mei lies. Does Elena tell the truth?
        RECALL      To begin, Lina is a liar.
        REASONING   So Mei says Lina lies, which is true, so Mei is honest.
        CONTRAST    Then Elena says that Mei lies, and this is false, so Elena lies.
        CONCLUSION  In summary, Elena is lying.
        RESPONSE    The final answer is No.

A fork: each time, the teacher compares what is said, as above, or it supposes the contrary:

        EXAMPLES    Take this one: Elena says Mei lies, and if that were true, Mei would lie,
                    but Mei is honest, so Elena lies.
"""

import re
from itertools import pairwise

from data.algorithmic.common import NAMES, Family, Problem, any_of, say, tidy
from scaffold import ADDITION, CONCLUSION, CONTRAST, EXAMPLES, REASONING, RECALL

# ---------------------------------------------------------------------------------- the teacher
VERB = {True: "tells the truth", False: "lies"}  # in BBH's questions
KNOWN = {True: "[tells the truth|is truthful|is honest]", False: "[lies|is lying|is a liar]"}
WOULD = {True: "tell the truth", False: "lie"}
VERDICT = {True: "[true|right|correct]", False: "[false|wrong|a lie]"}

SUPPOSE = 0.5  # at a fork: the share of proofs by contradiction


def make(rng, n, forks=None):
    """A problem of n people. At a fork, their words are compared or the contrary is supposed."""
    people = rng.sample(NAMES, n)
    tells = rng.random() < 0.5  # whether the person in hand tells the truth
    sentences = [f"{people[0]} {VERB[tells]}."]
    steps = [(RECALL, say(rng, f"{people[0]} {KNOWN[tells]}"))]
    open_signals = {}
    for about, speaker in pairwise(people):
        claim = rng.random() < 0.5  # whether the speaker says that the other one tells the truth
        about_tells, tells = tells, claim == tells
        sentences.append(f"{speaker} says {about} {VERB[claim]}.")
        signal = ADDITION if steps[-1][0] in (REASONING, ADDITION) else REASONING
        signal = signal if tells else CONTRAST
        known = say(rng, f"{speaker} {KNOWN[tells]}")
        template = (
            f"{speaker} [says|claims|says that] {about} {VERB[claim]}, "
            f"[which is|and that is|and this is] {VERDICT[tells]}, so {known}"
        )
        body = say(rng, template)
        if forks:
            open_signals[len(steps)] = {signal, EXAMPLES}
            if forks.random() < SUPPOSE:
                signal = EXAMPLES
                template = (
                    f"{speaker} says {about} {VERB[claim]}, and if [that|this] were "
                    f"{VERDICT[not tells]}, {about} would {WOULD[not about_tells]}, "
                    f"but {about} {KNOWN[about_tells]}, so {known}"
                )
                body = say(forks, template)
        steps.append((signal, body))
    steps.append((CONCLUSION, say(rng, f"{people[-1]} {KNOWN[tells]}")))
    question = f"Question: {' '.join(sentences)} Does {people[-1]} tell the truth?"
    return Problem(question, "Yes" if tells else "No", steps, open_signals)


# ---------------------------------------------------------------------------------- the checker
QUESTION = re.compile(
    r"""(?:Question:\ )?
    (?P<told>(?:[\w-]+\ (?:says\ [\w-]+\ )?(?:lies|tells\ the\ truth)\.\ )+)
    Does\ (?P<asked>[\w-]+)\ tell\ the\ truth\?""",
    re.VERBOSE,
)
IS = r"(?:\b(?:is|was|were|must\ be)|'s)(?:\ not|n't)?"
STATUS = rf"""(?:
    lies | lied | (?:tells|told|speaks|must\ (?:tell|speak))\ the\ truth | must\ lie
  | (?:does|did)(?:\ not|n't)\ (?:lie|(?:tell|speak)\ the\ truth)
  | {IS}\ (?:lying|a\ liar|dishonest|untruthful|truthful|honest|a\ truth[- ]teller
            |telling\ (?:the\ truth|a\ lie))
    )\b"""
BE = r"be\ (?:lying|a\ liar|dishonest|truthful|honest|telling\ the\ truth)"
FALSE_WORDS = re.compile("lie|lia|lying|dishonest|untru|false|wrong|incorrect", re.I)


def affirms(words):
    """Whether a status means "tells the truth", or a verdict means "is true"."""
    negated = bool(re.search(r"n't|\bnot\b", words))
    return negated == bool(FALSE_WORDS.search(words))


class Checker:
    """A status is given, or the person's words are quoted and the one they are about is known."""

    answers = "yes|no"

    def __init__(self, asked, said, honest):
        self.asked = asked
        self.said = said  # {speaker: (of whom, whether they tell the truth)}; "": it is given
        self.honest = honest  # {person: bool}
        self.quoted = set()  # whose words the steps have quoted
        self.shown = set()  # whose status the steps have stated
        name = any_of(said)
        self.claims = rf"""
            (?P<speaker>{name})\ (?:says|said|claims|claimed|states)(?:\ that)?
              \ (?P<about>{name})\ (?P<quote>{STATUS})  # Bob says Ann lies
          | (?:(?P<given>\b(?:told|given|says|question)(?:\ that)?\ (?={name}))  # we are told that
            |(?P<if>\b(?:if|suppose|assume)(?:\ that)?\ (?={name}))
            |(?P<since>\b(?:since|because|as)\ (?={name})))?
            (?:(?P<who>{name})|\b(?:he|she))\ (?P<status>{STATUS})  # Bob is honest
          | (?P<then>{name})\ would\ (?:have\ to\ )?(?P<would>(?:not\ )?
              (?:(?:lie|(?:tell|speak)\ the\ truth)\b|{BE}))  # then Ann would lie
          | (?P<supposed>\bif\ (?:that|this|it)\ )?
            (?P<verdict>{IS}\ (?:true|right|correct|false|wrong|incorrect|untrue|a\ lie)\b)
        """

    def judge(self, claims):
        self.new = set()  # whose status this step is the first to state
        quoted = len(self.quoted)
        yield from self.judge_claims(claims)
        facts = [claim for claim in claims if not claim["if"]]
        if any(claim["status"] for claim in facts):
            progress = bool(self.new)
        else:
            progress = len(self.quoted) > quoted
        if len(self.quoted) > quoted + 1 or len(self.new) > 1:
            yield "takes up two things"
        elif len(self.new) == 1:
            # What else it says of people has to be what the new status follows from.
            whom, _ = self.said[min(self.new)]
            others = {claim["who"] for claim in claims if claim["who"]} - self.new
            if others - {whom}:
                yield f"that {min(others)} comes in does not follow"
        sums_up = len(claims) == 1 and facts and facts[0]["who"] == self.asked
        if claims and not progress and not sums_up:
            yield "gets no further"

    def judge_claims(self, claims):
        """Each claim has to be right, and follow from what was said or supposed before it."""
        speaker = None  # of the last quotation in this step: who "he" is, and "that" their words
        supposed = None  # whether that speaker's words are supposed to be true
        for claim in claims:
            if claim["quote"]:
                speaker = claim["speaker"]
                self.quoted.add(speaker)
                if self.said[speaker] != (claim["about"], affirms(claim["quote"])):
                    yield f"the question does not say '{claim[0]}'"
            elif claim["then"]:
                yield from self.judge_consequence(claim, speaker, supposed)
            elif not claim["who"] and not speaker:
                yield f"'{claim[0]}': whose words?"
            elif claim["if"] or claim["supposed"]:
                speaker = claim["who"] or speaker
                supposed = affirms(claim["status"] or claim["verdict"])
            else:
                yield from self.judge_status(claim, claim["who"] or speaker)
        if supposed is not None:
            consequences = [claim for claim in claims if claim["then"]]
            stated = [c for c in claims if c["who"] == speaker and c["status"] and not c["if"]]
            if not consequences or len(stated) > 1:  # the second would follow from the first alone
                yield "draws nothing from what it supposes"
            if supposed == self.honest[speaker]:
                yield "does not suppose the contrary"

    def judge_consequence(self, claim, speaker, supposed):
        """What the one spoken of "would" do has to follow from the words and what is supposed."""
        whom, tells = self.said.get(speaker, ("", None))
        follows = claim["then"] == whom and affirms(claim["would"]) == (tells == supposed)
        if supposed is None or not follows:
            yield f"'{claim[0]}' does not follow"
        else:
            self.quoted.add(speaker)

    def judge_status(self, claim, who):
        """A status, or a verdict on somebody's words, has to be true and to follow."""
        if affirms(claim["status"] or claim["verdict"]) != self.honest[who]:
            yield f"says '{claim[0]}', but {who} {VERB[self.honest[who]]}"
        if self.new and (claim["verdict"] or who not in self.new) and not claim["since"]:
            yield f"'{claim[0]}' comes after what has to follow from it"
        whom, _ = self.said[who]
        if claim["given"] and whom:
            yield f"the question does not say '{claim[0]}'"
        if whom and who not in self.quoted:
            yield f"leaves out what {who} says"
        elif whom and self.said[whom][0] and whom not in self.shown:
            yield f"does not know yet whether {whom} lies"
        if claim["status"] and who not in self.shown:
            self.new.add(who)
            self.shown.add(who)

    def conclude(self):
        missing = "" if self.asked in self.shown else f"whether {self.asked} lies"
        return "yes" if self.honest[self.asked] else "no", missing


def read_question(question):
    m = QUESTION.fullmatch(tidy(question))
    if not m:
        return None
    said = {}
    honest = {"": True}  # so that a status that is given counts as said by nobody, truthfully
    for who, whom, tells in re.findall(r"([\w-]+) (?:says ([\w-]+) )?(lies|tells)", m["told"]):
        said[who] = whom, tells == "tells"
        honest[who] = (tells == "tells") == honest.get(whom)
    if m["asked"] not in said or not all(whom in honest for whom, _ in said.values()):
        return None
    return Checker(m["asked"], said, honest)


FAMILY = Family(
    "web_of_lies", make, read_question, lengths=(3, 6), train_share=0.75, has_forks=True
)
