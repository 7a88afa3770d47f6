from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd.inference.detections import Detections
from ssd.inference.output_names import OutputNames
from ssd.inference.sources import VideoInfo
from tests.inference.samples import make_detections


def of_file(path: str | Path) -> Detections:
    return make_detections(name=str(path), path=Path(path))


def make_video(name: str) -> VideoInfo:
    return VideoInfo(name, 25, 10, (64, 48))


def test_images_keep_their_names_and_further_folders_become_subfolders() -> None:
    names = OutputNames()
    files = ["a/x/1 ä.JPG", "b/x/1.jpg", "c/x/1.jpg", "b/x/2.jpg", "d/X/1.jpg", "a/x/2.png"]
    pictures = [names.picture(of_file(file)).as_posix() for file in files]
    assert pictures == ["1 ä.JPG", "x/1.jpg", "x_2/1.jpg", "x/2.jpg", "X_3/1.jpg", "2.png"]
    assert ".." not in names.picture(of_file("../2.png")).parts


def test_texts_keep_the_suffix_where_a_stem_is_shared_or_reserved(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.PNG", "b.jpg", "b.txt", "c.jpg", "c.jpg.png"):
        (tmp_path / name).touch()
    names = OutputNames(reserved="classes")
    files = [path for path in sorted(tmp_path.iterdir()) if path.suffix != ".txt"] + [tmp_path / "Classes.jpg"]
    texts = [str(names.text(of_file(path))) for path in files]
    assert texts == ["a.PNG.txt", "a.jpg.txt", "b.txt", "c.txt", "c.jpg.png.txt", "Classes.jpg.txt"]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://host.org/shop/street.jpg?signature=abc/def", "street.jpg"),
        ("https://host.org/image?id=7&size=large", "image.jpg"),
        ("https://host.org/a:b*.png", "a_b_.png"),
        ("https://host.org/" + 300 * "x" + ".png", 56 * "x" + ".png"),
        ("https://user:secret@host.org/a%20b.png#top", "a b.png"),
        ("https://host.org/", "image.jpg"),
        ("https://host.org/../1.jpg", "1.jpg"),
        ("image 3", "image 3.jpg"),
        ("../../etc/passwd", "passwd.jpg"),
        ("..\\..\\evil.png", "evil.png"),
        ("https://host.org/street.svg", "street.svg.jpg"),
    ],
)
def test_addresses_and_arrays(address: str, name: str) -> None:
    assert OutputNames().picture(make_detections(name=address)) == Path(name)


def test_images_without_a_file_stay_apart() -> None:
    names = OutputNames()
    names.picture(of_file("a/1.png"))
    addresses = [f"https://host.org/{number}/1.png?key=2" for number in range(3)]
    pictures = [names.picture(make_detections(name=name)).as_posix() for name in (*addresses, "image 0", "image 0")]
    assert pictures == [f"images/{name}" for name in ("1.png", "1_2.png", "1_3.png", "image 0.jpg", "image 0_2.jpg")]


def test_videos() -> None:
    expected = {"films/a b.MOV": "a b.mp4", "camera 0": "camera 0.mp4"}
    expected["rtsp://user:secret@10.0.0.7:554/stream1"] = "stream1.mp4"
    expected["rtsp://user:secret@10.0.0.7:554"] = "video.mp4"
    assert {video: str(OutputNames().video(make_video(video))) for video in expected} == expected
    names = OutputNames()
    videos = ["a/street.mp4", "b/street.mp4", "a/street.avi", "a/street.mp4"]
    found = [str(names.video(make_video(video))) for video in videos]
    assert found == ["street.mp4", "street_2.mp4", "street_3.mp4", "street.mp4"]
    frame = make_detections(name="b/street.mp4, frame 17", index=17, video=make_video("b/street.mp4"))
    assert names.text(frame) == Path("street_2/000017.txt")


FOLDERS, FILES = st.sampled_from(["a", "b", "c/a", "B", "a_2", ""]), st.sampled_from(["1.jpg", "1.png", "2.jpg"])


@given(st.lists(st.tuples(FOLDERS, FILES), unique=True))
def test_names_are_unique(files: list[tuple[str, str]]) -> None:
    names = OutputNames()
    pictures = {str(names.picture(of_file(Path(*file)))).casefold() for file in files}
    assert len(pictures) == len(files)
