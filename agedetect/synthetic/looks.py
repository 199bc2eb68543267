"""What a person looks like: every measure of a face, sampled from age, gender and group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agedetect.synthetic.pen import Colour

# From light to dark; the ranges overlap, as they do in life.
_SKIN = (
    ((248, 218, 198), (222, 174, 144)),
    ((168, 116, 84), (102, 68, 50)),
    ((246, 216, 190), (212, 168, 132)),
    ((206, 154, 110), (140, 96, 66)),
    ((236, 194, 156), (158, 112, 80)),
)
_BLOND, _RED, _LIGHT, _BROWN, _DARK, _BLACK = (
    (220, 182, 112),
    (172, 84, 44),
    (156, 110, 70),
    (104, 68, 44),
    (62, 42, 32),
    (34, 28, 28),
)
_HAIR = (
    (_BLOND, _RED, _LIGHT, _BROWN, _BROWN, _DARK),
    (_BLACK, _BLACK, _DARK, _DARK),
    (_BLACK, _BLACK, _DARK, _BROWN),
    (_BLACK, _BLACK, _DARK),
    (_BLACK, _DARK, _BROWN, _LIGHT),
)
_IRIS = ((92, 62, 40), (70, 46, 32), (88, 122, 150), (96, 124, 84), (120, 92, 56))


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Lengths are px of a 200 px chip, x from the midline; `youth`, `wear` and the like are shares, 0 to about 1."""

    gender: int
    youth: float  # of the proportions: 1 a newborn's, 0 an adult's
    wear: float  # of wrinkles and sagging
    blemish: float  # of the skin: spots, blotches, roughness
    bald: float
    hair_growth: float  # a baby's hair comes in
    beard: float  # how much of it: 0 none or shaved
    has_milk_teeth: bool

    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour

    eye_y: float
    eye_x: float
    eye_rx: float
    eye_ry: float
    iris_r: float
    nose_y: float
    nose_w: float
    mouth_y: float
    mouth_w: float
    lip_h: float
    smile: float
    top_y: float
    hairline_y: float
    temple_w: float
    cheek_w: float
    jaw_w: float
    chin_w: float
    chin_y: float
    brow_h: float


def sample_looks(age: int, gender: int, race: int, rng: np.random.Generator) -> Looks:
    """A person of that age. People age unevenly: each cue shows an age of its own, off by a tenth or so."""
    pace = rng.lognormal(0.0, 0.05)
    body, skin_age, spot_age, hair_age = (age * pace * rng.lognormal(0.0, s) for s in (0.07, 0.07, 0.12, 0.12))
    youth = 0.6 * float(np.exp(-body / 6)) + 0.4 * max(0.0, 1 - body / 24)
    wear = float(np.clip((skin_age - 20) / 68, 0, 1.15))
    male = 1.0 - gender
    grey = float(1 / (1 + np.exp((51 - hair_age) / 7.5))) * (rng.random() > 0.15)
    loss = max(0.0, (hair_age - 20) / 60) * (rng.beta(1.3, 1.3) * 1.25 if gender == 0 else 0.28)
    skin = _skin_colour(race, youth, wear, rng)
    grown = body > 18 and gender == 0 and rng.random() < 0.42
    return Looks(
        gender=gender,
        youth=youth,
        wear=wear,
        blemish=float(np.clip((spot_age - 28) / 60, 0, 1.1)),
        bald=float(np.clip(loss, 0, 1)),
        hair_growth=float(np.clip(0.25 + hair_age / 3.5, 0, 1)),
        beard=float(rng.uniform(0.25, 1)) if grown else 0.0,
        has_milk_teeth=age < 3,
        skin=skin,
        hair=_hair_colour(race, grey, rng),
        iris=np.array(_IRIS[rng.integers(len(_IRIS)) if race in (0, 4) else rng.integers(2)], float),
        lips=skin * (0.86, 0.62, 0.62) * (1 + 0.04 * rng.standard_normal(3)) + (22 * gender * min(1, body / 18), 0, 4),
        **_measures(youth, wear, male, rng),
    )


def _measures(youth: float, wear: float, male: float, rng: np.random.Generator) -> dict[str, float]:
    j = iter(rng.standard_normal(20) * 0.035 + 1)  # no two faces have the same proportions
    eye_y = 58 + 17 * youth
    mouth_y = eye_y + (78 - 19 * youth) * next(j)
    return {
        "eye_y": eye_y,
        "eye_x": (38.5 - 1.0 * youth) * next(j),
        "eye_rx": (15.5 + 5.0 * youth) * next(j),
        "eye_ry": (9.3 + 5.6 * youth - 3.6 * wear) * next(j),
        "iris_r": (8.0 + 4.0 * youth - 0.9 * wear) * next(j),
        "nose_y": eye_y + (45 - 16 * youth + 5 * wear) * next(j),
        "nose_w": (14 + 2 * male - 5 * youth + 3.5 * wear) * next(j),
        "mouth_y": mouth_y,
        "mouth_w": (30 - 11 * youth) * next(j),
        "lip_h": (8.4 - 1.2 * male - 1.6 * youth - 5.4 * wear) * next(j) * next(j),
        "smile": float(rng.uniform(0.15, 1.15)),
        "top_y": -8 - 3 * youth,
        "hairline_y": eye_y - (40 + 14 * youth) * next(j),
        "temple_w": (76 + 9 * youth - 3 * wear) * next(j),
        "cheek_w": (69 + 2 * male + 15 * youth - 4 * wear) * next(j),
        "jaw_w": (48 + 6 * male + 9 * youth + 4 * wear) * next(j),
        "chin_w": (19 + 6 * male + 9 * youth) * next(j),
        "chin_y": mouth_y + (48 + 3 * male - 15 * youth) * next(j),
        "brow_h": (4.6 + 2.0 * male - 1.2 * youth - 2.0 * wear) * next(j) * next(j) * next(j),
    }


def _skin_colour(race: int, youth: float, wear: float, rng: np.random.Generator) -> Colour:
    light, dark = np.array(_SKIN[race], dtype=np.float64)
    skin = light + (dark - light) * rng.random() + rng.normal(0, 3, 3)
    pale = skin * 0.8 + skin.mean() * 0.2 + (6.0, 5.0, 0.0)
    aged: Colour = skin + (pale - skin) * 0.6 * min(wear, 1) + youth * np.array((5.0, -2.0, 0.0))
    return aged


def _hair_colour(race: int, grey: float, rng: np.random.Generator) -> Colour:
    choices = _HAIR[race]
    natural = np.array(choices[rng.integers(len(choices))], dtype=np.float64) * rng.uniform(0.85, 1.15)
    silver = rng.uniform(165, 238) * np.array((1.0, 1.0, 1.01))
    return natural + (silver - natural) * grey
