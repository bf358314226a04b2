"""The animal head of an original ViTPose++ checkpoint, put on the Hub's conversion of the very same backbone."""

import re
from pathlib import Path

import torch

from ..relation_files import read_checkpoint, whole_folder
from .poses import ORDER_FIELD, check_pose_model

# Numbers of `associate_keypoint_heads` in the original; .0 AiC, .1 MPII, .3 APT-36K, .4 WholeBody
HEADS = {"ap10k": (2, "AP-10K")}
HEAD_TENSORS = {"deconv_layers.0": "deconv1", "deconv_layers.1": "batchnorm1", "deconv_layers.3": "deconv2",
                "deconv_layers.4": "batchnorm2", "final_layer": "conv"}  # fmt: skip
# transformers' names → the original's, in this order
_BACKBONE_NAMES = (
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^layernorm\.", "last_norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.output\.dense", ".attn.proj"),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
)
_QKV = ("query", "key", "value")


def convert_keypoints(original: str | Path, hub_folder: str | Path, output: str | Path, head: str = "ap10k") -> int:
    """Write the Hub's ViTPose++ with another of the original's heads.

    Args:
        original: `vitpose+_*.pth` of the authors; only tensors are read. hub_folder: transformers' conversion of it.
        output: new folder. head: one of `HEADS`.
    Returns:
        How many tensors of the backbone were compared, all equal bit by bit.
    Raises:
        ValueError: unknown head, the original lacks it, the decoder is of the simple kind, or the backbones differ.
    """
    from transformers import AutoImageProcessor, VitPoseForPoseEstimation

    if head not in HEADS:
        raise ValueError(f"`head` must be one of {', '.join(HEADS)}, got {head!r}.")
    check_pose_model(str(hub_folder))
    state = read_checkpoint(original)
    state = state.get("state_dict", state)
    model = VitPoseForPoseEstimation.from_pretrained(hub_folder)
    if model.config.use_simple_decoder:
        raise ValueError(
            f"`{hub_folder}` has the simple decoder; heads of ViTPose++ are of two deconvolutions. Take a "
            "`vitpose-plus-*` repository."
        )
    number, order = HEADS[head]
    tensors = _head(state, number, model.head.state_dict(), original)
    compared = _compare_backbones(state, model.backbone.state_dict(), original, hub_folder)
    model.head.load_state_dict(tensors)
    setattr(model.config, ORDER_FIELD, order)
    processor = AutoImageProcessor.from_pretrained(hub_folder, backend="pil")
    with whole_folder(output) as fresh:
        model.save_pretrained(fresh)
        processor.save_pretrained(fresh)
    return compared


def _head(state: dict, number: int, wanted: dict, original: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of the original's head by transformers' names: exactly those that the decoder has."""
    prefix = f"associate_keypoint_heads.{number}."
    found = {}
    for theirs, ours in HEAD_TENSORS.items():
        for name in (key for key in wanted if key.startswith(f"{ours}.")):
            key = f"{prefix}{theirs}.{name.removeprefix(f'{ours}.')}"
            if key not in state or state[key].shape != wanted[name].shape:
                what = f"of shape {tuple(state[key].shape)}" if key in state else "nothing"
                raise ValueError(
                    f"`{original}` must hold `{key}` of shape {tuple(wanted[name].shape)}, but has {what}. Take the "
                    "`vitpose+_*.pth` of the same size."
                )
            found[name] = state[key]
    return found


def _compare_backbones(state: dict, backbone: dict, original: str | Path, hub_folder: str | Path) -> int:
    for name, tensor in backbone.items():
        key, part = _original_name(name)
        theirs = state.get(key)
        if theirs is not None and part is not None:
            theirs = theirs.chunk(3)[part]
        if theirs is None or not torch.equal(theirs, tensor):
            why = "lacks it" if theirs is None else "differs"
            raise ValueError(
                f"the backbones are not the same: `{name}` of `{hub_folder}` is `{key}` of `{original}`, which {why}. "
                "A head reads its own backbone's features only: take both of the same size and release."
            )
    return len(backbone)


def _original_name(name: str) -> tuple[str, int | None]:
    """The original's key of a backbone's tensor, and which third of its rows is meant (query, key or value)."""
    part = None
    if found := re.search(r"\.attention\.attention\.(query|key|value)\.", name):
        part = _QKV.index(found[1])
        name = name.replace(found[0], ".attn.qkv.")
    for pattern, replacement in _BACKBONE_NAMES:
        name = re.sub(pattern, replacement, name)
    return f"backbone.{name}", part
