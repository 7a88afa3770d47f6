import json
import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd.inference.detections import Detections
from ssd.inference.saving import Outputs, Summary, refuse_source_folders
from ssd.inference.saving.drawn import DrawnFolder
from ssd.inference.saving.json_file import JsonFile
from ssd.inference.saving.names import OutputNames
from ssd.inference.saving.txt import TxtFolder, yolo_lines
from ssd.inference.sources import VideoInfo
from ssd.utils.errors import ImageError, OutputError
from ssd.utils.image import read_image

NAMES = ("__background__", "cat", "dog", "snow leopard")
CAMERA = VideoInfo("camera 0", 0.0, None, (64, 48))


def make_detections(
    objects: Iterable[tuple[list[float], int, float]] = (),
    *,
    name: str = "image",
    path: Path | None = None,
    index: int = 0,
    video: VideoInfo | None = None,
    size: tuple[int, int] = (64, 48),
) -> Detections:
    """Detections in a grey image, from (box, label, score)."""
    boxes, labels, scores = zip(*objects, strict=True) if objects else ((), (), ())
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float32),
        class_names=NAMES,
        orig_size=size,
        name=str(path) if path else name,
        path=path,
        index=index,
        video=video,
        pixels=np.full((size[1], size[0], 3), 128, np.uint8),
    )


def of_file(path: str) -> Detections:
    return make_detections(path=Path(path))


def of_name(name: str) -> Detections:
    return make_detections(name=name)


def of_video(name: str, index: int = 0, frame_rate: float = 10.0) -> Detections:
    video = VideoInfo(name, frame_rate, None, (64, 48))
    return make_detections(name=f"{name}, frame {index}", video=video, index=index)


CAT = ([8, 12, 40, 36], 1, 0.75)
DOG = ([16, 12, 32, 24], 2, 0.5)


class TestNames:
    def test_images_keep_their_names(self) -> None:
        names = OutputNames()
        assert names.picture(of_file("street/a b.JPG")) == Path("a b.JPG")
        assert names.picture(of_file("street/ä.png")) == Path("ä.png")
        assert names.text(of_file("street/ä.png")) == Path("ä.txt")

    def test_further_folders_become_subfolders(self) -> None:
        names = OutputNames()
        pictures = [names.picture(of_file(f"{folder}/1.jpg")) for folder in ("a/x", "b/x", "c/x", "b/x", "d/X", "a/x")]
        assert pictures == [Path(name) for name in ("1.jpg", "x/1.jpg", "x_2/1.jpg", "x/1.jpg", "X_3/1.jpg", "1.jpg")]

    def test_images_that_share_a_stem(self, tmp_path: Path) -> None:
        for name in ("a.jpg", "a.PNG", "b.jpg", "b.txt", "c.jpg", "c.jpg.png"):
            (tmp_path / name).touch()
        names = OutputNames()
        texts = [
            str(names.text(make_detections(path=path))) for path in sorted(tmp_path.iterdir()) if path.suffix != ".txt"
        ]
        assert texts == ["a.PNG.txt", "a.jpg.txt", "b.txt", "c.txt", "c.jpg.png.txt"]

    def test_a_reserved_stem(self) -> None:
        names = OutputNames(reserved=("classes",))
        assert names.text(of_file("Classes.jpg")) == Path("Classes.jpg.txt")

    @pytest.mark.parametrize(
        ("address", "name"),
        [
            ("https://host.org/shop/street.jpg", "street.jpg"),
            ("https://host.org/shop/street.jpg?signature=abc/def", "street.jpg"),
            ("https://host.org/image?id=7&size=large", "image%3Fid=7&size=large.jpg"),
            ("https://user:secret@host.org/a%20b.png#top", "a b.png"),
            ("https://host.org/", "image.jpg"),
            ("image 3", "image 3.jpg"),
            ("../../etc/passwd", "passwd.jpg"),
            ("..", "image.jpg"),
            ("..\\..\\evil.png", "evil.png"),
            ("https://host.org/street.svg", "street.svg.jpg"),
        ],
    )
    def test_addresses_and_arrays(self, address: str, name: str) -> None:
        assert OutputNames().picture(of_name(address)) == Path(name)

    def test_no_name_leads_out_of_the_folder(self) -> None:
        names = OutputNames()
        names.picture(of_file("a/1.jpg"))
        for detections in (
            of_file("../1.jpg"),
            of_name("https://host.org/../1.jpg"),
            of_name("https://host.org/a/../.."),
        ):
            assert ".." not in names.picture(detections).parts

    def test_long_addresses_stay_apart(self) -> None:
        names = OutputNames()
        pictures = {names.picture(of_name(f"https://host.org/image?key={'x' * 300}{number}")) for number in range(3)}
        assert len(pictures) == 3
        assert max(len(path.name) for path in pictures) < 120

    @pytest.mark.parametrize(
        ("video", "name"),
        [
            ("films/street.avi", "street.mp4"),
            ("films/a b.MOV", "a b.mp4"),
            ("camera 0", "camera 0.mp4"),
            ("rtsp://user:secret@10.0.0.7:554/stream1", "stream1.mp4"),
            ("rtsp://user:secret@10.0.0.7:554", "10.0.0.7.mp4"),
        ],
    )
    def test_videos(self, video: str, name: str) -> None:
        assert OutputNames().video(VideoInfo(video, 25, 10, (64, 48))) == Path(name)

    def test_videos_of_one_name(self) -> None:
        names = OutputNames()
        videos = ["a/street.mp4", "b/street.mp4", "a/street.avi", "a/street.mp4"]
        given_names = [str(names.video(VideoInfo(video, 25, 10, (64, 48)))) for video in videos]
        assert given_names == ["street.mp4", "street_2.mp4", "street_3.mp4", "street.mp4"]
        assert names.text(of_video("b/street.mp4", 17)) == Path("street_2/000017.txt")

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "c/a", "B", "a_2", ""]), st.sampled_from(["1.jpg", "1.png", "2.jpg"])),
            unique=True,
        )
    )
    def test_no_name_is_given_twice(self, files: list[tuple[str, str]]) -> None:
        names = OutputNames()
        pictures = [str(names.picture(make_detections(path=Path(*file)))).casefold() for file in files]
        assert len(set(pictures)) == len(files)


