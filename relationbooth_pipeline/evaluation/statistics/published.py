"""Figures of the paper (RelationBooth, Tables 1 to 4), shown beside ours as published and never compared with them."""

COLUMNS = ("CLIP-T", "CLIP-R", "CLIP-I", "DINO")
NOTE = "published, on the authors' own cases and unknown settings: not comparable with the figures above"


def _rows(table: str) -> dict[str, tuple[float | None, ...]]:
    rows = {}
    for line in table.strip().splitlines():
        name, _, figures = line.partition(":")
        rows[name.strip()] = tuple(None if v == "-" else float(v) for v in figures.split())
    return rows


# table → (its columns, method → figures); "-": the paper gives none
PUBLISHED = {
    "Table 1, RelationBench, one object": (
        COLUMNS,
        _rows(
            """
            DreamBooth (SDXL): 27.8 18.2 74.2 62.6
            Custom Diffusion: 26.5 15.2 73.2 58.8
            Cones-V2: 24.4 13.5 72.1 57.2
            ELITE: 25.7 14.9 75.4 61.5
            AnyDoor: 24.5 14.7 77.4 62.2
            BLIP-Diffusion: 26.2 15.7 77.4 57.7
            SSR-Encoder: 25.5 15.9 80.4 59.4
            MS-Diffusion: 26.5 18.8 78.7 64.5
            RelationBooth: 30.6 21.4 77.9 63.4
            """
        ),
    ),
    "Table 1, RelationBench, two objects": (
        COLUMNS,
        _rows(
            """
            DreamBooth (SDXL): 24.3 16.2 67.8 57.2
            Custom Diffusion: 20.1 15.4 64.7 55.3
            Cones-V2: 21.3 15.2 64.3 54.2
            AnyDoor: 21.6 14.9 69.7 59.8
            SSR-Encoder: 24.2 14.6 72.1 56.2
            MS-Diffusion: 26.9 18.9 73.8 58.8
            RelationBooth: 28.9 20.4 75.4 62.1
            """
        ),
    ),
    "Table 2, DreamBench": (
        ("CLIP-T", "CLIP-I", "DINO"),
        _rows(
            """
            DreamBooth (SDXL): 31.2 81.5 69.2
            Custom Diffusion: 28.4 77.2 66.8
            Cones-V2: 31.0 76.5 67.2
            ELITE: 29.8 77.4 62.5
            AnyDoor: 25.5 82.1 67.8
            SSR-Encoder: 30.8 82.1 61.2
            MS-Diffusion: 31.5 79.3 68.2
            RelationBooth: 31.6 78.9 67.4
            """
        ),
    ),
    "Table 4, one object": (
        COLUMNS,
        _rows(
            """
            without relation-aware data: 28.4 16.9 78.2 64.4
            without dense tokens: 29.2 21.0 76.8 62.5
            without keypoint matching loss: 28.3 17.9 77.8 62.1
            full model: 30.6 21.4 77.9 63.4
            """
        ),
    ),
    "Table 4, two objects": (
        COLUMNS,
        _rows(
            """
            without relation-aware data: 26.2 16.8 75.3 59.7
            without dense tokens: 28.5 19.5 75.1 59.3
            without keypoint matching loss: 27.4 18.2 75.2 61.2
            full model: 28.9 20.4 75.4 62.1
            """
        ),
    ),
}
