"""The articulated figure: joints in body units, the chibi proportions, and its 17 keypoints in AP-10K order.

Body units: the origin is the ground between the feet, x to the image's right, y up, 1.0 the height of a figure without
ears. Sides are the image's (WEST, EAST); a figure that faces the viewer has its own left hand in the EAST.
"""

import math
from dataclasses import dataclass, field

WEST, EAST = -1, 1
SIDES = (WEST, EAST)

# Proportions of the second feasibility study, where species were readable after 16k views (head 47 % of the height).
HEAD_RADIUS = 0.235
ARM_BONE = 0.185
ROOT_HEIGHT, NECK_HEIGHT, HEAD_HEIGHT = 0.17, 0.47, 0.70

# AP-10K's order; "left" is the animal's own left, which a figure facing the viewer has in the EAST.
KEYPOINT_NAMES = (
    "left_eye", "right_eye", "nose", "neck", "root_of_tail",
    "left_shoulder", "left_elbow", "left_front_paw", "right_shoulder", "right_elbow", "right_front_paw",
    "left_hip", "left_knee", "left_back_paw", "right_hip", "right_knee", "right_back_paw",
)  # fmt: skip

# Numbers that the canvas stores per pixel.
PARTS = {"tail": 1, "west_leg": 2, "east_leg": 3, "torso": 4, "west_arm": 5, "east_arm": 6, "head": 7, "prop": 8}


def _arm_part(side):
    return "west_arm" if side == WEST else "east_arm"


def _leg_part(side):
    return "west_leg" if side == WEST else "east_leg"


@dataclass
class Skeleton:
    """Joints of one figure.

    Attributes:
        base: ground point in pixels. height: pixels per body unit. yaw: -1 faces left, 0 the viewer, 1 right.
        joints: name or (name, side) -> (x, y) in body units.
        turn: degrees, clockwise, by which the whole drawn figure is turned around `base`; pixels of joints are those
            before the turn, and `seen` gives those after it.
        asleep: whether its eyes are closed.
    """

    base: tuple[float, float]
    height: float
    yaw: float
    joints: dict = field(default_factory=dict)
    turn: float = 0.0
    asleep: bool = False

    def to_pixels(self, point):
        return self.base[0] + point[0] * self.height, self.base[1] - point[1] * self.height

    def from_pixels(self, point):
        return (point[0] - self.base[0]) / self.height, (self.base[1] - point[1]) / self.height

    def pixel(self, *joint):
        """Pixel place of a joint: `pixel("neck")`, `pixel("hand", EAST)`."""
        return self.to_pixels(self.joints[joint if len(joint) > 1 else joint[0]])

    def seen(self, pixels):
        """Where a place of the unturned figure, (x, y) in pixels, lies in the picture."""
        if not self.turn:
            return pixels
        cosine, sine = math.cos(math.radians(self.turn)), math.sin(math.radians(self.turn))
        dx, dy = pixels[0] - self.base[0], pixels[1] - self.base[1]
        return self.base[0] + dx * cosine - dy * sine, self.base[1] + dx * sine + dy * cosine

    def bend_arm(self, side, hand):
        """Put a hand at `hand` (body units), or as near as the two bones reach; the elbow bends outwards and down."""
        shoulder = self.joints[("shoulder", side)]
        elbow, reached = _two_bones(shoulder, hand, ARM_BONE, side)
        self.joints[("elbow", side)], self.joints[("hand", side)] = elbow, reached


def _two_bones(start, target, bone, side):
    """Elbow and end point of two bones of equal length from `start` towards `target`."""
    dx, dy = target[0] - start[0], target[1] - start[1]
    distance = math.hypot(dx, dy)
    reach = min(max(distance, 0.02), 2 * bone * 0.999)
    ux, uy = (dx / distance, dy / distance) if distance else (0.0, -1.0)
    offset = math.sqrt(bone**2 - (reach / 2) ** 2)
    middle = (start[0] + ux * reach / 2, start[1] + uy * reach / 2)
    bends = [(middle[0] - uy * offset, middle[1] + ux * offset), (middle[0] + uy * offset, middle[1] - ux * offset)]
    elbow = max(bends, key=lambda point: side * point[0] - point[1])
    return elbow, (start[0] + ux * reach, start[1] + uy * reach)


def make_skeleton(rng, base, height, yaw, lean=0.0, head_shift=0.0, jitter=0.012):
    """A standing figure with hanging arms.

    Args:
        rng: source of randomness. base: ground point, pixels. height: pixels. yaw: see Skeleton.
        lean: horizontal shift of the neck against the hips; head_shift: of the head against the neck; body units.
        jitter: half-width of the uniform noise on joints, body units.
    """

    def noise():
        return rng.uniform(-jitter, jitter)

    root = (noise(), ROOT_HEIGHT)
    neck = (root[0] + lean, NECK_HEIGHT)
    head = (neck[0] + lean * 0.5 + head_shift, HEAD_HEIGHT + noise())
    skeleton = Skeleton(base, height, yaw, {"root": root, "neck": neck, "head": head})
    shoulder_half, hip_half = 0.12 * (1 - 0.35 * abs(yaw)), 0.075 * (1 - 0.3 * abs(yaw))  # a turned body is narrower
    for side in SIDES:
        shoulder = (neck[0] + side * shoulder_half, neck[1] - 0.055)
        hip = (root[0] + side * hip_half, root[1])
        foot = (hip[0] + side * 0.015 + noise() * 0.5, 0.045)
        hand = (shoulder[0] + side * 0.10 + noise(), shoulder[1] - 0.20 + noise())
        elbow = ((shoulder[0] + hand[0]) / 2 + side * 0.02, (shoulder[1] + hand[1]) / 2)
        limbs = {"shoulder": shoulder, "elbow": elbow, "hand": hand, "hip": hip, "foot": foot}
        limbs["knee"] = ((hip[0] + foot[0]) / 2, (hip[1] + foot[1]) / 2)
        skeleton.joints.update({(name, side): place for name, place in limbs.items()})
    return skeleton


def keypoint_places(skeleton, eyes, nose):
    """The 17 keypoints of a figure.

    Args:
        eyes: {side: (x, y)} and nose: (x, y), pixels, from the head's drawing.
    Returns:
        list of 17 (x, y, parts): pixels before the figure's turn, and the names of the parts that may show the
        keypoint without hiding it.
    """
    tail_side = -1 if skeleton.yaw > 0.05 else 1
    root = skeleton.joints["root"]
    places = [(*eyes[EAST], {"head"}), (*eyes[WEST], {"head"}), (*nose, {"head"})]
    places.append((*skeleton.pixel("neck"), {"head", "torso"}))
    places.append((*skeleton.to_pixels((root[0] + tail_side * 0.05, root[1] + 0.02)), {"torso", "tail"}))
    for side in (EAST, WEST):
        arm = _arm_part(side)
        places.append((*skeleton.pixel("shoulder", side), {"torso", arm}))
        places += [(*skeleton.pixel(name, side), {arm}) for name in ("elbow", "hand")]
    for side in (EAST, WEST):
        leg = _leg_part(side)
        places.append((*skeleton.pixel("hip", side), {"torso", leg}))
        places += [(*skeleton.pixel("knee", side), {leg, "torso"}), (*skeleton.pixel("foot", side), {leg})]
    return places
