"""Send many requests to a chat endpoint and keep every reply, on disk, as soon as it comes.

The endpoint speaks OpenAI's protocol, as vLLM, llama.cpp and Ollama do. The replies are kept in a
journal, a JSONL file: whatever stops the program, the same call asks only for what never came.
"""

import asyncio
import hashlib
import json
import os
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data.tools.files import read_jsonl
from data.tools.flags import UserError, flag
from data.tools.terminal import first_line

BACK_OFF = 1.0  # seconds before the second try; doubles with every further one
LONGEST_WAIT = 300  # seconds; an endpoint may ask for more
NO_ENTRY = (401, 403, 404)  # HTTP status of a wrong key, address or model
TRY_AGAIN = (408, 409, 425, 429)  # HTTP status of a time-out or of too many requests


@dataclass
class ChatConfig:
    """The flags of a chat endpoint."""

    base_url: str = flag(
        os.environ.get("OPENAI_BASE_URL", "http://localhost:8000/v1"),
        "address of the OpenAI-compatible endpoint, by default $OPENAI_BASE_URL",
    )
    model: str = flag(
        os.environ.get("OPENAI_MODEL", ""), "the endpoint's model, by default $OPENAI_MODEL"
    )
    api_key: str = flag("", "the endpoint's key; safer in $OPENAI_API_KEY, which no one else sees")
    concurrency: int = flag(8, "requests at a time; fewer after HTTP 429", low=1, high=100)
    tries: int = flag(6, "tries for a reply; the pauses double from a second", low=1, high=20)
    timeout: float = flag(600.0, "seconds until a request counts as lost", low=0.1)
    max_tokens: int = flag(8192, "longest reply; more where traces are cut off", low=1)
    temperature: float = flag(0.6, "of the teacher's sampling; labels are asked for at 0", high=2.0)

    def check_endpoint(self):
        """Raise UserError where no model can be asked."""
        if not self.model:
            raise UserError("--model: name the endpoint's model, here or in $OPENAI_MODEL")
        # The client would take any other text for a model of the Hugging Face Hub.
        if not re.match("https?://[^/]", self.base_url):
            raise UserError(f"--base_url {self.base_url}: write it as http://localhost:8000/v1")


@dataclass
class Request:
    arguments: dict  # keyword arguments of chat_completion; plain JSON
    parse: Callable  # makes the value (plain JSON) of the endpoint's choice, or raises

    @property
    def key(self):
        """Name of the reply in the journal. Equal requests are sent once."""
        return hashlib.sha256(json.dumps(self.arguments, sort_keys=True).encode()).hexdigest()


class AsIs(str):
    """Equals no other string: huggingface_hub rewrites a "json_schema" for its servers."""

    def __eq__(self, other):
        return False

    __hash__ = str.__hash__


def json_format(name, schema):
    """The response_format that binds a reply to a JSON schema."""
    return {"type": AsIs("json_schema"), "json_schema": {"name": name, "schema": schema}}


def reasoning_and_text(choice):
    """[reasoning, text after it, True if the reply is cut off] of the endpoint's choice.

    The reasoning is the field of that name, or the text inside <think>, or else the whole reply.
    Raises ValueError for an empty one.
    """
    message = choice.message
    text = (message.content or "").replace("<think>", "", 1)
    reasoning = message.get("reasoning_content") or message.reasoning or ""
    if "</think>" in text:
        reasoning, _, text = text.partition("</think>")
    reasoning, text = reasoning.strip(), text.strip()
    if not (text or reasoning):
        raise ValueError("an empty reply")
    return [reasoning or text, text, choice.finish_reason == "length"]


