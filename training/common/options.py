"""A run's options in small dataclasses, so that each part is told what it needs and no more.

Every field has the name of its option. `options` fills a dataclass, and the dataclasses in it, from parsed arguments.
"""

import argparse
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

Kind = TypeVar("Kind")


def options(kind: type[Kind], args: argparse.Namespace) -> Kind:
    """An object of the dataclass `kind`: a field that is a dataclass itself is filled likewise, any other from the
    argument of its name."""
    values = {
        field.name: options(field.type, args) if is_dataclass(field.type) else getattr(args, field.name)
        for field in fields(kind)
    }
    return kind(**values)


@dataclass(frozen=True)
class LoopOptions:
    """Of every training program: folder, steps, optimizer, precision, checkpoints.

    Attributes:
        max_train_steps: None: `num_train_epochs` count instead.
        mixed_precision: "no", "fp16" or "bf16"; the frozen weights' dtype too.
        resume_from_checkpoint: None, "latest" or a checkpoint's name.
    """

    output_dir: str
    seed: int
    train_batch_size: int
    gradient_accumulation_steps: int
    num_train_epochs: int | None
    max_train_steps: int | None
    learning_rate: float
    scale_lr: bool
    lr_scheduler: str
    lr_warmup_steps: int
    adam_beta1: float
    adam_beta2: float
    adam_weight_decay: float
    adam_epsilon: float
    max_grad_norm: float
    gradient_checkpointing: bool
    allow_tf32: bool
    mixed_precision: str
    checkpointing_steps: int
    checkpoints_total_limit: int | None
    resume_from_checkpoint: str | None

    def samples_per_step(self, processes: int) -> int:
        """Of one optimizer step, over all processes and accumulated batches."""
        return self.train_batch_size * self.gradient_accumulation_steps * processes

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run."""
        return self.num_train_epochs * steps_per_epoch if self.max_train_steps is None else self.max_train_steps


@dataclass(frozen=True)
class ReportOptions:
    """Of the trackers."""

    report_to: str
    logging_dir: str
    tracker_project_name: str


@dataclass(frozen=True)
class BaseOptions:
    """The base model, and how the Hub is asked for it.

    Attributes:
        revision, variant: of the base alone. cache_dir, hub_token: of whatever is downloaded.
    """

    pretrained_model_name_or_path: str
    pretrained_vae_model_name_or_path: str | None = None
    revision: str | None = None
    variant: str | None = None
    cache_dir: str | None = None
    hub_token: str | None = None

    @property
    def hub(self) -> dict[str, str | None]:
        """Arguments of `from_pretrained` for whatever is downloaded."""
        return {"cache_dir": self.cache_dir, "token": self.hub_token}


@dataclass(frozen=True)
class TripletSource:
    """Where triplets come from: exactly one of `train_data_dir` and `dataset_name` is given.

    Attributes:
        predicate: the relation's words, for triplets that name none; None: told by the sentence.
    """

    train_data_dir: str | None
    dataset_name: str | None
    predicate: str | None = None
    cache_dir: str | None = None
    hub_token: str | None = None


@dataclass(frozen=True)
class ViewOptions:
    """Of the training views of a triplet's target.

    Attributes:
        resolution: a view has about resolution² pixels; a multiple of 8.
        views_per_triplet: how many are drawn of each.
        largest_zoom: how much closer than the widest crop a view may be, at least 1; the released code's 1.
        center_crop: take the widest, central crop always.
        random_flip: mirror half of the views; left and right keypoints then change places.
    """

    resolution: int
    views_per_triplet: int = 1
    largest_zoom: float = 1.15
    center_crop: bool = False
    random_flip: bool = False


@dataclass(frozen=True)
class ValidationOptions:
    """Of the pictures drawn on the way.

    Attributes:
        validation_prompt: None: none are drawn.
        validation_images, validation_phrases: image prompts of one's own; None: those of the first triplet.
        validation_steps: every so many steps; None: at the end only.
        resolution: side of the pictures, pixels. seed: of the first of them; picture k has seed + k.
    """

    validation_prompt: str | None
    validation_images: list[str] | None
    validation_phrases: list[str] | None
    num_validation_images: int
    validation_guidance_scale: float
    validation_steps: int | None
    resolution: int
    seed: int

    def is_due(self, done: int, steps: int) -> bool:
        """Whether pictures are drawn after `done` of `steps` steps, before the last."""
        return bool(self.validation_steps) and done % self.validation_steps == 0 and done < steps
