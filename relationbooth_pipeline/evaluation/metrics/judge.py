"""A judge behind an OpenAI-compatible chat endpoint; an unreadable verdict is missing and counted, never made up."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ...relation_files import whole_file
from ...relation_images import open_image
from ...triplets.keys import check_address, refuse_keys, without_keys
from ...vision.pictures import picture_digest
from ..cases import Case, CaseFile
from .metric import Column, Metric, Value

VERDICTS = "verdicts"
SIDE = 512  # pixels of the longer side, as judges are commonly shown them
TRIES = 3
INSTRUCTION = (
    "The first {count} picture(s) show one object each: {phrases}. The last picture was drawn for the sentence "
    '"{prompt}" and should show these very objects. How well does it show the relation of the sentence, including pose '
    'and contact? Reply with JSON alone: {{"relation": 0 to 10, "identity": 0 to 10}}, where identity says how '
    "recognisably each object is the one of its photo."
)


def check_judge(url: str, model: str) -> None:
    """Raise a ValueError for an address or name of a judge that may hold a key: every table and page shows both."""
    check_address(url, "judge")
    refuse_keys("judge_model", model)


class Judge(Metric):
    """Relation and identity in 0 to 10, one request a picture; verdicts are kept, so that none is asked for twice.

    Args:
        url: base address, ".../v1". model: name there. key: from the environment variable OPENAI_API_KEY; local servers
            need none. folder: of the run.
    Raises:
        ValueError: the package openai is missing; as `check_judge`.
    """

    def __init__(self, url: str, model: str, folder: Path):
        check_judge(url, model)
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ValueError("`judge` needs the package openai: `pip install 'relationbooth[evaluation]'`.") from error
        import os

        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        self.client = OpenAI(base_url=url, api_key=self._key or "none", max_retries=5)
        self.url, self.model, self.folder = url, model, folder / VERDICTS
        common = {
            "checkpoint": f"{model} at {url}",
            "preprocessing": f"longer side {SIDE}, PNG, temperature 0",
            "scale": "0 to 10, as answered",
            "pairing": "photos given + picture",
        }
        self.columns = (
            Column("judge relation", "The relation, pose and contact, in a model's opinion.", **common),
            Column("judge identity", "The objects' likeness, in a model's opinion.", **common),
        )

    def score(self, cases: CaseFile, case: Case, pictures: Sequence[Image.Image]) -> dict[str, list[Value]]:
        photos = [open_image(path) for path in cases.image_prompts(case)]
        found: dict[str, list[Value]] = {column.name: [] for column in self.columns}
        for picture in pictures:
            verdict = self._verdict(case, photos, picture)
            for name in ("relation", "identity"):
                value = None if verdict is None else verdict[name]
                found[f"judge {name}"].append(Value(value, "" if verdict else f"no readable verdict in {TRIES} tries"))
        return found

    def _verdict(self, case: Case, photos: list[Image.Image], picture: Image.Image) -> dict | None:
        text = INSTRUCTION.format(count=len(photos), phrases=", ".join(case.phrases), prompt=case.prompt)
        parts = [self.url, self.model, text, *(picture_digest(image) for image in [*photos, picture])]
        path = self.folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]}.json"
        if path.is_file():
            return read_verdict(json.loads(path.read_text(encoding="utf-8"))["answer"])
        content = [{"type": "text", "text": text}]
        content += [{"type": "image_url", "image_url": {"url": as_url(image)}} for image in [*photos, picture]]
        for _ in range(TRIES):
            answer = self._ask(content)
            verdict = read_verdict(answer)
            if verdict is not None:
                break
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps({"case": case.id, "answer": answer}) + "\n", encoding="utf-8")
        return verdict

    def _ask(self, content: list[dict]) -> str:
        from openai import OpenAIError

        try:
            reply = self.client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": content}], temperature=0
            )
        except OpenAIError as error:
            said = without_keys(str(error), self._key)
            raise ValueError(
                f"`judge`: {self.url} did not answer ({type(error).__name__}: {said}). Verdicts so far are kept: "
                "start the same command again."
            ) from error
        return reply.choices[0].message.content or ""


def read_verdict(answer: str) -> dict[str, float] | None:
    """Both marks of an answer; None unless it holds exactly one JSON object with two numbers in [0, 10]."""
    start, end = answer.find("{"), answer.rfind("}")
    try:
        marks = json.loads(answer[start : end + 1])
    except ValueError:
        return None
    if not isinstance(marks, dict):
        return None
    values = [marks.get(name) for name in ("relation", "identity")]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= 10 for v in values):
        return None
    return dict(zip(("relation", "identity"), map(float, values)))


def as_url(image: Image.Image) -> str:
    """A PNG in a data address, its longer side at most `SIDE`."""
    image = image.copy()
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
