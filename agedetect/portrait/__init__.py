"""One drawn face: Pillow and NumPy only, seeded, with its age in several honest cues."""

from agedetect.portrait.face import draw_face

__all__ = ["draw_face"]
