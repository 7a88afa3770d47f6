import numpy as np

from ssd.visualization.drawing import mosaic

RED, GREEN, BLUE = [200, 0, 0], [0, 200, 0], [0, 0, 200]


def plain(height: int, width: int, color: list[int]) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def test_rows_columns_and_gaps_by_hand() -> None:
    sheet = mosaic([plain(10, 20, RED), plain(14, 30, GREEN), plain(6, 20, BLUE)], columns=2)
    assert sheet.shape == (8 + 14 + 8 + 6 + 8, 8 + 20 + 8 + 30 + 8, 3)
    assert sheet.dtype == np.uint8
    assert (sheet[8:18, 8:28] == RED).all()
    assert (sheet[8:22, 36:66] == GREEN).all()
    assert (sheet[30:36, 8:28] == BLUE).all()
    assert (sheet != 255).any(axis=-1).sum() == 10 * 20 + 14 * 30 + 6 * 20


def test_narrow_pictures_and_narrow_sheets() -> None:
    sheet = mosaic([plain(4, 20, RED), plain(4, 10, BLUE)], columns=1)
    assert (sheet[20:24, 8 + 5 : 8 + 15] == BLUE).all()
    assert mosaic([plain(4, 4, RED)], columns=5).shape == (20, 20, 3)


def test_captions_stay_in_their_column() -> None:
    pictures = [plain(40, 60, RED), plain(40, 60, GREEN)]
    below = mosaic(pictures, 2, ["a very long name of a file.jpg", "b"])[48:]
    ink = (below < 128).any(axis=(0, 2))
    assert ink[8:68].any()
    assert not ink[68:76].any()
    assert ink[76:136].any()
    assert below.shape[0] > 8 + 15
