"""The rows of the tables of RelationLoRAs: what each trains with, and at which weight it is drawn."""

from dataclasses import dataclass, field

from ..measure.cases import ADAPTER


@dataclass(frozen=True)
class Row:
    """One way to train a RelationLoRA and to use it.

    Attributes:
        training: options of the training program beside those that all rows share.
        keypoint_share: the keypoint loss's share of the gradient's norm at the start, which then sets `kml_weight`
            (`gradient_share`); None: as `training` says.
        triplets: how many it learns from; None: as many as the shipped ones.
        weight: of `set_adapters`, when drawn.
        drawn_with: the row whose training it uses; None: its own.
    """

    training: dict = field(default_factory=dict)
    keypoint_share: float | None = None
    triplets: int | None = None
    weight: float = 1.0
    drawn_with: str | None = None


DEFAULT = "λ = 1e-3, all timesteps (default)"
WITHOUT = "without KML"
EMBEDDING = "learned relation embedding R*"

GATE = 333  # of the released code
SHARES = (0.01, 0.1, 0.3)  # of the gradient's norm


def _by_share(loss: str, gate: int | None = None) -> dict[str, Row]:
    options = {"keypoint_loss": loss} if gate is None else {"keypoint_loss": loss, "kml_max_timestep": gate}
    until = "" if gate is None else f", t ≤ {gate}"
    return {f"{loss}, {share:.0%} of the gradient{until}": Row(options, keypoint_share=share) for share in SHARES}


RELATION_LORAS = {  # RelationBooth, Tables 4 and 6
    DEFAULT: Row(),
    WITHOUT: Row({"kml_weight": 0}),
    "λ = 1e-4": Row({"kml_weight": 1e-4}),
    "λ = 1e-2": Row({"kml_weight": 1e-2}),
    "λ = 0.1": Row({"kml_weight": 0.1}),
    "λ = 1": Row({"kml_weight": 1.0}),
    "λ = 1e-3, t ≤ 333": Row({"kml_max_timestep": GATE}),
    "with predicate attention loss": Row({"predicate_attention_weight": 1e-3}),
    "released code": Row(
        {
            "kml_weight": 0.1,
            "kml_max_timestep": GATE,
            "predicate_attention_weight": 1e-3,
            "local_image_encoder": "none",  # the released training ran without local tokens
        }
    ),
    EMBEDDING: Row(),
    ADAPTER: Row(),
}
KEYPOINT_LOSS = {  # λ means nothing without the size of what it multiplies
    WITHOUT: RELATION_LORAS[WITHOUT],
    **_by_share("matching"),
    **_by_share("matching", GATE),
    **_by_share("denoising"),
}
WEIGHTS = {  # what a relation costs in likeness, and whether less of it costs less
    ADAPTER: Row(),
    DEFAULT: Row(),
    **{f"weight {weight}": Row(weight=weight, drawn_with=DEFAULT) for weight in (0.85, 0.7, 0.5)},
}
TRIPLETS = {f"{count} triplets": Row(triplets=count) for count in (2, 4, 12, 24)}
STEPS = {f"{steps} steps": Row({"max_train_steps": steps}) for steps in (100, 250, 1000)}
TABLES = {  # name: (rows, the one that the others are compared with)
    "relation_loras": (RELATION_LORAS, DEFAULT),
    "keypoint_loss": (KEYPOINT_LOSS, WITHOUT),
    "weights": (WEIGHTS, ADAPTER),
    "triplets": ({ADAPTER: Row(), DEFAULT: Row(), **TRIPLETS}, DEFAULT),
    "steps": ({ADAPTER: Row(), DEFAULT: Row(), **STEPS}, DEFAULT),
}
ROWS = {name: row for rows, _ in TABLES.values() for name, row in rows.items()}
