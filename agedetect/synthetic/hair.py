"""Hair on the head and on the chin, and things worn there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agedetect.synthetic.looks import Looks
from agedetect.synthetic.pen import Colour, Pen, Points, arcs, rounded

_HAIRLESS = 0.72  # of `bald`: from here on only the sides are left


@dataclass(frozen=True, kw_only=True)
class Hairstyle:
    """`length` 0 short, 1 to the chin, 2 over the shoulders; `parting` is where, -1 to 1."""

    length: int
    is_curly: bool
    has_fringe: bool
    has_bun: bool
    parting: float
    volume: float  # px beyond the skull
    beanie: Colour | None
    beard: int  # 0 stubble, 1 full, 2 moustache, 3 goatee


def sample_hairstyle(gender: int, race: int, rng: np.random.Generator) -> Hairstyle:
    """Shape follows gender and group only, never age."""
    length = int(rng.choice(3, p=(0.84, 0.12, 0.04) if gender == 0 else (0.18, 0.34, 0.48)))
    return Hairstyle(
        length=length,
        is_curly=bool(rng.random() < (0.18, 0.7, 0.06, 0.2, 0.3)[race]),
        has_fringe=bool(rng.random() < 0.35),
        has_bun=bool(gender == 1 and length < 2 and rng.random() < 0.3),
        parting=float(rng.uniform(-0.6, 0.6)),
        volume=float(rng.uniform(4, 12)),
        beanie=rng.uniform(40, 225, 3) if rng.random() < 0.1 else None,
        beard=int(rng.integers(4)),
    )


def draw_back_hair(pen: Pen, looks: Looks, style: Hairstyle) -> None:
    """What lies behind the head and the neck: drawn before them."""
    if style.length and looks.hair_growth > 0.9 and looks.bald <= _HAIRLESS:
        w, low = looks.temple_w + style.volume + 4, looks.chin_y - 12 if style.length == 1 else 215.0
        half = [(0.6 * w, looks.top_y), (w, looks.eye_y - 20), (w + 4, looks.mouth_y), (w * 0.9, low), (0.3 * w, low)]
        pen.fill(rounded(half + [(-x, y) for x, y in half[::-1]]), looks.hair * 0.72)
    if style.has_bun and looks.hair_growth > 0.9:
        pen.oval(0, looks.top_y - 6, 27, 22, looks.hair * 0.85)


def draw_hair(pen: Pen, looks: Looks, style: Hairstyle, rng: np.random.Generator) -> None:
    """The hair around the face, or what is left of it, or the hat over it."""
    if looks.bald > _HAIRLESS:
        _draw_sides(pen, looks, style)
    else:
        _draw_cap(pen, looks, style, rng)
        if style.length and looks.hair_growth > 0.9:
            _draw_locks(pen, looks, style)
    if style.beanie is not None:
        _draw_beanie(pen, looks, style.beanie)


def _outer(looks: Looks, volume: float, start: float, stop: float, count: int) -> Points:
    """Points of the hair's outer edge from angle `start` to `stop`: 0 the right ear, pi / 2 the crown."""
    angle = np.linspace(start, stop, count)
    rx, ry = looks.temple_w + volume * 0.8, looks.eye_y - looks.top_y + volume
    return np.stack([rx * np.cos(angle), looks.eye_y - ry * np.sin(angle)], axis=1)


def _hairline(looks: Looks, style: Hairstyle) -> Points:
    """From the left temple to the right one; it climbs at the corners first when hair is lost."""
    w, y = looks.temple_w, looks.hairline_y
    x = np.array((-1.0, -0.9, -0.66, -0.33, 0.0, 0.33, 0.66, 0.9, 1.0))
    rise = np.array((0, 0.1, 1.0, 0.75, 0.45, 0.75, 1.0, 0.1, 0)) * 34 * looks.bald
    base = np.array(
        (looks.eye_y + 8, looks.eye_y - 14, y + 9, y + 2, y, y + 2, y + 9, looks.eye_y - 14, looks.eye_y + 8)
    )
    if style.has_fringe and looks.hair_growth > 0.9:
        base[2:7] += 13
    else:
        base[2:7] -= 9 * np.exp(-(((x[2:7] - style.parting) / 0.3) ** 2))
    return np.stack([x * (w - 1), np.maximum(base - rise, looks.top_y + 3)], axis=1)


def _draw_cap(pen: Pen, looks: Looks, style: Hairstyle, rng: np.random.Generator) -> None:
    grown = looks.hair_growth
    volume = style.volume * (0.15 + 0.85 * grown) * (1 - 0.7 * looks.bald)
    edge = _outer(looks, volume, -0.12, np.pi + 0.12, 13)
    line = _hairline(looks, style)
    opacity = 0.3 + 0.7 * grown - 0.35 * looks.bald
    pen.fill(rounded(np.concatenate([edge, line])), looks.hair, opacity)
    if style.is_curly and grown > 0.5:
        for x, y in _outer(looks, volume, -0.05, np.pi + 0.05, 17):
            pen.oval(x, y, 10.5, 10.5, looks.hair, opacity)
    along = np.linspace(0.8, 7.2, 17)
    roots = np.stack([np.interp(along, np.arange(9), line[:, i]) for i in (0, 1)], axis=1)
    tips = _outer(looks, volume * 0.7, np.pi - 0.25, 0.25, 17) * (0.94, 1.0)
    bend = rng.normal(0, 3, (17, 1)) - 4
    strands = arcs(np.concatenate([roots - (0, 1), tips + rng.normal(0, 3, (17, 2)), bend], axis=1))
    pen.strokes(strands[::2], 2.6, looks.hair * 0.72, 0.4 * opacity)
    pen.strokes(strands[1::2], 2.4, looks.hair * 1.15 + 14, 0.4 * opacity)
    if grown < 0.9:
        curl = [(s, looks.top_y + 2, s * 3, looks.top_y - 9, -3.0) for s in (-2.0, 1.0, 4.0)]
        pen.strokes(arcs(curl), 2.4, looks.hair, 0.75)


