"""How a character looks: body parts, markings and accessories drawn on a skeleton."""

import math

import skia

from .canvas import ellipse, mix, polygon, rectangle, shape_path
from .heads import close_eyes, draw_head, head_radius
from .poses.skeletons import EAST, PARTS, WEST

OUTLINE = 0.016  # body units: 1.5 pixels for a figure of 96 pixels
ARM_WIDTH, LEG_WIDTH, PAW_RADIUS = 0.088, 0.12, 0.067
DUCK_LEG, DUCK_LEG_OUTLINE = (245, 150, 30), (130, 70, 10)
SCARF, SCARF_LIGHT, SCARF_OUTLINE = (20, 160, 160), (235, 250, 245), (10, 70, 75)
# Body units: 15 pixels of a figure of 95, two of CLIP's 24 in a portrait. At 10 pixels, hardly more than a cell of the
# latents, 1,200 steps taught the base next to nothing of it; at 15, 170 steps taught it six times as much.
GLYPH_DIAMETER = 0.165
GLYPH_GROUND = 1.5  # diameters: of the bare patch under it, where markings would blur it
HAT, HAT_BAND, HAT_OUTLINE = (60, 58, 66), (240, 120, 40), (18, 16, 22)


class Palette:
    """The tones derived from a body colour."""

    def __init__(self, rgb):
        self.body = rgb
        self.outline = mix(rgb, (20, 15, 25), 0.70)
        self.belly = mix(rgb, (255, 255, 255), 0.6)
        # Markings go away from the body's own lightness, so that they show on white and on brown alike.
        luminance = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]  # ITU-R BT.601
        self.marking = mix(rgb, (15, 12, 30), 0.58) if luminance > 105 else mix(rgb, (255, 250, 225), 0.68)


