import pytest

from ich_study.datasets.voc_boxes import read_voc_boxes
from ich_study.errors import DataError

A = frozenset({"a"})
OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin>"
    "<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"
)


def annotation(path, *boxes, name="a", head=""):
    objects = "".join(OBJECT.format(*box, name=name) for box in boxes)
    path.write_text(f"{head}<annotation><filename>x.jpg</filename>{objects}</annotation>")
    return path


def test_boxes_are_corner_and_size(tmp_path):
    path = annotation(tmp_path / "a.xml", (10, 20, 30, 60), (1, 2, 3, 4))
    assert read_voc_boxes(path, A) == [(10, 20, 20, 40), (1, 2, 2, 2)]
    assert read_voc_boxes(annotation(tmp_path / "b.xml"), A) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_expand(tmp_path, encoding):
    bomb = '<!DOCTYPE l [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    path = annotation(tmp_path / "a.xml", (1, 2, 3, 4), name="&b;", head=bomb)
    path.write_bytes(path.read_text().encode(encoding))
    with pytest.raises(DataError, match="document type"):
        read_voc_boxes(path, A)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation>", "not XML"),
        ("", "not XML"),
        ("<html><body/></html>", "holds <html>; expected <annotation>"),
        ("<annotation>" + OBJECT.format(1, 2, 3, 4, name="b") + "</annotation>", "object 'b'"),
        ("<annotation>" + OBJECT.format(1, 2, "x", 4, name="a") + "</annotation>", "as a number"),
        ("<annotation><object><name>a</name></object></annotation>", "as a number"),
        ("<annotation>" + OBJECT.format(5, 2, 5, 4, name="a") + "</annotation>", "no area"),
        ("<annotation>" + OBJECT.format("nan", 2, 5, 4, name="a") + "</annotation>", "no area"),
        ("<annotation>" + OBJECT.format(1, 2, "inf", 4, name="a") + "</annotation>", "no area"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    (tmp_path / "bad.xml").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_voc_boxes(tmp_path / "bad.xml", A)
    assert "bad.xml" in str(error.value)