class TestDrawnFolder:
    def test_images(self, tmp_path: Path) -> None:
        detections = make_detections([CAT], path=Path("in/a.png"))
        with DrawnFolder(tmp_path / "new" / "out") as folder:
            folder.add(detections)
            folder.add(of_file("other/a.png"))
        np.testing.assert_array_equal(read_image(tmp_path / "new" / "out" / "a.png"), detections.draw(0.0))
        assert (read_image(tmp_path / "new" / "out" / "other" / "a.png") == 128).all()

    def test_two_videos_and_an_image(self, tmp_path: Path) -> None:
        with DrawnFolder(tmp_path) as folder:
            for index in range(5):
                folder.add(of_video("a/street.avi", index))
            for index in range(3):
                folder.add(of_video("b/street.avi", index, frame_rate=30000 / 1001))
            folder.add(of_file("a/street.png"))
        assert {path.name for path in tmp_path.iterdir()} == {"street.mp4", "street_2.mp4", "street.png"}
        first, second = (cv2.VideoCapture(str(tmp_path / name)) for name in ("street.mp4", "street_2.mp4"))
        assert [video.get(cv2.CAP_PROP_FRAME_COUNT) for video in (first, second)] == [5, 3]
        assert second.get(cv2.CAP_PROP_FPS) == pytest.approx(29.97, rel=1e-4)

    def test_an_interrupt_completes_the_video(self, tmp_path: Path) -> None:
        def record() -> None:
            with DrawnFolder(tmp_path) as folder:
                folder.add(make_detections([CAT], video=CAMERA))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            record()
        assert cv2.VideoCapture(str(tmp_path / "camera 0.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 1

    def test_sources_are_not_replaced(self, tmp_path: Path) -> None:
        image, video = tmp_path / "a.png", tmp_path / "b.mp4"
        image.write_bytes(b"source")
        video.write_bytes(b"source")
        with DrawnFolder(tmp_path) as folder:
            with pytest.raises(ImageError, match=r"a\.png is the source itself"):
                folder.add(make_detections(path=image))
            with pytest.raises(OutputError, match=r"b\.mp4 is the source itself"):
                folder.add(of_video(str(video)))
        assert image.read_bytes() == video.read_bytes() == b"source"

    def test_one_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").mkdir()
        (tmp_path / "other").touch()
        with DrawnFolder(tmp_path) as folder:
            for path in ("in/a.png", "in/other/b.png"):
                with pytest.raises(ImageError, match="cannot be written"):
                    folder.add(of_file(path))
            folder.add(of_file("in/c.png"))
        assert (tmp_path / "c.png").is_file()

    def test_a_file_in_the_place_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out").touch()
        with pytest.raises(OutputError, match=r"out: cannot be written"):
            DrawnFolder(tmp_path / "out")


class TestTxt:
    def test_lines_in_closed_form(self) -> None:
        # (8 + 40) / 2 / 64 = .375, (12 + 36) / 2 / 48 = .5, 32 / 64 = .5, 24 / 48 = .5
        assert yolo_lines(make_detections([CAT, DOG])) == (
            "0 0.375000 0.500000 0.500000 0.500000 0.750000\n1 0.375000 0.375000 0.250000 0.250000 0.500000\n"
        )

    def test_boxes_are_clipped_to_the_image(self) -> None:
        objects = [([-32, -10, 32, 48], 3, 0.5), ([70, 0, 90, 48], 1, 0.25), ([0, 40, 64, 96], 1, 0.125)]
        assert yolo_lines(make_detections(objects)) == (
            "2 0.250000 0.500000 0.500000 1.000000 0.500000\n0 0.500000 0.916667 1.000000 0.166667 0.125000\n"
        )

    def test_files(self, tmp_path: Path) -> None:
        folder = TxtFolder(tmp_path / "new" / "txt", NAMES)
        folder.add(make_detections([CAT], path=Path("in/a.jpg")))
        folder.add(of_file("in/b.jpg"))
        folder.add(make_detections([DOG], path=Path("in/classes.jpg")))
        folder.add(of_video("street.avi", 3))
        texts = {str(path.relative_to(folder.folder)): path.read_text() for path in folder.folder.rglob("*.txt")}
        assert texts == {
            "classes.txt": "cat\ndog\nsnow leopard\n",
            "a.txt": yolo_lines(make_detections([CAT])),
            "b.txt": "",
            "classes.jpg.txt": yolo_lines(make_detections([DOG])),
            os.path.join("street", "000003.txt"): "",
        }

    def test_a_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").mkdir()
        with pytest.raises(ImageError, match=r"a\.txt: cannot be written"):
            TxtFolder(tmp_path, NAMES).add(of_file("a.jpg"))


class TestJson:
    def test_content(self, tmp_path: Path) -> None:
        images = [make_detections([CAT, DOG], path=Path("in/ä b.jpg")), of_video("street.avi", 3)]
        with JsonFile(tmp_path / "a.json", NAMES) as json_file:
            for detections in images:
                json_file.add(detections)
            json_file.failures.append("c.jpg: no image")
        content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
        assert content == {
            "class_names": list(NAMES),
            "images": [json.loads(detections.to_json()) for detections in images],
            "failures": ["c.jpg: no image"],
            "complete": True,
        }
        assert sum("score" in line for line in (tmp_path / "a.json").read_text().splitlines()) == 1

    def test_without_images(self, tmp_path: Path) -> None:
        with JsonFile(tmp_path / "a.json", NAMES) as json_file:
            json_file.is_complete = False
        content = json.loads((tmp_path / "a.json").read_text())
        assert (content["images"], content["complete"]) == ([], False)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
    def test_the_old_file_survives_an_error(self, tmp_path: Path, kind: type[BaseException]) -> None:
        path = tmp_path / "a.json"
        path.write_text("old")

        def write() -> None:
            with JsonFile(path, NAMES) as json_file:
                json_file.add(make_detections([CAT]))
                raise kind

        with pytest.raises(kind):
            write()
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_what_goes_wrong_at_the_end(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        json_file = JsonFile(path, NAMES).__enter__()
        path.mkdir()
        with pytest.raises(OutputError, match=r"a\.json: cannot be written"):
            json_file.__exit__(None, None, None)
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"a\.json: cannot be written"), JsonFile(tmp_path / "new/a.json", NAMES):
            raise AssertionError

    def test_a_name_that_is_no_unicode(self, tmp_path: Path) -> None:
        name = os.fsdecode(b"in/\xff.jpg")
        with JsonFile(tmp_path / "a.json", NAMES) as json_file:
            json_file.add(of_name(name))
            json_file.failures.append(name)
        content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
        assert content["images"][0]["name"] == content["failures"][0] == name


class TestSummary:
    def test_table(self) -> None:
        summary = Summary(NAMES)
        for objects in ([DOG, DOG, CAT], [DOG], [([0, 0, 9, 9], 3, 0.5)], []):
            summary.add(make_detections(objects))
        assert summary.table().splitlines() == [
            "class         detections    images",
            "dog                    3         2",
            "cat                    1         1",
            "snow leopard           1         1",
            "all                    5         3",
        ]

    def test_nothing_found(self) -> None:
        summary = Summary(NAMES)
        summary.add(make_detections())
        assert summary.table().splitlines() == ["class  detections    images", "all             0         0"]


class TestOutputs:
    def test_all_of_them(self, tmp_path: Path) -> None:
        names = ("drawn", "txt", "all.json")
        drawn, txt, json_file = (tmp_path / name for name in names)
        with Outputs(NAMES, drawn=drawn, txt=txt, json=json_file) as outputs:
            outputs.add(make_detections([CAT], path=Path("in/a.png")))
            outputs.add(of_video("street.avi"))
            outputs.failures.append("b.png: no image")
            outputs.is_complete = False
        files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {
            *("all.json", "drawn/a.png", "drawn/street.mp4", "txt/a.txt", "txt/classes.txt", "txt/street/000000.txt"),
        }
        content = json.loads(json_file.read_text())
        assert [image["name"] for image in content["images"]] == ["in/a.png", "street.avi, frame 0"]
        assert (content["failures"], content["complete"]) == (["b.png: no image"], False)

    def test_none_of_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with Outputs(NAMES) as outputs:
            outputs.add(of_file("a.jpg"))
        assert not list(tmp_path.iterdir())


class TestOverwriting:
    @pytest.mark.parametrize("source", ["in", "in/", "in/a.jpg", "in/*.jpg", "*/a.jpg", "**/*", "./out/../in"])
    def test_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
        monkeypatch.chdir(tmp_path)
        Path("in").mkdir()
        Path("out").mkdir()
        Path("in/a.jpg").touch()
        refuse_source_folders({"--output_dir": Path("out"), "--save_txt": None}, [source, "0", "rtsp://host/a"])
        with pytest.raises(OutputError, match=r"^--save_txt .*in is the folder of the images themselves"):
            refuse_source_folders({"--output_dir": Path("new"), "--save_txt": tmp_path / "in"}, ["out", source])
