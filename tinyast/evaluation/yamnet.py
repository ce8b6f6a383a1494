"""YAMNet beside the model: AudioSet's classes mapped to ESC-50's kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr

from tinyast.audio.decoding import read_file
from tinyast.errors import DataError
from tinyast.evaluation.wild import Answer, Hear

RATE, PATCH, HOP = 16_000, 15_600, 7_800
"""Hz, and samples of a window and from one to the next (0.975 and 0.4875 s)."""
CLASSES = {
    "airplane": (329, 330, 331, 332, 334),
    "breathing": (36, 37, 39, 40),
    "brushing_teeth": (369, 370),
    "can_opening": (),
    "car_horn": (302, 303, 312),
    "cat": (76, 77, 78, 80),
    "chainsaw": (341,),
    "chirping_birds": (106, 107, 108),
    "church_bells": (195, 196, 202),
    "clapping": (56, 58, 62),
    "clock_alarm": (382, 389, 392),
    "clock_tick": (400, 401, 402),
    "coughing": (42, 43),
    "cow": (85, 86),
    "crackling_fire": (292, 293),
    "crickets": (122,),
    "crow": (112, 113),
    "crying_baby": (19, 20, 21),
    "dog": (69, 70, 71, 73, 75),
    "door_wood_creaks": (355, 480),
    "door_wood_knock": (353, 354),
    "drinking_sipping": (51,),
    "engine": (337, 338, 342, 343, 344, 345, 346, 347),
    "fireworks": (426, 427),
    "footsteps": (46, 47, 48),
    "frog": (127, 128),
    "glass_breaking": (435, 437),
    "hand_saw": (415, 416),
    "helicopter": (333,),
    "hen": (93, 95),
    "insects": (121, 123, 124, 125, 126),
    "keyboard_typing": (378, 379, 380),
    "laughing": (13, 14, 15, 16, 17, 18),
    "mouse_click": (485,),
    "pig": (88, 89),
    "pouring_water": (443, 444, 446),
    "rain": (283, 284, 285),
    "rooster": (94, 96),
    "sea_waves": (288, 289),
    "sheep": (90, 91, 92),
    "siren": (316, 317, 318, 319, 390, 391),
    "sneezing": (44,),
    "snoring": (38,),
    "thunderstorm": (280, 281),
    "toilet_flush": (368,),
    "train": (322, 323, 324, 325, 326, 327, 328, 486),
    "vacuum_cleaner": (371,),
    "washing_machine": (),
    "water_drops": (442,),
    "wind": (277, 279),
}
"""For each kind its classes, as numbers in YAMNet's class map; kinds without any score 0."""


def yamnet(model: Path, labels: Sequence[str]) -> Hear:
    """Hear whole files with the .tflite file `model`: each kind has its best class's mean.

    Raises DataError if the file or the package that runs it is missing, or `labels` are others.
    """
    unknown = sorted(set(labels) - set(CLASSES))
    if unknown:
        raise DataError(f"YAMNet has no classes for {', '.join(unknown)}")
    if not model.is_file():
        raise DataError(f"{model}: there is no such file for --yamnet")
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError as error:
        raise DataError("--yamnet needs the extra `peers`: pip install -e '.[peers]'") from error
    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = interpreter.get_output_details()[0]["index"]

    def hear(path: Path) -> Answer:
        samples, rate = read_file(path)
        heard = soxr.resample(samples, rate, RATE)
        heard = np.pad(heard, (0, max(0, PATCH - len(heard))))
        rows = []
        for start in range(0, len(heard) - PATCH + 1, HOP):
            interpreter.set_tensor(into, heard[start : start + PATCH].astype(np.float32))
            interpreter.invoke()
            rows.append(interpreter.get_tensor(out)[0])
        mean = np.mean(rows, axis=0)
        scores = [max((mean[at] for at in CLASSES[label]), default=0.0) for label in labels]
        return Answer(np.array(scores, dtype=np.float32), unknown=False)

    return hear