class Figure:
    """A character on a skeleton, drawn part by part so that a pose can interleave the parts of two figures."""

    def __init__(self, canvas, owner, character, skeleton):
        self.canvas, self.owner, self.character, self.skeleton = canvas, owner, character, skeleton
        self.palette = Palette(character.rgb)
        self.outline = OUTLINE * skeleton.height
        self.eyes, self.nose, self.glyph_place = {}, (0.0, 0.0), None

    def draw(self, part):
        """Draw one of `PARTS` (without "prop")."""
        turn = [skia.Matrix().setRotate(self.skeleton.turn, *self.skeleton.base)] if self.skeleton.turn else []
        with self.canvas.owned_by(self.owner, PARTS[part]), self.canvas.transformed(*turn):
            if part in ("west_arm", "east_arm"):
                self._arm(EAST if part == "east_arm" else WEST)
            elif part in ("west_leg", "east_leg"):
                self._leg(EAST if part == "east_leg" else WEST)
            else:
                {"tail": self._tail, "torso": self._torso, "head": self._head}[part]()

    def _mark(self, area, center, radius_x, radius_y, spots, bands):
        """Spots or bands inside the path `area`, at places given in units of the two radii around `center`."""
        if self.character.marking == "plain":
            return
        (x, y), tone = center, self.palette.marking
        with self.canvas.clipped(area):
            if self.character.marking == "spotted":
                for dx, dy, size in spots:
                    radius = size * min(radius_x, radius_y)
                    self.canvas.fill(ellipse(x + dx * radius_x, y + dy * radius_y, radius, radius), tone)
            else:
                for dy, half in bands:
                    top, bottom = y + (dy - half) * radius_y, y + (dy + half) * radius_y
                    self.canvas.fill(rectangle(x - radius_x, top, x + radius_x, bottom), tone)

    def _arm(self, side):
        skeleton, scale = self.skeleton, self.skeleton.height
        shoulder, elbow, hand = (skeleton.pixel(name, side) for name in ("shoulder", "elbow", "hand"))
        paw = ellipse(*hand, PAW_RADIUS * scale, PAW_RADIUS * scale)
        pieces = [(polygon([shoulder, elbow, hand], closed=False), ARM_WIDTH * scale), (paw, 0.0)]
        self.canvas.union(pieces, self.palette.body, self.palette.outline, self.outline)
        if self.character.marking == "striped":
            for start, end, share in ((shoulder, elbow, 0.85), (elbow, hand, 0.4)):
                self._cuff(start, end, share)

    def _cuff(self, start, end, share):
        """A band across a limb, `share` of the way from `start` to `end`."""
        x, y = start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
        length = math.hypot(end[0] - start[0], end[1] - start[1]) or 1.0
        half = 0.42 * ARM_WIDTH * self.skeleton.height / length
        across = ((end[1] - start[1]) * half, -(end[0] - start[0]) * half)
        band = polygon([(x - across[0], y - across[1]), (x + across[0], y + across[1])], closed=False)
        self.canvas.stroke(band, self.palette.marking, 0.034 * self.skeleton.height)

    def _leg(self, side):
        skeleton, scale = self.skeleton, self.skeleton.height
        is_duck = self.character.species == "duck"
        color, outline = (DUCK_LEG, DUCK_LEG_OUTLINE) if is_duck else (self.palette.body, self.palette.outline)
        hip, knee, foot = (skeleton.pixel(name, side) for name in ("hip", "knee", "foot"))
        sole = ellipse(foot[0] + skeleton.yaw * 0.03 * scale, foot[1] + 0.005 * scale, 0.085 * scale, 0.052 * scale)
        width = (0.06 if is_duck else LEG_WIDTH) * scale
        pieces = [(polygon([hip, knee, foot], closed=False), width), (sole, 0.0)]
        self.canvas.union(pieces, color, outline, self.outline)

    def _torso(self):
        skeleton, scale, palette = self.skeleton, self.skeleton.height, self.palette
        bottom = skeleton.to_pixels((skeleton.joints["root"][0], skeleton.joints["root"][1] - 0.03))
        top = skeleton.pixel("neck")
        x, y = (bottom[0] + top[0]) / 2, (bottom[1] + top[1]) / 2
        half_height = math.hypot(top[0] - bottom[0], top[1] - bottom[1]) / 2 + 0.03 * scale
        half_width = (0.165 if self.character.species in ("bear", "elephant", "pig", "lion") else 0.15) * scale
        body = ellipse(x, y, half_width, half_height)
        self.canvas.shape(body, palette.body, palette.outline, self.outline)
        belly_x, belly_y = x + skeleton.yaw * 0.06 * scale, y + 0.03 * scale
        self.canvas.fill(ellipse(belly_x, belly_y, half_width * 0.62, half_height * 0.66), palette.belly)
        spots = ((-0.55, -0.25, 0.30), (0.55, 0.15, 0.30), (-0.2, 0.62, 0.28))
        self._mark(body, (x, y), half_width, half_height, spots, ((-0.15, 0.12), (0.35, 0.12), (0.8, 0.12)))
        if self.character.glyph is not None:
            self._glyph(body, belly_x, belly_y + 0.02 * scale)

    def _glyph(self, body, x, y):
        diameter = GLYPH_DIAMETER * self.skeleton.height
        self.glyph_place = (x, y)
        ground = GLYPH_GROUND * diameter / 2
        with self.canvas.clipped(body):
            self.canvas.fill(ellipse(x, y, ground, ground), self.palette.belly)
            self.canvas.fill(shape_path(self.character.glyph, x, y, diameter), self.palette.outline)

    def _head(self):
        skeleton, palette = self.skeleton, self.palette
        center, radius = skeleton.pixel("head"), head_radius(skeleton)
        species = self.character.species

        def mark(area):
            spots = ((-0.62, -0.48, 0.24), (0.18, -0.68, 0.24), (0.78, 0.12, 0.22), (-0.72, 0.42, 0.20))
            self._mark(area, center, radius * 1.15, radius, spots, ((-0.78, 0.12), (-0.46, 0.10), (0.82, 0.12)))

        self.eyes, self.nose = draw_head(
            self.canvas, species, palette, center, radius, skeleton.yaw, self.outline, mark, self.character.pupils
        )
        if skeleton.asleep:
            close_eyes(self.canvas, palette, self.eyes, radius, self.character.pupils)
        if self.character.accessory == "hat":
            self._hat(center, radius)
        elif self.character.accessory == "scarf":
            self._scarf()

    def _hat(self, center, radius):
        x, brim, outline = center[0], center[1] - 0.80 * radius, self.outline
        half = 0.50 * radius
        self.canvas.shape(ellipse(x, brim, 0.84 * radius, 0.15 * radius), HAT, HAT_OUTLINE, outline)
        crown = rectangle(x - half, brim - 0.66 * radius, x + half, brim + 0.03 * radius)
        self.canvas.shape(crown, HAT, HAT_OUTLINE, outline)
        self.canvas.fill(rectangle(x - half, brim - 0.26 * radius, x + half, brim - 0.02 * radius), HAT_BAND)

    def _scarf(self):
        skeleton, scale = self.skeleton, self.skeleton.height
        x, y = skeleton.to_pixels((skeleton.joints["neck"][0], skeleton.joints["neck"][1] - 0.045))
        side = 1 if skeleton.yaw >= 0 else -1
        # Beside a glyph, which follows the turned belly, the end hangs over the other shoulder and hides nothing.
        tail_x = x + (0.07 if self.character.glyph is None else -0.12) * side * scale
        end = polygon([(tail_x, y), (tail_x + 0.01 * scale, y + 0.19 * scale)], closed=False)
        self.canvas.union([(end, 0.10 * scale)], SCARF, SCARF_OUTLINE, self.outline)
        self.canvas.stroke(
            polygon(
                [(tail_x - 0.04 * scale, y + 0.17 * scale), (tail_x + 0.06 * scale, y + 0.17 * scale)], closed=False
            ),
            SCARF_LIGHT,
            0.035 * scale,
        )
        loop = skia.Path()
        loop.moveTo(x - 0.14 * scale, y - 0.015 * scale)
        loop.quadTo(x, y + 0.055 * scale, x + 0.14 * scale, y - 0.015 * scale)
        self.canvas.union([(loop, 0.095 * scale)], SCARF, SCARF_OUTLINE, self.outline)

    def _tail(self):
        skeleton, scale, palette = self.skeleton, self.skeleton.height, self.palette
        side = -1 if skeleton.yaw > 0.05 else 1
        root = skeleton.joints["root"]
        x, y = skeleton.to_pixels((root[0] + side * 0.10, root[1] + 0.06))
        species = self.character.species
        if species in ("cat", "lion"):
            path = skia.Path()
            path.moveTo(x, y)
            tip = (x + side * 0.19 * scale, y - 0.20 * scale)
            path.cubicTo(x + side * 0.20 * scale, y + 0.06 * scale, x + side * 0.10 * scale, y - 0.12 * scale, *tip)
            self.canvas.union([(path, 0.06 * scale)], palette.body, palette.outline, self.outline)
            if species == "lion":
                self.canvas.fill(ellipse(*tip, 0.065 * scale, 0.065 * scale), palette.outline)
        elif species == "rabbit":
            puff = ellipse(x + side * 0.06 * scale, y, 0.06 * scale, 0.06 * scale)
            self.canvas.shape(puff, (252, 250, 248), palette.outline, self.outline)
        elif species == "duck":
            points = [(-0.02, -0.05), (0.13, -0.07), (0.0, 0.06)]
            feathers = polygon([(x + side * dx * scale, y + dy * scale) for dx, dy in points])
            self.canvas.shape(feathers, palette.body, palette.outline, self.outline)
        elif species == "pig":
            curl = ellipse(x + side * 0.075 * scale, y - 0.01 * scale, 0.05 * scale, 0.05 * scale)
            self.canvas.stroke(curl, palette.outline, 0.04 * scale + 1.4 * self.outline)
            self.canvas.stroke(curl, palette.body, 0.04 * scale)


ALL_PARTS = ("tail", "west_leg", "east_leg", "torso", "west_arm", "east_arm", "head")