def _draw_sides(pen: Pen, looks: Looks, style: Hairstyle) -> None:
    w, y = looks.temple_w, looks.eye_y
    for s in (-1, 1):
        patch = [(s * (w - 3), y + 12), (s * (w - 8), y - 6), (s * (w - 17), y - 26), (s * (w - 9), y - 38)]
        puff = w + 3 + 0.8 * style.volume
        pen.fill(
            rounded([*patch, (s * (puff - 4), y - 24), (s * puff, y - 4), (s * (w + 5), y + 14)]), looks.hair, 0.92
        )
        flow = [(s * (w - d), y - 32 + d, s * (w + 6 - d), y + 8, 0.0) for d in (2.0, 7.0)]
        pen.strokes(arcs(flow), 2.2, looks.hair * 0.78, 0.4)


def _draw_locks(pen: Pen, looks: Looks, style: Hairstyle) -> None:
    w, y = looks.temple_w, looks.eye_y
    low = looks.chin_y - 14 if style.length == 1 else 210.0
    for s in (-1, 1):
        lock = [(s * (w - 13), y - 34), (s * (w - 3), y + 6), (s * (w - 4), looks.mouth_y), (s * (w - 10), low)]
        lock += [(s * (w + 12), low), (s * (w + style.volume + 7), looks.mouth_y), (s * (w + style.volume), y - 16)]
        pen.fill(rounded(lock), looks.hair * 0.94)
        flow = [(s * (w + d), y - 10, s * (w + d), low - 6, 0.0) for d in (1.0, 6.0)]
        pen.strokes(arcs(flow), 2.4, looks.hair * 1.12 + 14, 0.4)


def _draw_beanie(pen: Pen, looks: Looks, colour: Colour) -> None:
    dome = _outer(looks, 10, 0.3, np.pi - 0.3, 13)
    y = looks.eye_y - 27
    band = arcs([(-looks.temple_w - 6, y, looks.temple_w + 6, y, -5.0)])[0]
    pen.fill(np.concatenate([dome, band]), colour)
    pen.fill(np.concatenate([band, (band - (0, 15))[::-1]]), colour * 0.78)
    pen.oval(0, looks.top_y - 14, 13, 12, colour * 0.6 + 90)


def draw_beard(pen: Pen, looks: Looks, style: Hairstyle, outline: Points) -> None:
    """Before the mouth, so that the lips stay on top."""
    if not looks.beard:
        return
    w, y = looks.mouth_w, looks.mouth_y
    colour = looks.hair * 0.88
    if style.beard in (0, 1):
        jaw = outline[outline[:, 1] > y - 22]
        start = int(np.argmax(jaw[:, 0]))
        jaw = np.roll(jaw, -start, axis=0)
        inner = [(-0.86 * looks.cheek_w, y - 8), (-w - 6, y - 7), (0, looks.nose_y + 9), (w + 6, y - 7)]
        pen.fill(np.concatenate([jaw, inner]), colour, 0.26 if style.beard == 0 else 0.55 + 0.4 * looks.beard)
    if style.beard >= 2:
        tache = arcs([(-w - 1, y - 2, w + 1, y - 2, -9.0), (w + 1, y - 2, -w - 1, y - 2, -2.5)]).reshape(-1, 2)
        pen.fill(tache - (0, 1), colour, 0.5 + 0.45 * looks.beard)
    if style.beard == 3:
        pen.fill(
            rounded([(-w * 0.55, y + 10), (w * 0.55, y + 10), (w * 0.45, looks.chin_y), (-w * 0.45, looks.chin_y)]),
            colour,
            0.85,
        )


def draw_glasses(pen: Pen, looks: Looks, colour: Colour, squareness: float) -> None:
    """Frames; `squareness` 0 round to 1 rectangular."""
    angle = np.linspace(0, 2 * np.pi, 33)
    power = 1 - 0.55 * squareness
    rx, ry = looks.eye_rx + 8, looks.eye_rx + 6 - 4 * squareness
    ring = np.stack(
        [np.sign(c := np.cos(angle)) * np.abs(c) ** power, np.sign(s := np.sin(angle)) * np.abs(s) ** power], 1
    )
    for side in (-1, 1):
        centre = np.array((side * looks.eye_x, looks.eye_y + 1))
        pen.fill(ring * (rx, ry) + centre, (235, 245, 250), 0.12)
        rim = np.concatenate([ring * (rx + 1.4, ry + 1.4), ring[::-1] * (rx - 1.4, ry - 1.4)])
        pen.fill(rim + centre, colour)
        arm = [(side * (looks.eye_x + rx), looks.eye_y - 3, side * (looks.temple_w + 3), looks.eye_y - 6, 0.0)]
        pen.strokes(arcs(arm), 3.2, colour)
    pen.strokes(arcs([(-looks.eye_x + rx, looks.eye_y, looks.eye_x - rx, looks.eye_y, -3.0)]), 3.4, colour)