def ask(requests, config, journal, title):
    """The replies to a list of Requests, in their order.

    A reply is {"value": what parse returned, "tokens": int}, {"refused": reason}, or None where no
    usable one came. config: base_url, api_key, timeout (seconds), concurrency, tries. After a lost
    connection, a time-out, a broken reply, a 429, a 5xx or an error of parse a request is sent
    again, with another seed. Raises UserError where the endpoint is not there or does not let us
    in, OSError where the journal cannot be written.
    """
    journal = Path(journal)
    journal.parent.mkdir(parents=True, exist_ok=True)
    by_key = {request.key: request for request in requests}
    replies = read_journal(journal)
    to_send = {key: request for key, request in by_key.items() if key not in replies}
    done = len(by_key) - len(to_send)
    try:
        with tqdm(total=len(by_key), initial=done, desc=title, disable=None) as bar:
            asyncio.run(ask_all(to_send, replies, config, journal, bar))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command goes on from what has come") from None
    missing = len(by_key.keys() - replies.keys())
    if missing:
        again = "the same command asks for them again"
        print(f"{missing} of {len(by_key)} got no usable reply; {again}")
    return [replies.get(request.key) for request in requests]


async def ask_all(requests, replies, config, journal, bar):
    """Send these requests (by key) and keep each reply, in replies and in the journal."""
    from huggingface_hub import AsyncInferenceClient  # only here: it is slow to import

    slots = asyncio.Semaphore(config.concurrency)
    # Without a key the client would send the user's Hugging Face token to whatever server this is.
    api_key = config.api_key or os.environ.get("OPENAI_API_KEY") or "none"
    client = AsyncInferenceClient(base_url=config.base_url, api_key=api_key, timeout=config.timeout)

    async def keep_reply(key, request):
        async with slots:
            reply = await send(request, client, replies, config)
        if reply is not None:
            with open(journal, "a") as file:
                file.write(json.dumps({"key": key, **reply}) + "\n")
            replies[key] = reply
            tokens = sum(reply.get("tokens", 0) for reply in replies.values())
            bar.set_postfix_str(f"{tokens:,} tokens", refresh=False)
            bar.update()

    async with client:
        await asyncio.gather(*[keep_reply(key, request) for key, request in requests.items()])


async def send(request, client, replies, config):
    """The reply to one request, or None after the last try. Raises UserError, see `ask`."""
    from huggingface_hub.errors import HfHubHTTPError

    n_replies = len(replies)  # to all requests, so far
    is_there = False
    pause = 0.0
    for attempt in range(config.tries):
        await asyncio.sleep(pause)
        pause = BACK_OFF * 2**attempt * random.uniform(0.5, 1)
        seed = {"seed": attempt} if attempt else {}  # some endpoints refuse a seed
        try:
            output = await client.chat_completion(**request.arguments, **seed)
            is_there = True
            tokens = (output.usage or {}).get("completion_tokens") or 0
            return {"value": request.parse(output.choices[0]), "tokens": tokens}
        except HfHubHTTPError as error:
            response = error.response
            problem = f"HTTP {response.status_code}"
            if response.status_code in NO_ENTRY:
                advice = f"({response.text[:100]}); check --base_url, --model and the key"
                raise UserError(f"{config.base_url}: {problem} {advice}") from None
            if response.status_code < 500 and response.status_code not in TRY_AGAIN:
                return {"refused": problem}  # it alone: it is too long, say
            wait = response.headers.get("retry-after", "")
            if wait.isdecimal():
                pause = max(pause, min(LONGEST_WAIT, int(wait)))
        except Exception as error:  # the client lets many kinds through, half a JSON for one
            problem = first_line(error)
    if not is_there and len(replies) == n_replies:  # nor did any other request get a reply
        raise UserError(f"{config.base_url}: no reply in {config.tries} tries ({problem})")
    return None


def read_journal(path):
    """{key: reply} of what has come so far. A last line that a stop cut short is removed."""
    if not path.exists():
        return {}
    end = path.read_bytes().rfind(b"\n") + 1
    os.truncate(path, end)
    return {reply["key"]: reply for reply in read_jsonl(path, "key")} if end else {}
