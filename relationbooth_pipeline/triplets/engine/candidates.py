"""What may become a triplet: a target and its objects alone, named by the digests of their pictures."""

import re
from dataclasses import asdict, dataclass

_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class Candidate:
    """A target picture and one picture of each of its objects, before anybody looked at them.

    Attributes:
        id: stable and safe as a file's name, such as "hugging-0007".
        relation: its name, "hugging".
        predicate: its words as in the prompt.
        phrases: nouns of the N objects, in the order of `objects`.
        prompt: the sentence that the target was drawn for; None for a photo.
        target: digest of its picture, see `WorkFolder.keep_picture`.
        objects: one digest per phrase; none while only the target is there.
    """

    id: str
    relation: str
    predicate: str
    phrases: tuple[str, ...]
    prompt: str | None
    target: str
    objects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                "a candidate's `id` must be up to 80 small letters and digits, after the first also '_', '-' and '.', "
                f"got {self.id!r}."
            )
        if self.objects and len(self.objects) != len(self.phrases):
            raise ValueError(
                f"candidate {self.id}: `objects` must have one picture per phrase ({len(self.phrases)}), got "
                f"{len(self.objects)}."
            )

    @property
    def pictures(self) -> tuple[str, ...]:
        """Digests of the target and of its objects."""
        return (self.target, *self.objects)

    def as_record(self) -> dict:
        """All but the id, JSON-ready: what the record of stage "same" or "given" holds."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if k != "id"}

    @classmethod
    def from_record(cls, candidate_id: str, record: dict) -> "Candidate":
        """The candidate of a record; other fields of it, such as `inputs`, are left aside."""
        fields = {name: record[name] for name in ("relation", "predicate", "prompt", "target")}
        return cls(candidate_id, phrases=tuple(record["phrases"]), objects=tuple(record["objects"]), **fields)
